//! A herd of real processes on free ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use herd_cli::{Client, Error};
use herd_proto::v1::{GetStatusResponse, LinkState};
use tempfile::TempDir;

use super::{NODES, eventually};

/// Longest wait for a process to answer, on a machine that is busy building.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often to choose other ports when somebody else took one in between.
const ATTEMPTS: usize = 5;

/// The program under test, without the settings of whoever runs the test.
pub(crate) fn herd_cli() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd-cli"));
    for (name, _) in std::env::vars() {
        if name.starts_with("HERD_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    // The contexts of whoever runs the tests are none of theirs.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A herd file with free ports, and the processes that run its nodes.
pub(crate) struct Herd {
    directory: TempDir,
    environment: Vec<(String, String)>,
    nodes: BTreeMap<&'static str, Node>,
}

struct Node {
    grpc: SocketAddr,
    text: SocketAddr,
    process: Option<Child>,
}

impl Herd {
    /// A herd file alone; no process runs.
    pub(crate) fn planned(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut herd = Self { directory, environment, nodes: BTreeMap::new() };
        herd.choose_ports();
        herd
    }

    /// All five nodes, each a process of its own, started in this order; ready when each link
    /// is up.
    pub(crate) fn started(order: [&'static str; 5], environment: &[(&str, &str)]) -> Self {
        let mut herd = Self::planned(environment);
        for attempt in 1..=ATTEMPTS {
            let started = order.iter().try_for_each(|name| herd.try_start(name));
            match started {
                Ok(()) => break,
                Err(problem) if attempt == ATTEMPTS => panic!("{problem}"),
                Err(_) => {
                    for name in order {
                        herd.stop(name);
                    }
                    herd.choose_ports();
                }
            }
        }
        herd.wait_for_links();
        herd
    }

    fn choose_ports(&mut self) {
        // All are held until all are known, so that they differ.
        let held: Vec<_> = (0..15).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = held.iter().map(|port| port.local_addr().unwrap()).collect();
        let friends = ["'Bona', 'Campbell'", "'Campbell', 'Clark'", "'Jaquez'", "'Jaquez'", ""];
        let mut file = String::new();
        for (index, name) in NODES.into_iter().enumerate() {
            let (grpc, text) = (addresses[3 * index], addresses[3 * index + 1]);
            let (admin, friends) = (addresses[3 * index + 2], friends[index]);
            writeln!(
                file,
                "[[nodes]]\nname = '{name}'\naddress = '{grpc}'\ntext = '{text}'\n\
                 admin = '{admin}'\nfriends = [{friends}]"
            )
            .unwrap();
            self.nodes.insert(name, Node { grpc, text, process: None });
        }
        fs::write(self.file(), file).unwrap();
    }

    /// The herd file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("herd.toml")
    }

    /// Where a node serves gRPC.
    pub(crate) fn grpc(&self, name: &str) -> SocketAddr {
        self.nodes[name].grpc
    }

    /// Where a node serves the text protocol.
    pub(crate) fn text(&self, name: &str) -> SocketAddr {
        self.nodes[name].text
    }

    /// Runs a node in a process of its own; ready when it takes traffic.
    pub(crate) fn start(&mut self, name: &str) {
        self.try_start(name).unwrap();
    }

    /// Runs all nodes in one process, which `stop("Bailey")` kills.
    pub(crate) fn start_in_one_process(&mut self) {
        for _ in 1..ATTEMPTS {
            if self.try_run("Bailey", &[], &NODES).is_ok() {
                return;
            }
            self.choose_ports();
        }
        self.try_run("Bailey", &[], &NODES).unwrap();
    }

    /// The same once more, after a stop: on the same ports.
    pub(crate) fn start_again_in_one_process(&mut self) {
        self.try_run("Bailey", &[], &NODES).unwrap();
    }

    fn try_start(&mut self, name: &str) -> Result<(), String> {
        self.try_run(name, &["--only", name], &[name])
    }

    /// Runs `up` on behalf of `name` and waits until all of `expected` take traffic.
    fn try_run(&mut self, name: &str, args: &[&str], expected: &[&str]) -> Result<(), String> {
        let log_path = self.directory.path().join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&log_path).unwrap();
        let mut child = self
            .command()
            .arg("up")
            .args(args)
            .env("HERD_LOG", "info")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + START_LIMIT;
        let log = || fs::read_to_string(&log_path).unwrap_or_default();
        while !expected.iter().all(|name| self.takes_traffic(name)) {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{name} ended with {status}: {}", log()));
            }
            if Instant::now() > deadline {
                let _ = (child.kill(), child.wait());
                return Err(format!("{name} is not ready: {}", log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.nodes.get_mut(name).unwrap().process = Some(child);
        Ok(())
    }

    fn takes_traffic(&self, name: &str) -> bool {
        self.status(name).is_ok_and(|status| status.ready && status.name == name)
            && TcpStream::connect(self.text(name)).is_ok()
    }

    /// The program with this herd's file.
    pub(crate) fn command(&self) -> Command {
        let mut command = herd_cli();
        command.arg("--herd-file").arg(self.file());
        command
    }

    /// Kills a node with SIGKILL; nothing happens where none runs.
    pub(crate) fn stop(&mut self, name: &str) {
        if let Some(mut child) = self.nodes.get_mut(name).unwrap().process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts whatever does not run and waits for all links.
    pub(crate) fn restore(&mut self) {
        for name in NODES {
            if self.nodes[name].process.is_none() {
                self.start(name);
            }
        }
        self.wait_for_links();
    }

    /// What a node says of itself.
    pub(crate) fn status(&self, name: &str) -> Result<GetStatusResponse, Error> {
        let address = self.grpc(name).to_string();
        // A runtime for each call: one that is kept would keep connections that nobody serves.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            Client::connect(&address, Duration::from_secs(2)).await?.status().await
        })
    }

    /// Waits until each running node has a link to each running friend.
    pub(crate) fn wait_for_links(&self) {
        let running = |name: &str| self.nodes.get(name).is_some_and(|node| node.process.is_some());
        for name in NODES.into_iter().filter(|name| running(name)) {
            eventually(START_LIMIT, || {
                let status = self.status(name).map_err(|error| error.to_string())?;
                let down = |peer: &&herd_proto::v1::PeerStatus| {
                    running(&peer.name) && peer.state() != LinkState::Up
                };
                match status.peers.iter().find(down) {
                    None if status.peers.is_empty() => Err(format!("{name} has no peers")),
                    None => Ok(()),
                    Some(peer) => Err(format!("{name}: {} {}", peer.name, peer.last_error)),
                }
            });
        }
    }

    /// Waits until all five nodes hold the same.
    pub(crate) fn wait_for_agreement(&self) {
        eventually(START_LIMIT, || {
            let digests = NODES.map(|name| self.status(name).ok().map(|status| status.digest));
            let agreed = digests.iter().all(|digest| digest.is_some() && *digest == digests[0]);
            agreed.then_some(()).ok_or(digests)
        });
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        for name in NODES {
            self.stop(name);
        }
    }
}
