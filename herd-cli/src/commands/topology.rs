use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use herd_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::Target;
use super::survey::{Asked, ask_all, meant};
use crate::args::{Drawing, TopologyArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Format, Output, printable, table};

pub(super) async fn run(
    args: TopologyArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let ask = |client: herd_cli::Client| async move { client.status().await };
    let herd = Herd::new(&ask_all(meant(&target, true)?, &target, ask).await);
    match args.form {
        _ if output.format() != Format::Table => output.answer(&herd)?,
        Drawing::Table => output.answer(&herd)?,
        Drawing::Tree => output.raw(&herd.tree())?,
        Drawing::Dot => output.raw(&herd.dot())?,
        Drawing::Mermaid => output.raw(&herd.mermaid())?,
    }
    Ok(match herd.nodes.iter().filter(|node| node.up).count() {
        0 => ExitCode::Unavailable,
        up if up < herd.nodes.len() => ExitCode::Partial,
        _ => ExitCode::Success,
    })
}

#[derive(Serialize)]
struct Herd {
    nodes: Vec<Node>,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    address: String,
    up: bool,
    clients: Option<u64>,
}

/// A pair of nodes of which at least one knows the other.
#[derive(Serialize)]
struct Link {
    /// In the order of their names.
    ends: [String; 2],
    /// up where both ends say so, or the only one that can be asked; else down.
    state: &'static str,
    /// Whether one end is nobody's friend, such as a person with grpcurl.
    guest: bool,
    round_trip_seconds: Option<f64>,
    /// Records that wait at both ends.
    pending: u64,
    /// Records sent from both ends since they started.
    sent: u64,
    error: Option<String>,
}

impl Herd {
    fn new(asked: &[Asked<v1::GetStatusResponse>]) -> Self {
        let nodes = asked.iter().map(|node| Node {
            name: node.name.clone(),
            address: node.address.clone(),
            up: node.answer.is_ok(),
            clients: node.answer.as_ref().ok().map(|status| status.clients),
        });
        let mut pairs: BTreeMap<[String; 2], Vec<&v1::PeerStatus>> = BTreeMap::new();
        for node in asked {
            for peer in node.answer.iter().flat_map(|status| &status.peers) {
                let mut ends = [node.name.clone(), peer.name.clone()];
                ends.sort();
                pairs.entry(ends).or_default().push(peer);
            }
        }
        let links = pairs.into_iter().map(|(ends, sides)| Link::new(ends, &sides));
        Self { nodes: nodes.collect(), links: links.collect() }
    }

    /// The herd as reached from its first node; parts that are not reached come after.
    fn tree(&self) -> String {
        let mut beside: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for link in self.links.iter().filter(|link| link.state == "up") {
            let [one, other] = [&*link.ends[0], &*link.ends[1]];
            beside.entry(one).or_default().insert(other);
            beside.entry(other).or_default().insert(one);
        }
        let mut seen = BTreeSet::new();
        let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut roots = Vec::new();
        for node in &self.nodes {
            if !seen.insert(&*node.name) {
                continue;
            }
            roots.push(&*node.name);
            let mut queue = VecDeque::from([&*node.name]);
            while let Some(name) = queue.pop_front() {
                for next in beside.get(name).into_iter().flatten() {
                    if seen.insert(next) {
                        below.entry(name).or_default().push(next);
                        queue.push_back(next);
                    }
                }
            }
        }
        let mut text = String::new();
        for root in roots {
            let down = self.nodes.iter().any(|node| node.name == root && !node.up);
            let _ = writeln!(text, "{}{}", printable(root), if down { "  (down)" } else { "" });
            branches(&mut text, root, &below, "");
        }
        text
    }

    fn dot(&self) -> String {
        let mut text = "graph herd {\n  node [shape=circle];\n".to_owned();
        for node in &self.nodes {
            let style = if node.up { "" } else { " [style=dashed, color=red]" };
            let _ = writeln!(text, "  {}{style};", quoted(&node.name));
        }
        for link in &self.links {
            let [one, other] = link.ends.each_ref().map(|name| quoted(name));
            let style = if link.state == "up" { "" } else { " [style=dashed, color=red]" };
            let _ = writeln!(text, "  {one} -- {other}{style};");
        }
        text + "}\n"
    }

    fn mermaid(&self) -> String {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let all = self.nodes.iter().map(|node| &*node.name);
        for name in all.chain(self.links.iter().flat_map(|link| link.ends.iter().map(|e| &**e))) {
            let next = names.len();
            names.entry(name).or_insert(next);
        }
        let mut text = "graph LR\n".to_owned();
        for (name, number) in &names {
            let down = self.nodes.iter().any(|node| node.name == **name && !node.up);
            let down = if down { " (down)" } else { "" };
            let _ = writeln!(text, "  n{number}((\"{}{down}\"))", name.replace('"', "#quot;"));
        }
        for link in &self.links {
            let [one, other] = link.ends.each_ref().map(|name| names[&**name]);
            let line = if link.state == "up" { "---" } else { "-. down .-" };
            let _ = writeln!(text, "  n{one} {line} n{other}");
        }
        text
    }
}

fn branches(text: &mut String, name: &str, below: &BTreeMap<&str, Vec<&str>>, indent: &str) {
    let children = below.get(name).map_or(&[][..], Vec::as_slice);
    for (index, child) in children.iter().enumerate() {
        let last = index + 1 == children.len();
        let (knot, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = writeln!(text, "{indent}{knot}{}", printable(child));
        branches(text, child, below, &format!("{indent}{stem}"));
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Link {
    fn new(ends: [String; 2], sides: &[&v1::PeerStatus]) -> Self {
        let up = |side: &&v1::PeerStatus| side.state() == v1::LinkState::Up;
        let trips = sides.iter().filter_map(|side| side.round_trip);
        let trips = trips.map(|trip| trip.seconds as f64 + f64::from(trip.nanos) / 1e9);
        let error = sides.iter().find(|side| !up(side) && !side.last_error.is_empty());
        Self {
            ends,
            state: if sides.iter().all(up) { "up" } else { "down" },
            guest: sides.iter().all(|side| !side.friend),
            round_trip_seconds: trips.reduce(f64::min),
            pending: sides.iter().map(|side| side.pending + side.in_flight).sum(),
            sent: sides.iter().filter_map(|side| side.records).map(|records| records.sent).sum(),
            error: error.map(|side| side.last_error.clone()),
        }
    }
}

impl Answer for Herd {
    const KIND: &'static str = "topology";

    fn text(&self) -> String {
        let rows: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let trip = link.round_trip_seconds;
                [
                    printable(&link.ends.join(" -- ")),
                    format!("{}{}", link.state, if link.guest { " (guest)" } else { "" }),
                    trip.map_or("-".into(), |trip| format!("{:.1} ms", trip * 1e3)),
                    link.pending.to_string(),
                    link.sent.to_string(),
                    printable(link.error.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        let mut text = table(["LINK", "STATE", "ROUND TRIP", "PENDING", "SENT", "WHY"], &rows);
        for node in self.nodes.iter().filter(|node| !node.up) {
            let _ = writeln!(text, "{} ({}) is down", printable(&node.name), node.address);
        }
        text
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let value = |kind, part: Result<Value, _>| part.ok().map(|part| (kind, part));
        let nodes = self.nodes.iter().filter_map(|node| value("node", serde_json::to_value(node)));
        let links = self.links.iter().filter_map(|link| value("link", serde_json::to_value(link)));
        Some(nodes.chain(links).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, up: bool) -> v1::PeerStatus {
        let state = if up { v1::LinkState::Up } else { v1::LinkState::Down };
        let last_error = if up { String::new() } else { "gone".into() };
        let (name, friend) = (name.into(), true);
        v1::PeerStatus { name, friend, state: state.into(), last_error, ..Default::default() }
    }

    fn asked(name: &str, peers: Option<Vec<v1::PeerStatus>>) -> Asked<v1::GetStatusResponse> {
        let answer = peers.map(|peers| v1::GetStatusResponse { peers, ..Default::default() });
        let address = "h:1".to_owned();
        let answer = answer.ok_or(herd_cli::Error::Address { address: address.clone() });
        Asked { name: name.into(), address, answer }
    }

    fn herd() -> Herd {
        Herd::new(&[
            asked("A", Some(vec![peer("B", true), peer("C", false)])),
            asked("B", Some(vec![peer("A", true), peer("D", true)])),
            asked("C", None),
            asked("D", Some(vec![peer("B", true)])),
        ])
    }

    #[test]
    fn a_link_is_up_where_nobody_says_otherwise() {
        let links = herd().links;
        let told: Vec<_> = links.iter().map(|link| (link.ends.join("-"), link.state)).collect();
        let expected = [("A-B", "up"), ("A-C", "down"), ("B-D", "up")];
        assert_eq!(told, expected.map(|(ends, state)| (ends.to_owned(), state)));
        assert_eq!(links[1].error.as_deref(), Some("gone"));
    }

    #[test]
    fn the_tree_follows_links_that_are_up() {
        assert_eq!(herd().tree(), "A\n└─ B\n   └─ D\nC  (down)\n");
    }

    #[test]
    fn drawings_name_each_node_and_each_link_once() {
        let (dot, mermaid) = (herd().dot(), herd().mermaid());
        assert!(dot.starts_with("graph herd {\n") && dot.ends_with("}\n"), "{dot}");
        assert!(dot.contains("  \"A\" -- \"C\" [style=dashed, color=red];\n"), "{dot}");
        assert_eq!(dot.matches(" -- ").count(), 3);
        assert!(mermaid.starts_with("graph LR\n  n0((\"A\"))\n"), "{mermaid}");
        assert!(mermaid.contains("  n2((\"C (down)\"))\n"), "{mermaid}");
        assert!(mermaid.contains("  n0 -. down .- n2\n  n1 --- n3\n"), "{mermaid}");
    }
}
