//! One command a file: what it asks, and how it shows the answer.

mod forget;
mod get;
mod location;
mod report;
mod report_many;
mod status;
mod up;
mod watch;
mod whatsat;

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use herd_cli::{Client, Error};
use herd_proto::topology::{NodeEntry, Topology};
use herd_proto::{ClientId, NodeName, Violations};

use crate::args::{Command, Global};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(
    command: Command,
    global: Global,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let target = Target::new(global)?;
    match command {
        Command::Up(args) => up::run(*args, target, output).await,
        Command::Report(args) => report::run(args, target, output).await,
        Command::Whatsat(args) => whatsat::run(args, target, output).await,
        Command::Get(args) => get::run(args, target, output).await,
        Command::Forget(args) => forget::run(args, target, output).await,
        Command::Watch(args) => watch::run(args, target, output).await,
        Command::Status(args) => status::run(args, target, output).await,
    }
}

/// Which herd, which of its nodes, and how long to wait for it.
pub(crate) struct Target {
    topology: Topology,
    node: Option<String>,
    timeout: Duration,
}

impl Target {
    fn new(global: Global) -> Result<Self, Failure> {
        let topology = match &global.herd_file {
            None => Topology::seed(),
            Some(path) => {
                let read = fs::read_to_string(path).with_context(|| path.display().to_string());
                let text = read.map_err(|error| Failure::Usage(format!("{error:#}")))?;
                Topology::parse(&text)
                    .map_err(|wrong| Failure::Usage(format!("{}: {wrong}", path.display())))?
            }
        };
        Ok(Self { topology, node: global.node, timeout: global.timeout })
    }

    /// The address of the chosen node.
    fn address(&self) -> Result<String, Failure> {
        let known = |entry: &NodeEntry| entry.address.clone();
        let Some(node) = &self.node else {
            // A herd file names at least one node.
            return Ok(self.topology.nodes.first().map(known).unwrap_or_default());
        };
        if node.contains(':') {
            return Ok(node.clone());
        }
        let entry = NodeName::parse(node).ok().and_then(|name| self.topology.node(&name));
        entry.map(known).ok_or_else(|| {
            let names = self.topology.names();
            Failure::Usage(format!("no node is called {node}; the herd file has {names}"))
        })
    }

    async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.address()?, self.timeout).await?)
    }
}

/// Checks a client id as a request would have it checked.
fn client_id(text: &str) -> Result<ClientId, Failure> {
    ClientId::parse(text).map_err(|error| invalid(Violations::one("client_id", error)))
}

fn invalid(violations: Violations) -> Failure {
    Error::Invalid { violations }.into()
}
