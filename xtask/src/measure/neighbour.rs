//! What a node's other callers notice of a friend that takes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Args, Figure};
use crate::herd::{Herd, Plan};
use crate::ledger::Ledger;
use crate::load::{Load, Outcome, fill};
use crate::proxy::Condition;

/// Reports go to the first; the last is the bad one.
const THREE: [&str; 3] = ["Bailey", "Bona", "Campbell"];

/// The first is everybody's friend.
const STAR: [(usize, usize); 2] = [(0, 1), (0, 2)];

/// The node that is stopped.
const BAD: usize = 2;

/// The link to it.
const BAD_LINK: usize = 1;

/// What a slow path still carries, bytes a second.
const SLOW: u32 = 100;

/// How long the load runs before it is looked at, so that connections and caches are warm.
const WARM_UP: Duration = Duration::from_secs(3);

/// Longest wait for the nodes to agree between phases; the backlog of a slow path is long.
const LIMIT: Duration = Duration::from_mins(3);

/// Throughput, latency and memory of the node between: with good friends, with one stopped, and
/// with one behind a slow path.
pub(super) async fn neighbour(
    args: &Args,
    program: Option<PathBuf>,
) -> anyhow::Result<Vec<Figure>> {
    let plan = Plan { names: &THREE, friendships: &STAR, ack_level: None, program };
    let mut herd = Herd::started(&plan).await?;
    let ledger = Arc::new(Ledger::new(args.clients as usize));
    fill(&ledger, herd.address(0), 0..ledger.clients(), 0).await?;
    herd.wait_for_agreement(LIMIT).await?;
    run_load(&herd, &ledger, args, WARM_UP).await?;
    herd.wait_for_agreement(LIMIT).await?;

    let lasts = Duration::from_secs(args.seconds);
    let good = run_load(&herd, &ledger, args, lasts).await?;
    let mut figures = good.figures("good friends", None);
    herd.wait_for_agreement(LIMIT).await?;

    herd.stop(BAD)?;
    let stopped = run_load(&herd, &ledger, args, lasts).await?;
    herd.resume(BAD)?;
    figures.extend(stopped.figures("a stopped friend", Some(&good)));
    let took = herd.wait_for_agreement(LIMIT).await?;
    figures.push(Figure::new("a stopped friend: agreed after SIGCONT", took.as_secs_f64(), "s"));

    let bad_link = |herd: &Herd, condition| {
        if let Some(link) = herd.links().nth(BAD_LINK) {
            link.set(condition);
        }
    };
    bad_link(&herd, Condition::Slow(SLOW));
    let slow = run_load(&herd, &ledger, args, lasts).await?;
    bad_link(&herd, Condition::Open);
    figures.extend(slow.figures("a friend behind 100 B/s", Some(&good)));
    let took = herd.wait_for_agreement(LIMIT).await?;
    figures.push(Figure::new("a friend behind 100 B/s: agreed after", took.as_secs_f64(), "s"));
    Ok(figures)
}

/// One phase.
struct Phase {
    outcome: Outcome,
    grown_bytes: f64,
}

async fn run_load(
    herd: &Herd,
    ledger: &Arc<Ledger>,
    args: &Args,
    lasts: Duration,
) -> anyhow::Result<Phase> {
    let before = herd.resident_bytes(0)?;
    let load = Load::start(ledger, &[herd.address(0)], args.rate, args.seed, 0);
    tokio::time::sleep(lasts).await;
    let after = herd.resident_bytes(0)?;
    let outcome = load.stop().await;
    Ok(Phase { outcome, grown_bytes: after as f64 - before as f64 })
}

impl Phase {
    fn figures(&self, friends: &str, good: Option<&Self>) -> Vec<Figure> {
        let figure =
            |what: &str, value, unit| Figure::new(format!("{friends}: {what}"), value, unit);
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        let mut figures = vec![
            figure("acknowledged reports a second", self.outcome.rate, "/s"),
            figure("p50 of a message", millis(self.outcome.p50), "ms"),
            figure("p99 of a message", millis(self.outcome.p99), "ms"),
            figure("memory grown", self.grown_bytes / f64::from(1 << 20), "MiB"),
        ];
        if let Some(good) = good {
            let p99 = millis(self.outcome.p99) / millis(good.outcome.p99);
            figures.push(figure(
                "throughput against good friends",
                self.outcome.rate / good.outcome.rate,
                "x",
            ));
            figures.push(figure("p99 against good friends", p99, "x"));
        }
        figures
    }
}
