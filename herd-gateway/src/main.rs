//! The program `herd-gateway`.

use std::io::Write as _;
use std::process::ExitCode;
use std::{env, fs, io};

use anyhow::Context as _;
use clap::Parser as _;
use herd_admin::log_filter;
use herd_edge::{Hidden, raise_file_limit};
use herd_gateway::args::Args;
use herd_gateway::settings::Settings;
use herd_gateway::{Gateway, telemetry};
use herd_proto::topology::Topology;
use mimalloc::MiMalloc;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// A report's way through gRPC is mostly small allocations: this takes 0.7 to 0.95 of the processor
/// time that the system's allocator does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// For a configuration that does not hold, as EX_USAGE of sysexits.h.
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let args = Args::parse();
    let settings = match settings(&args) {
        Ok(settings) => {
            let token = env::var("HERD_TOKEN").ok().filter(|token| !token.is_empty());
            settings.with_token(&args, token.map(Hidden))
        }
        Err(error) => return failed(&error, ExitCode::from(BAD_CONFIGURATION)),
    };
    let done = if args.print_config {
        write!(io::stdout(), "{settings}").context("cannot print").map(|()| ExitCode::SUCCESS)
    } else {
        run(settings)
    };
    done.unwrap_or_else(|error| failed(&error, ExitCode::FAILURE))
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let Some(path) = &args.herd_file else { return Ok(Settings::new(args, &Topology::seed())?) };
    let name = || format!("herd file {}", path.display());
    let text = fs::read_to_string(path).with_context(name)?;
    let herd = Topology::parse(&text).with_context(name)?;
    Ok(Settings::new(args, &herd)?)
}

// One thread: lines are cheap, and passing them between threads costs more than it brings.
#[tokio::main(flavor = "current_thread")]
async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    telemetry::init(&settings)?;
    let instance = settings.config.ports.first().map(|port| port.listen.to_string());
    let exporting = herd_trace::start("herd-gateway", &instance.unwrap_or_default())?;
    let ended = serve(settings).await;
    exporting.stop();
    ended
}

async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let filters = log_filter::follow_signals().context("cannot listen for signals")?;
    raise_file_limit();
    let gateway = Gateway::start(settings.config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = filters => match never {},
    }
    info!("stopping");
    let drained = gateway.stop().await;
    info!(connections_cut = drained.connections_cut, "stopped");
    Ok(if drained.connections_cut == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn failed(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    // Nothing is left to do when standard error is closed, too.
    let _ = writeln!(io::stderr(), "herd-gateway: {error:#}");
    code
}
