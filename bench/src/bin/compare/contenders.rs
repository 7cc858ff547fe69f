//! Who is compared: the herd, its floors and its peers, each as a server at a free port.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use herd_bench::Dialect;
use tempfile::TempDir;

use super::process::{Server, free_port};

/// The herd file's name in a contender's directory.
const HERD_FILE: &str = "herd.toml";

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The herd's and the floors', of this build.
    own: PathBuf,
    /// The scripts of the peers.
    peers: PathBuf,
    /// A Python with uvloop, where it was installed.
    tools: PathBuf,
}

impl Programs {
    /// The programs of the build that this one is part of.
    pub(crate) fn of_this_build() -> anyhow::Result<Self> {
        let this = std::env::current_exe()?;
        let own = this.parent().context("no directory")?.to_owned();
        for name in ["herd-node", "herd-gateway", "herd-cli", "floor-text", "floor-grpc"] {
            let program = own.join(name);
            ensure!(program.is_file(), "there is no {}; start bench/run", program.display());
        }
        let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = own.parent().context("no directory")?.join("bench-tools");
        Ok(Self { own, peers: crate_directory.join("peers"), tools })
    }

    fn own(&self, name: &str) -> Command {
        Command::new(self.own.join(name))
    }
}

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// `herd-gateway` in front of one `herd-node`.
    Gateway,
    /// One node with its text port, in one process.
    Embedded,
    /// `herd-node` alone.
    Node,
    /// The same with a data directory and answers at level `process`.
    DurableNode,
    /// A text server that does the least.
    FloorText,
    /// A gRPC server that does the least.
    FloorGrpc,
    Asyncio,
    Uvloop,
    NodeJs,
    Redis,
    /// With `appendfsync everysec`.
    DurableRedis,
    Tile38,
}

/// A contender that runs.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// Where lines go.
    pub(crate) text: SocketAddr,
    /// Where calls go.
    pub(crate) grpc: SocketAddr,
    /// What it wrote; removed at the end.
    _directory: TempDir,
}

impl Contender {
    /// How tables name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "herd, two processes",
            Self::Embedded => "herd, one process",
            Self::Node => "herd-node",
            Self::DurableNode => "herd-node, durable",
            Self::FloorText => "floor: tokio",
            Self::FloorGrpc => "floor: tonic",
            Self::Asyncio => "asyncio",
            Self::Uvloop => "uvloop",
            Self::NodeJs => "Node.js",
            Self::Redis => "Redis GEOADD",
            Self::DurableRedis => "Redis GEOADD, everysec",
            Self::Tile38 => "Tile38 SET",
        }
    }

    /// What it is told reports in.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Redis | Self::DurableRedis => Dialect::Geoadd,
            Self::Tile38 => Dialect::Tile38,
            _ => Dialect::Iamat,
        }
    }

    /// Whether it can be started here.
    pub(crate) fn is_here(self, programs: &Programs) -> bool {
        let runs = |program: &Path, argument| {
            let quiet = std::process::Stdio::null;
            let run = Command::new(program).arg(argument).stdout(quiet()).stderr(quiet()).status();
            run.is_ok_and(|status| status.success())
        };
        match self {
            Self::Asyncio => runs(Path::new("python3"), "--version"),
            Self::Uvloop => runs(&programs.tools.join("python/bin/python3"), "--version"),
            Self::NodeJs => runs(Path::new("node"), "--version"),
            Self::Redis | Self::DurableRedis => runs(Path::new("redis-server"), "--version"),
            Self::Tile38 => runs(Path::new("tile38-server"), "--version"),
            _ => true,
        }
    }

    /// Starts it.
    pub(crate) fn start(self, programs: &Programs) -> anyhow::Result<Running> {
        let directory = tempfile::Builder::new().prefix("herd-bench-").tempdir()?;
        let (text, grpc) = (free_port()?, free_port()?);
        let server = match self {
            Self::Gateway => {
                let node = programs.node(grpc, directory.path(), false)?;
                let mut gateway = programs.own("herd-gateway");
                gateway.args(["--node", "Alone", "--listen", &text.to_string(), "--log", "error"]);
                gateway.arg("--herd-file").arg(directory.path().join(HERD_FILE));
                node.with(&mut gateway, text)?
            }
            Self::Embedded => {
                let file = herd_file(directory.path(), grpc, Some(text))?;
                let mut up = programs.own("herd-cli");
                up.arg("--herd-file").arg(file).args(["up", "--admin", "none", "--log", "error"]);
                Server::new().with(&mut up, text)?
            }
            Self::Node => programs.node(grpc, directory.path(), false)?,
            Self::DurableNode => programs.node(grpc, directory.path(), true)?,
            Self::FloorText => {
                Server::new().with(programs.own("floor-text").arg(text.to_string()), text)?
            }
            Self::FloorGrpc => {
                Server::new().with(programs.own("floor-grpc").arg(grpc.to_string()), grpc)?
            }
            Self::Asyncio => {
                let script = programs.peers.join("asyncio_server.py");
                let mut python = Command::new("python3");
                Server::new().with(python.arg(script).arg(text.port().to_string()), text)?
            }
            Self::Uvloop => {
                let script = programs.peers.join("asyncio_server.py");
                let mut python = Command::new(programs.tools.join("python/bin/python3"));
                let python = python.arg(script).arg(text.port().to_string()).arg("uvloop");
                Server::new().with(python, text)?
            }
            Self::NodeJs => {
                let script = programs.peers.join("node_server.js");
                let mut node = Command::new("node");
                Server::new().with(node.arg(script).arg(text.port().to_string()), text)?
            }
            Self::Redis | Self::DurableRedis => {
                let mut redis = Command::new("redis-server");
                let append = if self == Self::Redis { "no" } else { "yes" };
                redis.args(["--port", &text.port().to_string(), "--bind", "127.0.0.1"]);
                redis.args(["--save", "", "--appendonly", append, "--appendfsync", "everysec"]);
                redis.arg("--dir").arg(directory.path());
                Server::new().with(&mut redis, text)?
            }
            Self::Tile38 => {
                let mut tile38 = Command::new("tile38-server");
                tile38.args(["-h", "127.0.0.1", "-p", &text.port().to_string()]);
                tile38.args(["--appendonly", "no"]).arg("-d").arg(directory.path());
                Server::new().with(&mut tile38, text)?
            }
        };
        Ok(Running { server, text, grpc, _directory: directory })
    }
}

impl Programs {
    fn node(&self, grpc: SocketAddr, directory: &Path, durable: bool) -> anyhow::Result<Server> {
        let file = herd_file(directory, grpc, None)?;
        let mut node = self.own("herd-node");
        node.args(["--name", "Alone", "--admin", "none", "--log", "error"]);
        node.arg("--herd-file").arg(file);
        if durable {
            node.arg("--data-dir").arg(directory.join("data")).args(["--ack-level", "process"]);
        }
        Server::new().with(&mut node, grpc)
    }
}

/// Writes the herd file of a herd of one.
fn herd_file(
    directory: &Path,
    grpc: SocketAddr,
    text: Option<SocketAddr>,
) -> anyhow::Result<PathBuf> {
    let mut file = format!(
        "cluster = \"bench\"\n\n[[nodes]]\nname = \"Alone\"\naddress = \"{grpc}\"\nfriends = []\n"
    );
    if let Some(text) = text {
        writeln!(file, "text = \"{text}\"")?;
    }
    let path = directory.join(HERD_FILE);
    std::fs::write(&path, file)?;
    Ok(path)
}
