//! `cargo xtask measure`: what repair, restart and a bad neighbour cost, in real processes.

mod neighbour;
mod partition;
mod repair;
mod restart;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::report::{say, write_json};

/// Two friends.
const PAIR: [&str; 2] = ["Bailey", "Bona"];

/// Friendship of [`PAIR`].
const ONE_LINK: [(usize, usize); 1] = [(0, 1)];

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// An empty node catches up from one friend
    CatchUp,
    /// A full node is killed and started again
    Restart,
    /// Two nodes that were apart become equal
    Repair,
    /// A herd of five that was split in two becomes one
    Partition,
    /// A friend is stopped, or behind 100 bytes a second
    Neighbour,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "catch-up,restart,repair,partition,neighbour",
        value_name = "LIST"
    )]
    only: Vec<Experiment>,

    /// How many clients the herd knows
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// How many clients differ after the nodes were apart
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000", value_name = "LIST")]
    differing: Vec<u32>,

    /// How often the herd is split in each way
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each of the neighbour's three phases lasts
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// Reports a second while there is a bad neighbour
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,

    /// Chooses which clients report
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    name: String,
    /// How much, in `unit`.
    value: f64,
    /// Of what.
    unit: &'static str,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let figure = Self { name: name.into(), value, unit };
        // Said at once: the next one may be minutes away.
        say(format_args!("{:<68} {:>12.3} {}", figure.name, figure.value, figure.unit));
        figure
    }
}

/// Measures; fails only when something cannot be measured at all.
pub(crate) async fn run(
    args: Args,
    program: Option<PathBuf>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let mut figures = Vec::new();
    for experiment in &args.only {
        figures.extend(match experiment {
            Experiment::CatchUp => restart::catch_up(&args, program.clone()).await?,
            Experiment::Restart => restart::restart(&args, program.clone()).await?,
            Experiment::Repair => repair::repair(&args, program.clone()).await?,
            Experiment::Partition => partition::partition(&args, program.clone()).await?,
            Experiment::Neighbour => neighbour::neighbour(&args, program.clone()).await?,
        });
    }
    write_json(json, &figures)?;
    Ok(ExitCode::SUCCESS)
}
