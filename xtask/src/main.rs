//! Shows that the herd keeps what it promises: `cargo xtask torture` breaks real processes and
//! compares what was acknowledged with what is held; `cargo xtask measure` times repair, restart
//! and bad neighbours; `cargo xtask hostile` sets bad callers on it. `docs/reliability.md` holds what
//! came of it.

mod check;
mod herd;
mod hostile;
mod ledger;
mod load;
mod measure;
mod proxy;
mod report;
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fault injection and measurements with real nodes of the herd.
///
/// Needs the programs of the same build: cargo build --release --bins
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Args {
    /// The node's program [default: herd-node beside this one]
    #[arg(long, global = true, value_name = "FILE")]
    node: Option<PathBuf>,

    /// Where to write the figures as JSON as well
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Breaks five loaded nodes for a while, then compares every acknowledged report with each
    Torture(torture::Args),
    /// Times catching up, restart, repair, and what a bad neighbour costs
    Measure(measure::Args),
    /// Sets slow clients, callers that mean harm and random bytes on a gateway and a node
    Hostile(hostile::Args),
}

#[tokio::main(worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "a program's own words")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.task {
        Task::Torture(torture) => torture::run(torture, args.node, args.json.as_deref()).await,
        Task::Measure(measure) => measure::run(measure, args.node, args.json.as_deref()).await,
        Task::Hostile(hostile) => hostile::run(hostile, args.node, args.json.as_deref()).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
