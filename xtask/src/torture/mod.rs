//! `cargo xtask torture`: five real nodes under load and attack lose nothing they acknowledged.

mod battle;
mod nemesis;
mod recovery;
mod watchdog;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::battle::{Battle, Dealt};
use self::nemesis::{Fault, Nemesis};
use self::recovery::{Recovery, Seen};
use self::watchdog::Watchdog;
use crate::check::{Comparison, compare};
use crate::herd::{FIVE, FRIENDSHIPS, Herd, Plan};
use crate::ledger::Ledger;
use crate::load::{self, Load};
use crate::report::{say, write_json};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// How long to attack
    #[arg(long, default_value_t = 60, value_name = "S")]
    seconds: u64,

    /// Repeats a schedule of faults [default: a new one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Reports a second, over all nodes
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,

    /// How many clients report
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// What goes wrong; nothing, when no kind follows
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        num_args = 0..,
        default_value = "kill,killall,stop,cut",
        value_name = "LIST"
    )]
    faults: Vec<Fault>,

    /// Average pause between faults, milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,

    /// What the nodes' answers wait for: memory, process or disk; none: they have no disk
    #[arg(long, default_value = "process", value_name = "LEVEL")]
    ack: String,

    /// How many friends must have applied a report before it is answered
    #[arg(long, default_value_t = 0, value_name = "K")]
    min_peers: u32,

    /// How long the nodes may take to agree afterwards
    #[arg(long, default_value_t = 60, value_name = "S")]
    settle: u64,
}

/// All figures of one run.
#[derive(Debug, Serialize)]
struct Figures {
    seed: u64,
    attacked_seconds: u64,
    ack_level: String,
    min_peers: u32,
    wanted_rate: u32,
    reached_rate: f64,
    sent_reports: u64,
    acknowledged_reports: u64,
    refused_reports: u64,
    broken_streams: u64,
    p50_milliseconds: f64,
    p99_milliseconds: f64,
    dealt: Dealt,
    answered_after_seconds: f64,
    agreed_after_seconds: f64,
    divergent: u64,
    comparison: Comparison,
    failures: Vec<String>,
}

/// Attacks a herd; the exit code says whether it kept its word.
pub(crate) async fn run(
    args: Args,
    program: Option<PathBuf>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(rand::random);
    say(format_args!("seed {seed}; repeat this schedule with --seed {seed}"));
    let plan = Plan {
        names: &FIVE,
        friendships: &FRIENDSHIPS,
        ack_level: Some(args.ack.clone()).filter(|level| level != "none"),
        program,
    };
    let mut battle = Battle::new(Herd::started(&plan).await?);
    match attack(&args, seed, &mut battle).await {
        Ok(mut figures) => {
            figures.dealt = battle.dealt();
            figures.failures.extend(without_effect(&args.faults, &figures.dealt));
            print(&figures);
            write_json(json, &figures)?;
            if figures.failures.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            say(format_args!("files kept in {}", battle.keep_files()));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            Err(error.context(format!("seed {seed}; files kept in {}", battle.keep_files())))
        }
    }
}

async fn attack(args: &Args, seed: u64, battle: &mut Battle) -> anyhow::Result<Figures> {
    let ledger = Arc::new(Ledger::new(args.clients as usize));
    let herd = battle.herd();
    let addresses = herd.addresses();
    load::fill(&ledger, addresses[0], 0..ledger.clients(), args.min_peers).await?;
    let watchdog = Watchdog::start((0..herd.len()).map(|node| herd.channel(node)));
    let load = Load::start(&ledger, &addresses, args.rate, seed, args.min_peers);
    let every = Duration::from_millis(args.every);
    let links = herd.links().len();
    let mut nemesis = Nemesis::new(seed, args.faults.clone(), every, addresses.len(), links);
    battle.rage(&mut nemesis, Duration::from_secs(args.seconds)).await?;
    battle.make_peace()?;
    let healed = Instant::now();
    let herd = battle.herd();
    let recovery = Recovery::start((0..herd.len()).map(|node| herd.channel(node)));
    let outcome = load.stop().await;
    let answered_after = healed.elapsed();
    battle.herd().wait_for_agreement(Duration::from_secs(args.settle)).await?;
    let agreed_after = healed.elapsed();
    for seen in recovery.finish().await {
        tell(&seen);
    }
    let divergent = watchdog.finish().await;
    let comparison = compare(battle.herd(), &ledger).await?;
    let (sent_reports, acknowledged_reports, refused_reports) = ledger.reports();
    let mut failures = Vec::new();
    let mut must_be_none = |count: u64, what: &str| {
        if count > 0 {
            failures.push(format!("{count} {what}"));
        }
    };
    must_be_none(comparison.lost as u64, "acknowledged reports were lost");
    must_be_none(comparison.invented as u64, "records were never sent");
    must_be_none(divergent, "differences had stayed while nodes ran");
    must_be_none(refused_reports, "reports were refused");
    Ok(Figures {
        seed,
        attacked_seconds: args.seconds,
        ack_level: args.ack.clone(),
        min_peers: args.min_peers,
        wanted_rate: args.rate,
        reached_rate: outcome.rate,
        sent_reports,
        acknowledged_reports,
        refused_reports,
        broken_streams: outcome.broken_streams,
        p50_milliseconds: outcome.p50.as_secs_f64() * 1e3,
        p99_milliseconds: outcome.p99.as_secs_f64() * 1e3,
        dealt: Dealt::default(),
        answered_after_seconds: answered_after.as_secs_f64(),
        agreed_after_seconds: agreed_after.as_secs_f64(),
        divergent,
        comparison,
        failures,
    })
}

/// Faults that were asked for and did nothing: a run that proves less than it says.
fn without_effect(faults: &[Fault], dealt: &Dealt) -> Vec<String> {
    let links = &dealt.links;
    let marks = links.resets + links.dropped_bytes + links.held + links.slowed_bytes;
    let idle = |fault: &&Fault| match fault {
        Fault::Kill => dealt.kills == 0,
        Fault::KillAll => dealt.kill_alls == 0,
        Fault::Stop => dealt.stops == 0,
        Fault::Cut => dealt.cuts == 0 || marks == 0,
    };
    faults.iter().filter(idle).map(|fault| format!("{fault:?} never had an effect")).collect()
}

/// What a node waited for once the last fault had ended.
fn tell(seen: &Seen) {
    let link = match &seen.last_friend {
        Some((friend, why)) => {
            format!(
                "last link, to {friend}, after {:.2} s (was down: {why})",
                seen.linked.as_secs_f64()
            )
        }
        None => "all links up".to_owned(),
    };
    say(format_args!(
        "{}: first answer after {:.2} s, {link}, last change after {:.2} s",
        seen.name,
        seen.answered.as_secs_f64(),
        seen.changed.as_secs_f64(),
    ));
}

fn print(figures: &Figures) {
    let Figures { dealt, comparison, .. } = figures;
    say(format_args!(
        "dealt: {} kills, {} kills of all, {} stops, {} cuts ({} connections reset, {} bytes \
         dropped, {} times held, {} bytes slowed)",
        dealt.kills,
        dealt.kill_alls,
        dealt.stops,
        dealt.cuts,
        dealt.links.resets,
        dealt.links.dropped_bytes,
        dealt.links.held,
        dealt.links.slowed_bytes,
    ));
    say(format_args!(
        "reports: {} sent, {} acknowledged, {:.0} a second of {} wanted; p50 {:.1} ms, p99 {:.1} ms; \
         {} streams broke",
        figures.sent_reports,
        figures.acknowledged_reports,
        figures.reached_rate,
        figures.wanted_rate,
        figures.p50_milliseconds,
        figures.p99_milliseconds,
        figures.broken_streams,
    ));
    say(format_args!(
        "after the last fault ended: last answer {:.2} s, agreed {:.2} s",
        figures.answered_after_seconds, figures.agreed_after_seconds,
    ));
    say(format_args!(
        "compared {} clients with each node, {} comparisons: {} lost, {} invented, {} divergent",
        comparison.clients,
        comparison.compared,
        comparison.lost,
        comparison.invented,
        figures.divergent,
    ));
    for line in comparison.listed.iter().chain(&figures.failures) {
        say(format_args!("FAILED: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Counts;

    #[test]
    fn a_fault_that_never_happened_fails_the_run() {
        let all = [Fault::Kill, Fault::KillAll, Fault::Stop, Fault::Cut];
        assert_eq!(without_effect(&all, &Dealt::default()).len(), 4);
        let mut dealt = Dealt { kills: 1, kill_alls: 1, stops: 1, cuts: 1, ..Dealt::default() };
        assert_eq!(without_effect(&all, &dealt), ["Cut never had an effect"]);
        dealt.links = Counts { held: 1, ..Counts::default() };
        assert!(without_effect(&all, &dealt).is_empty());
        assert!(without_effect(&[], &Dealt::default()).is_empty());
    }
}
