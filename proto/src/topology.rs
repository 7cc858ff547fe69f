//! The herd file: which nodes there are, where they listen and who is whose friend.
//!
//! All three programs read the same file, so its form lives here, beside the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::NodeName;

/// The herd of the original, on this machine; what every program uses when no file is named.
pub const SEED_HERD: &str = include_str!("seed-herd.toml");

/// A checked herd file.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// The herd's name; nodes of other herds are refused.
    pub cluster: String,
    /// The nodes, by ascending name, with friendship made two-way. None where DNS names them.
    pub nodes: Vec<NodeEntry>,
    /// The table `[node]`: settings of all nodes, checked by `herd-node`.
    pub node_settings: toml::Table,
    /// The table `[gateway]`: settings of all gateways, checked by `herd-gateway`.
    pub gateway_settings: toml::Table,
}

/// One node of the herd file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub name: NodeName,
    /// Host and port at which others reach its gRPC services.
    pub address: String,
    /// Where it listens for gRPC; left out, `address` if that is an IP address, else all
    /// interfaces at the same port.
    pub listen: SocketAddr,
    /// Where a gateway serves the text protocol on its behalf.
    pub text: Option<SocketAddr>,
    /// Where it serves HTTP to operators.
    pub admin: Option<SocketAddr>,
    /// The nodes it keeps links with.
    pub friends: BTreeSet<NodeName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_cluster")]
    cluster: String,
    #[serde(default)]
    nodes: Vec<Entry>,
    #[serde(default)]
    node: toml::Table,
    #[serde(default)]
    gateway: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    address: String,
    listen: Option<String>,
    text: Option<String>,
    admin: Option<String>,
    #[serde(default)]
    friends: Vec<String>,
}

fn default_cluster() -> String {
    "herd".into()
}

impl Topology {
    /// Reads a herd file; all its problems are reported together.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let file: File = toml::from_str(text).map_err(|error| Problems::one(error.to_string()))?;
        let mut problems = Problems::default();
        if file.cluster.is_empty() || file.cluster.len() > 63 {
            problems.add("cluster: must be 1 to 63 bytes");
        }
        if file.nodes.is_empty() && !file.node.contains_key("peers_dns") {
            problems.add("nodes: must name at least one node, where DNS does not: node.peers_dns");
        }
        let mut nodes = BTreeMap::new();
        for entry in &file.nodes {
            let Some(node) = read_entry(entry, &mut problems) else { continue };
            if nodes.insert(node.name.clone(), node).is_some() {
                problems.add(format_args!("node {}: is named twice", entry.name));
            }
        }
        let named =
            file.nodes.iter().filter_map(|entry| NodeName::parse(&entry.name).ok()).collect();
        befriend(&mut nodes, &named, &mut problems);
        check_addresses(&nodes, &mut problems);
        if problems.is_empty() {
            // Else most nodes would be out of reach for want of what is named already.
            check_connected(&nodes, &mut problems);
        }
        let nodes = nodes.into_values().collect();
        problems.into_result(Self {
            cluster: file.cluster,
            nodes,
            node_settings: file.node,
            gateway_settings: file.gateway,
        })
    }

    /// The herd of the original.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn seed() -> Self {
        Self::parse(SEED_HERD).expect("the built-in herd file is sound")
    }

    /// The entry of one node.
    pub fn node(&self, name: &NodeName) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn read_entry(entry: &Entry, problems: &mut Problems) -> Option<NodeEntry> {
    let label = &entry.name;
    let name = NodeName::parse(label)
        .map_err(|error| problems.add(format_args!("node {label:?}: name {error}")))
        .ok();
    let port = entry.address.rsplit_once(':').and_then(|(host, port)| {
        let port: u16 = port.parse().ok()?;
        (!host.is_empty()).then_some(port)
    });
    if port.is_none() {
        problems
            .add(format_args!("node {label}: address must be host:port, got {:?}", entry.address));
    }
    let mut socket = |field: &str, text: &Option<String>| {
        let text = text.as_ref()?;
        text.parse::<SocketAddr>()
            .map_err(|_| {
                problems.add(format_args!("node {label}: {field} must be IP:port, got {text:?}"));
            })
            .ok()
    };
    let listen = socket("listen", &entry.listen);
    let text = socket("text", &entry.text);
    let admin = socket("admin", &entry.admin);
    let listen = listen
        .or_else(|| entry.address.parse().ok())
        .or_else(|| port.map(|port| SocketAddr::from(([0, 0, 0, 0], port))))?;
    let mut friends = BTreeSet::new();
    for friend in &entry.friends {
        match NodeName::parse(friend) {
            Ok(friend) => drop(friends.insert(friend)),
            Err(error) => problems.add(format_args!("node {label}: friend {friend:?} {error}")),
        }
    }
    Some(NodeEntry { name: name?, address: entry.address.clone(), listen, text, admin, friends })
}

/// Makes friendship two-way. A friend that is `named` and has other problems is not one more.
fn befriend(
    nodes: &mut BTreeMap<NodeName, NodeEntry>,
    named: &BTreeSet<NodeName>,
    problems: &mut Problems,
) {
    let pairs: Vec<_> = nodes
        .values()
        .flat_map(|node| node.friends.iter().map(|friend| (node.name.clone(), friend.clone())))
        .collect();
    for (name, friend) in pairs {
        if name == friend {
            problems.add(format_args!("node {name}: is its own friend"));
        } else if let Some(entry) = nodes.get_mut(&friend) {
            entry.friends.insert(name);
        } else if !named.contains(&friend) {
            problems.add(format_args!("node {name}: friend {friend} is not in the file"));
        }
    }
}

/// Two nodes at one address are a mistake, but for addresses such as 0.0.0.0, which every machine
/// has for itself, and for port 0, which is another port each time.
fn check_addresses(nodes: &BTreeMap<NodeName, NodeEntry>, problems: &mut Problems) {
    let mut users = BTreeMap::new();
    for node in nodes.values() {
        let listeners = [node.text, node.admin].into_iter().flatten();
        let own = listeners.filter(|listener| !listener.ip().is_unspecified());
        let own = own.map(|listener| listener.to_string()).chain([node.address.clone()]);
        for address in own.filter(|address| !address.ends_with(":0")) {
            if let Some(other) = users.insert(address.clone(), &node.name) {
                problems
                    .add(format_args!("node {}: {address} is used by {other} already", node.name));
            }
        }
    }
}

/// A report floods along friendships only, so every node must be reachable from every other.
fn check_connected(nodes: &BTreeMap<NodeName, NodeEntry>, problems: &mut Problems) {
    let Some(first) = nodes.keys().next() else { return };
    let mut reached = BTreeSet::from([first]);
    let mut frontier = vec![first];
    while let Some(name) = frontier.pop() {
        frontier.extend(nodes[name].friends.iter().filter(|friend| reached.insert(friend)));
    }
    for lonely in nodes.keys().filter(|name| !reached.contains(name)) {
        problems.add(format_args!("node {lonely}: no chain of friends leads to {first}"));
    }
}

/// All that is wrong with a configuration, in one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// One problem.
    pub fn one(problem: impl fmt::Display) -> Self {
        Self(vec![problem.to_string()])
    }

    /// Adds one more.
    pub fn add(&mut self, problem: impl fmt::Display) {
        self.0.push(problem.to_string());
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if there is no problem.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn friends(topology: &Topology, name: &str) -> Vec<String> {
        let node = topology.node(&NodeName::parse(name).unwrap()).unwrap();
        node.friends.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_built_in_herd_is_the_seeds() {
        let seed = Topology::seed();
        assert_eq!(seed.names(), "Bailey, Bona, Campbell, Clark, Jaquez");
        assert_eq!(friends(&seed, "Bailey"), ["Bona", "Campbell"]);
        assert_eq!(friends(&seed, "Bona"), ["Bailey", "Campbell", "Clark"]);
        assert_eq!(friends(&seed, "Campbell"), ["Bailey", "Bona", "Jaquez"]);
        assert_eq!(friends(&seed, "Clark"), ["Bona", "Jaquez"]);
        assert_eq!(friends(&seed, "Jaquez"), ["Campbell", "Clark"]);
        assert_eq!(seed.nodes[4].text, Some("127.0.0.1:10004".parse().unwrap()));
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let file = r#"
            cluster = ""
            [[nodes]]
            name = "a b"
            address = "nowhere"
            text = "localhost:1"
            [[nodes]]
            name = "c"
            address = "127.0.0.1:1"
            [[nodes]]
            name = "c"
            address = "127.0.0.1:2"
            friends = ["c", "ghost", "/"]
        "#;
        let shown = Topology::parse(file).unwrap_err().to_string();
        for part in [
            "cluster: must be",
            "\"a b\": name must be",
            "address must be host:port",
            "text must be IP:port",
            "friend \"/\" must be",
            "node c: is its own friend",
            "friend ghost is not in the file",
            "named twice",
        ] {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
    }

    #[test]
    fn friends_must_exist_addresses_differ_and_all_be_connected() {
        let file = |friends: &str, port: u16| {
            format!(
                "[[nodes]]\nname='a'\naddress='h:1'\nfriends=[{friends}]\n\
                 [[nodes]]\nname='b'\naddress='h:{port}'"
            )
        };
        let problem = |text: &str| Topology::parse(text).unwrap_err().to_string();
        assert!(Topology::parse(&file("'b'", 2)).is_ok());
        assert!(problem(&file("'x'", 2)).contains("friend x is not in the file"));
        assert!(problem(&file("'a','b'", 2)).contains("own friend"));
        assert!(problem(&file("'b'", 1)).contains("h:1 is used by"));
        let texts = |ip: &str| {
            format!(
                "[[nodes]]\nname='a'\naddress='h:1'\nfriends=['b']\ntext='{ip}:9'\n\
             [[nodes]]\nname='b'\naddress='h:2'\ntext='{ip}:9'"
            )
        };
        assert!(problem(&texts("127.0.0.1")).contains("127.0.0.1:9 is used by"));
        assert!(Topology::parse(&texts("0.0.0.0")).is_ok());
        let any_port = texts("127.0.0.1").replace(":9", ":0");
        assert!(Topology::parse(&any_port).is_ok());
        assert!(problem(&file("", 2)).contains("no chain of friends leads to a"));
        assert!(problem("[[nodes]]\nname='a'\naddress='h:1'\nfrends=[]").contains("frends"));
    }

    #[test]
    fn a_dns_name_listens_on_all_interfaces() {
        let herd = Topology::parse("[[nodes]]\nname='a'\naddress='a.herd:50051'").unwrap();
        assert_eq!(herd.nodes[0].listen, "0.0.0.0:50051".parse().unwrap());
    }
}
