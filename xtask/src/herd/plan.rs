//! What herd to start, and what has to be known before its first process.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{bail, ensure};
use rand::RngExt as _;
use tokio::net::TcpListener;

/// Ports are taken below those that Linux gives to outgoing connections (32768 and up), so that a
/// killed node finds its own free when it comes back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Attempts to find a free port: with a tenth of the range in use, 50 all fail once in 1e50.
const PORT_ATTEMPTS: usize = 50;

/// What herd to start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The nodes' names.
    pub names: &'static [&'static str],
    /// Who is whose friend, by index, the lesser first.
    pub friendships: &'static [(usize, usize)],
    /// What answers wait for; `None` keeps the nodes in memory only.
    pub ack_level: Option<String>,
    /// The program; `None` looks beside this one.
    pub program: Option<PathBuf>,
}

/// The five nodes of the original and their friendships.
pub(crate) const FIVE: [&str; 5] = ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"];

/// Friendships of [`FIVE`].
pub(crate) const FRIENDSHIPS: [(usize, usize); 6] =
    [(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)];

/// A program of the same build as this one.
pub(crate) fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let program = this.with_file_name(name);
    ensure!(
        program.is_file(),
        "there is no {}; build it first: cargo build --release --bins",
        program.display()
    );
    Ok(program)
}

pub(crate) async fn free_port() -> anyhow::Result<TcpListener> {
    for _ in 0..PORT_ATTEMPTS {
        let port = rand::rng().random_range(PORTS);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    bail!("no free port found in {PORTS:?}")
}

/// One node's herd file: its friends are where the links' proxies are.
pub(super) fn herd_file(
    nodes: &[(&str, SocketAddr)],
    friendships: &[(usize, usize)],
    doors: &[(usize, usize, SocketAddr)],
    own: usize,
) -> anyhow::Result<String> {
    let mut file = String::from("cluster = \"torture\"\n");
    for (index, (name, address)) in nodes.iter().enumerate() {
        let door = doors.iter().find(|(from, to, _)| (*from, *to) == (own, index));
        let address = door.map_or(*address, |(_, _, door)| *door);
        let friends = friendships.iter().filter(|(first, _)| *first == index);
        let friends: Vec<_> = friends.map(|(_, second)| nodes[*second].0).collect();
        write!(
            file,
            "\n[[nodes]]\nname = {name:?}\naddress = \"{address}\"\nfriends = {friends:?}\n"
        )?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use herd_proto::topology::Topology;

    use super::*;
    use crate::herd::Herd;

    #[tokio::test]
    async fn each_node_finds_its_friends_behind_links_and_itself_where_it_listens() {
        let plan = Plan {
            names: &FIVE,
            friendships: &FRIENDSHIPS,
            ack_level: None,
            program: Some("herd-node".into()),
        };
        let herd = Herd::plan(&plan).await.unwrap();
        for (index, name) in FIVE.into_iter().enumerate() {
            let file = herd.directory().join(format!("{name}.toml"));
            let topology = Topology::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
            let own = topology.node(&name.parse().unwrap()).unwrap();
            assert_eq!(own.listen, herd.address(index));
            for friend in &own.friends {
                let other = FIVE.iter().position(|name| *name == friend.as_str()).unwrap();
                let dialled = &topology.node(friend).unwrap().address;
                assert_ne!(*dialled, herd.address(other).to_string(), "{name} and {friend}");
            }
        }
    }

    #[test]
    fn a_missing_program_is_named_with_the_command_that_builds_it() {
        let error = beside_this("no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program; build it first: cargo build"), "{error}");
    }
}
