use std::collections::BTreeSet;
use std::fmt::Write as _;

use herd_cli::{Client, Error, Known};
use serde::Serialize;
use serde_json::Value;

use super::Target;
use super::survey::{Asked, ask_all, meant};
use crate::args::TraceArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::moment;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(
    args: TraceArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let id = args.id.clone();
    let ask = move |client: Client| {
        let id = id.clone();
        async move { client.known(&id).await }
    };
    let asked = ask_all(meant(&target, true)?, &target, ask).await;
    let knows = |asked: &Asked<Known>| asked.answer.is_ok();
    if !asked.iter().any(knows) {
        // Where no node can be asked, that is what is wrong.
        let not_found = |error: &Error| matches!(error, Error::NotFound { .. });
        let mut errors: Vec<_> = asked.into_iter().filter_map(|asked| asked.answer.err()).collect();
        errors.sort_by_key(|error| !not_found(error));
        let first = errors.into_iter().next();
        return Err(first.map_or_else(|| Failure::Usage("no nodes".into()), Into::into));
    }
    let trace = Trace::new(args.id.to_string(), &asked);
    output.answer(&trace)?;
    let complete = trace.nodes.iter().all(|node| node.state == "newest");
    Ok(if complete { ExitCode::Success } else { ExitCode::Partial })
}

#[derive(Serialize)]
struct Trace {
    client_id: String,
    /// When the node that took the newest report did.
    receive_time: String,
    origin: String,
    /// Each after the one that told it.
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    /// newest, older, unknown or down.
    state: &'static str,
    /// How many nodes the location came through.
    hops: usize,
    /// When the node learnt it; null where it was there when the node started.
    applied_time: Option<String>,
    /// Who told the node; null for a report of the client itself.
    applied_from: Option<String>,
    /// From the receive time to the applied time.
    after_seconds: Option<f64>,
    error: Option<String>,
}

impl Trace {
    fn new(client_id: String, asked: &[Asked<Known>]) -> Self {
        let newest = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
        let newest = newest.max_by_key(|known| (known.location.time, known.location.receive_time));
        let newest = newest.map(|known| &known.location);
        let mut nodes: Vec<_> = asked
            .iter()
            .map(|asked| match &asked.answer {
                Ok(known) => NodeView {
                    name: asked.name.clone(),
                    state: if newest == Some(&known.location) { "newest" } else { "older" },
                    hops: 0,
                    applied_time: known.applied_time.map(moment::shown),
                    applied_from: known.applied_from.clone(),
                    after_seconds: known.applied_time.map(|applied| {
                        applied.since(known.location.receive_time).nanos() as f64 / 1e9
                    }),
                    error: None,
                },
                Err(error) => NodeView {
                    name: asked.name.clone(),
                    state: if let Error::NotFound { .. } = error { "unknown" } else { "down" },
                    hops: 0,
                    applied_time: None,
                    applied_from: None,
                    after_seconds: None,
                    error: Some(error.to_string()),
                },
            })
            .collect();
        order(&mut nodes);
        let received = newest.map(|location| moment::shown(location.receive_time));
        let origin = newest.map(|location| location.origin.to_string());
        let (receive_time, origin) = (received.unwrap_or_default(), origin.unwrap_or_default());
        Self { client_id, receive_time, origin, nodes }
    }
}

/// Puts each node after the one that told it, and counts the hops.
fn order(nodes: &mut Vec<NodeView>) {
    let mut left = std::mem::take(nodes);
    let names: BTreeSet<_> = left.iter().map(|node| node.name.clone()).collect();
    let is_root =
        |node: &NodeView| node.applied_from.as_ref().is_none_or(|from| !names.contains(from));
    let mut roots: Vec<_> = left.extract_if(.., |node| is_root(node)).collect();
    roots.sort_by_key(|node| node.state != "newest");
    // Depth first, so that indentation shows a tree.
    let mut stack: Vec<_> = roots.into_iter().rev().collect();
    loop {
        while let Some(node) = stack.pop() {
            let told_by = |other: &NodeView| other.applied_from.as_ref() == Some(&node.name);
            let told: Vec<_> = left.extract_if(.., |other| told_by(other)).collect();
            stack.extend(told.into_iter().rev().map(|mut other| {
                other.hops = node.hops + 1;
                other
            }));
            nodes.push(node);
        }
        // What is left goes round in a circle: the location changed while they were asked.
        match left.pop() {
            Some(node) => stack.push(node),
            None => break,
        }
    }
}

/// What stands before each name, so that who told whom is seen as a tree.
fn branches(nodes: &[NodeView]) -> Vec<String> {
    // Whether the node at `index`, or the one above it that has so many hops, has another below it.
    let goes_on = |index: usize, hops: usize| {
        let after = nodes[index + 1..].iter().map(|node| node.hops);
        after.take_while(|&other| other >= hops).any(|other| other == hops)
    };
    let branch = |(index, node): (usize, &NodeView)| {
        let stems = (1..node.hops).map(|hops| if goes_on(index, hops) { "│  " } else { "   " });
        let knot = match node.hops {
            0 => "",
            hops if goes_on(index, hops) => "├─ ",
            _ => "└─ ",
        };
        stems.chain([knot]).collect()
    };
    nodes.iter().enumerate().map(branch).collect()
}

impl Answer for Trace {
    const KIND: &'static str = "trace";

    fn text(&self) -> String {
        let rows: Vec<_> = self
            .nodes
            .iter()
            .zip(branches(&self.nodes))
            .map(|(node, branch)| {
                let after = node.after_seconds.map_or("-".into(), |after| {
                    if after.abs() < 1.0 {
                        format!("{:.3} ms", after * 1e3)
                    } else {
                        format!("{after:.3} s")
                    }
                });
                [
                    format!("{branch}{}", printable(&node.name)),
                    node.state.to_owned(),
                    after,
                    printable(node.applied_from.as_deref().unwrap_or("-")),
                ]
            })
            .collect();
        let mut text = table(["NODE", "HOLDS", "AFTER", "TOLD BY"], &rows);
        for node in self.nodes.iter().filter(|node| node.state == "down") {
            let error = node.error.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}: {}", printable(&node.name), printable(error));
        }
        let (id, origin) = (printable(&self.client_id), printable(&self.origin));
        text + &format!("{id} reported to {origin} at {}\n", self.receive_time)
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let nodes = self.nodes.iter().filter_map(|node| serde_json::to_value(node).ok());
        Some(nodes.map(|node| ("node", node)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, from: Option<&str>) -> NodeView {
        NodeView {
            name: name.into(),
            state: "newest",
            hops: 0,
            applied_time: None,
            applied_from: from.map(Into::into),
            after_seconds: None,
            error: None,
        }
    }

    fn ordered(mut nodes: Vec<NodeView>) -> Vec<(String, usize)> {
        order(&mut nodes);
        nodes.into_iter().map(|node| (node.name, node.hops)).collect()
    }

    #[test]
    fn each_node_comes_after_the_one_that_told_it() {
        let nodes = vec![
            node("D", Some("B")),
            node("A", None),
            node("C", Some("A")),
            node("B", Some("A")),
            node("E", Some("elsewhere")),
        ];
        let expected = [("A", 0), ("C", 1), ("B", 1), ("D", 2), ("E", 0)];
        assert_eq!(ordered(nodes), expected.map(|(name, hops)| (name.to_owned(), hops)));
    }

    #[test]
    fn branches_lead_from_each_node_to_those_it_told() {
        let mut nodes = vec![
            node("A", None),
            node("B", Some("A")),
            node("C", Some("A")),
            node("D", Some("B")),
            node("E", None),
        ];
        order(&mut nodes);
        let lines: Vec<_> = branches(&nodes).into_iter().zip(&nodes).collect();
        let lines: Vec<_> =
            lines.iter().map(|(branch, node)| format!("{branch}{}", node.name)).collect();
        assert_eq!(lines, ["A", "├─ B", "│  └─ D", "└─ C", "E"]);
    }

    #[test]
    fn a_circle_of_tales_is_shown_all_the_same() {
        let nodes = vec![node("A", Some("B")), node("B", Some("A"))];
        assert_eq!(ordered(nodes).len(), 2);
    }
}
