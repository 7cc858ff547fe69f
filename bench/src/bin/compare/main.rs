//! Compares the herd with its floors and its peers, all in one run: each is started afresh, loaded
//! and ended, one after the other, round by round, so that what the machine does meanwhile meets
//! all of them alike.

mod contenders;
mod process;
mod scenarios;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use herd_bench::Timing;
use serde::Serialize;

use self::contenders::{Contender, Programs};
use self::scenarios::{Run, Scenario};

/// Compares the herd with its floors and its peers on this machine. Start it by bench/run, which
/// builds and installs what it needs.
#[derive(Debug, Parser)]
#[command(name = "bench/run", max_term_width = 100)]
struct Args {
    /// What to compare [default: everything]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    only: Vec<Scenario>,
    /// How often each is run
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each is loaded before it is measured
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// How long each is measured
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// How many clients report
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1024..))]
    clients: u32,
    /// Where to write all runs as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All that came of it.
#[derive(Debug, Serialize)]
struct Report {
    machine: table::Machine,
    /// By scenario and contender, a run each round.
    runs: BTreeMap<&'static str, BTreeMap<&'static str, Vec<Run>>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let programs = Programs::of_this_build()?;
    let timing = Timing { warm_up: args.warm_up, lasts: args.lasts };
    let scenarios = if args.only.is_empty() { Scenario::all() } else { args.only.clone() };
    let mut report = Report { machine: table::Machine::of_this_run()?, runs: BTreeMap::new() };
    table::say(&report.machine);
    for scenario in scenarios {
        let (here, away): (Vec<Contender>, Vec<_>) =
            scenario.contenders().iter().partition(|contender| contender.is_here(&programs));
        for contender in away {
            table::say(format_args!("{} is not on this machine and is left out", contender.name()));
        }
        let mut runs: BTreeMap<Contender, Vec<Run>> = BTreeMap::new();
        for _ in 0..args.rounds {
            for contender in &here {
                let run = scenario.run(*contender, &programs, args.clients, timing).await;
                let run =
                    run.with_context(|| format!("{}: {}", scenario.name(), contender.name()))?;
                runs.entry(*contender).or_default().push(run);
            }
        }
        table::say(table::of(scenario, &runs));
        let named = runs.into_iter().map(|(contender, runs)| (contender.name(), runs));
        report.runs.insert(scenario.name(), named.collect());
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}
