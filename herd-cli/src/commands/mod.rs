//! One command a file: what it asks, and how it shows the answer.

mod bench;
mod context;
mod doctor;
mod export;
mod forget;
mod get;
mod import;
mod location;
mod log;
mod manual;
mod near;
mod progress;
mod report;
mod report_many;
mod simulate;
mod spreadsheet;
mod status;
mod survey;
mod top;
mod topology;
mod trace;
mod up;
mod version;
mod watch;
mod whatsat;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use anyhow::Context as _;
use herd_cli::{Access, Client, Error};
use herd_edge::{Bearer, ClientAuth, Dialler, Hidden, Pair, Tls, TlsFiles};
use herd_proto::topology::{NodeEntry, Topology};
use herd_proto::{ClientId, NodeName, Position, Violations};

use crate::args::{Command, Global};
use crate::contexts;
use crate::coordinates::Coordinates;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(
    command: Command,
    global: Global,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let global = match command {
        Command::Completions(args) => return manual::completions(&args, output),
        Command::Man(args) => return manual::man(&args, output),
        Command::Context(args) => return context::run(args, &global, output),
        // Where to call is not what to start.
        Command::Up(_) => global,
        _ => contexts::complete(global)?,
    };
    let target = Target::new(global).await;
    if let Command::Doctor(args) = command {
        // What is wrong with the herd file is what it is asked about.
        return doctor::run(args, target, output).await;
    }
    let target = target?;
    match command {
        Command::Up(args) => up::run(*args, target, output).await,
        Command::Report(args) => report::run(args, target, output).await,
        Command::Whatsat(args) => whatsat::run(args, target, output).await,
        Command::Get(args) => get::run(args, target, output).await,
        Command::Near(args) => near::run(args, target, output).await,
        Command::Forget(args) => forget::run(args, target, output).await,
        Command::Watch(args) => watch::run(args, target, output).await,
        Command::Status(args) => status::run(args, target, output).await,
        Command::Bench(args) => bench::run(args, target, output).await,
        Command::Top(args) => top::run(args, target, output).await,
        Command::Log(args) => log::run(args, target, output).await,
        Command::Topology(args) => topology::run(args, target, output).await,
        Command::Trace(args) => trace::run(args, target, output).await,
        Command::Import(args) => import::run(args, target, output).await,
        Command::Export(args) => export::run(args, target, output).await,
        Command::Simulate(args) => simulate::run(args, target, output).await,
        Command::Version(_) => version::run(target, output).await,
        // Taken care of above: they need no herd.
        Command::Completions(_) | Command::Man(_) | Command::Context(_) | Command::Doctor(_) => {
            Ok(ExitCode::Success)
        }
    }
}

/// Which herd, which of its nodes, and how long to wait for it.
pub(crate) struct Target {
    topology: Topology,
    node: Option<String>,
    timeout: Duration,
    access: Access,
    /// The caller's own token, which a gateway that is started here carries, too.
    token_file: Option<PathBuf>,
    token: Option<Hidden>,
}

impl Target {
    async fn new(global: Global) -> Result<Self, Failure> {
        let topology = match &global.herd_file {
            None => Topology::seed(),
            Some(path) => {
                let read = fs::read_to_string(path).with_context(|| path.display().to_string());
                let text = read.map_err(|error| Failure::Usage(format!("{error:#}")))?;
                Topology::parse(&text)
                    .map_err(|wrong| Failure::Usage(format!("{}: {wrong}", path.display())))?
            }
        };
        let token = env::var("HERD_TOKEN").ok().filter(|token| !token.is_empty()).map(Hidden);
        let access = access(&global, token.as_ref()).await.map_err(Failure::Usage)?;
        let Global { node, timeout, token_file, .. } = global;
        Ok(Self { topology, node, timeout, access, token_file, token })
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
        self.connect_to(&self.address()?).await
    }

    async fn connect_to(&self, address: &str) -> Result<Client, Failure> {
        Ok(Client::connect_with(&self.access_to(address), address, self.timeout).await?)
    }

    /// How the node at `address` is reached: its certificate may bear its name in the herd file.
    fn access_to(&self, address: &str) -> Access {
        let mut access = self.access.clone();
        if let Some(entry) = self.topology.nodes.iter().find(|entry| entry.address == address) {
            access.dialler = access.dialler.for_node(entry.name.as_str());
        }
        access
    }
}

async fn access(global: &Global, token: Option<&Hidden>) -> Result<Access, String> {
    let bearer = Bearer::new(global.token_file.as_deref(), token.map(|token| &*token.0))
        .map_err(|error| error.to_string())?;
    let pair = global.cert.clone().zip(global.key.clone());
    let files =
        TlsFiles { pair: pair.map(|(cert, key)| Pair { cert, key }), ca: global.ca.clone() };
    let tls = if files.ca.is_some() {
        let loaded = Tls::load(files, ClientAuth::None, Tls::HTTP2).await;
        Some(loaded.map_err(|error| error.to_string())?)
    } else {
        None
    };
    Ok(Access { dialler: Dialler::new(tls), bearer })
}

/// Checks a client id as a request would have it checked.
fn client_id(text: &str) -> Result<ClientId, Failure> {
    ClientId::parse(text).map_err(|error| invalid(Violations::one("client_id", error)))
}

/// Reads a point in any of the ways in which people write one.
fn point(text: &str) -> Result<Position, Failure> {
    Coordinates::parse(text)
        .map(|coordinates| coordinates.position())
        .map_err(|error| invalid(Violations::one("position", error)))
}

fn invalid(violations: Violations) -> Failure {
    Error::Invalid { violations }.into()
}
