//! The program `herd-node`: one node of a herd.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use herd_admin::log_filter;
use herd_edge::raise_file_limit;
use herd_node::settings::ignore_empty_variables;
use herd_node::telemetry::{self, LogSettings};
use herd_node::{Config, Drained, Error, Node, Settings, at_hangups, terminated};
use herd_proto::NodeName;
use herd_proto::topology::{Problems, Topology};
use mimalloc::MiMalloc;
use tracing::info;

/// A report's way through gRPC is mostly small allocations: this takes 0.7 to 0.95 of the processor
/// time that the system's allocator does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Exit code for a configuration that does not hold, as sysexits' EX_USAGE.
const BAD_CONFIG: u8 = 64;

/// One node of a herd: takes location reports, floods them to its friends, answers for all.
///
/// Settings come from the herd file's [node] table, then HERD_* variables, then flags; the
/// later win.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  herd-node --name Bailey\n  HERD_FILE=herd.toml herd-node --name node-0 --listen 0.0.0.0:50051"
)]
struct Args {
    /// Which node of the herd file this is
    #[arg(long, env = "HERD_NAME")]
    name: NodeName,

    /// The herd file; left out, the built-in herd of five on this machine
    #[arg(long, env = "HERD_FILE", value_name = "FILE")]
    herd_file: Option<PathBuf>,

    /// Where to serve gRPC, in place of the herd file's word
    #[arg(long, env = "HERD_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    log: LogSettings,

    /// Print the resulting configuration, without secrets, and exit
    #[arg(long)]
    print_config: bool,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's own words")]
async fn main() -> ExitCode {
    let matches = ignore_empty_variables(Args::command()).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = match configure(&args) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("herd-node: {problems}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if args.print_config {
        println!("{config:#?}");
        return ExitCode::SUCCESS;
    }
    let _guard = match telemetry::init(&args.log, config.name.as_str()) {
        Ok(guard) => guard,
        Err(problems) => {
            eprintln!("herd-node: {problems}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let exporting = match herd_trace::start("herd-node", config.name.as_str()) {
        Ok(exporting) => exporting,
        Err(error) => {
            eprintln!("herd-node: {error}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let ended = run(config).await;
    exporting.stop();
    match ended {
        Ok(Drained::Clean) => ExitCode::SUCCESS,
        Ok(Drained::CutOff) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("herd-node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn configure(args: &Args) -> Result<Config, Problems> {
    let topology = match &args.herd_file {
        None => Topology::seed(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| Problems::one(format_args!("{}: {error}", path.display())))?;
            Topology::parse(&text)?
        }
    };
    let settings = args.settings.clone().with_secrets_from(|variable| env::var(variable).ok());
    let mut config = Config::new(&topology, &args.name, settings)?;
    config.listen = args.listen.unwrap_or(config.listen);
    Ok(config)
}

async fn run(config: Config) -> Result<Drained, Error> {
    let asked = terminated().map_err(Error::Signals)?;
    let filters = log_filter::follow_signals().map_err(Error::Signals)?;
    raise_file_limit();
    let mut node = Node::start(config).await?;
    let places = Arc::clone(node.places());
    let reloads = at_hangups(async || places.reload().await).map_err(Error::Signals)?;
    tokio::select! {
        signal = asked => info!(signal, "asked to stop"),
        error = node.failed() => return Err(error),
        never = reloads => match never {},
        never = filters => match never {},
    }
    // Whoever asks again does not want to wait for the drain.
    let asked_again = terminated().map_err(Error::Signals)?;
    tokio::select! {
        drained = node.stop() => Ok(drained),
        _ = asked_again => Ok(Drained::CutOff),
    }
}
