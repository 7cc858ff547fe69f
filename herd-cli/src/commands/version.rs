use std::collections::BTreeSet;
use std::fmt::Write as _;

use herd_cli::Client;
use serde::Serialize;

use super::Target;
use super::survey::{ask_all, meant};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(target: Target, output: &mut Output) -> Result<ExitCode, Failure> {
    let ask = |client: Client| async move { client.status().await };
    let asked = ask_all(meant(&target, false)?, &target, ask).await;
    let nodes = asked.into_iter().map(|node| match node.answer {
        Ok(status) => NodeView { name: status.name, version: Some(status.version), error: None },
        Err(error) => NodeView { name: node.name, version: None, error: Some(error.to_string()) },
    });
    let versions = Versions { client: env!("CARGO_PKG_VERSION"), nodes: nodes.collect() };
    output.answer(&versions)?;
    let up: Vec<_> = versions.nodes.iter().filter_map(|node| node.version.as_deref()).collect();
    let distinct: BTreeSet<_> = up.iter().copied().chain([versions.client]).collect();
    Ok(match up.len() {
        0 => ExitCode::Unavailable,
        _ if distinct.len() > 1 => ExitCode::Unsupported,
        up if up < versions.nodes.len() => ExitCode::Partial,
        _ => ExitCode::Success,
    })
}

#[derive(Serialize)]
struct Versions {
    /// This program's release.
    client: &'static str,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    /// Null for a node that is down.
    version: Option<String>,
    error: Option<String>,
}

impl Answer for Versions {
    const KIND: &'static str = "version";

    fn text(&self) -> String {
        let own = ["herd-cli".to_owned(), self.client.to_owned()];
        let nodes = self.nodes.iter().map(|node| {
            let version = node.version.as_deref().unwrap_or("down");
            [printable(&node.name), printable(version)]
        });
        let rows: Vec<_> = std::iter::once(own).chain(nodes).collect();
        let mut text = table(["PROGRAM", "VERSION"], &rows);
        for node in &self.nodes {
            if let Some(error) = &node.error {
                let _ = writeln!(text, "{}: {}", printable(&node.name), printable(error));
            }
        }
        text
    }
}
