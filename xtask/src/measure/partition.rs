//! How soon a herd that was split in two agrees again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep_until};

use super::{Args, Figure};
use crate::herd::{FIVE, FRIENDSHIPS, Herd, Plan};
use crate::ledger::Ledger;
use crate::load::fill;
use crate::proxy::Condition;

/// Longest wait for the nodes to agree.
const LIMIT: Duration = Duration::from_mins(1);

/// The nodes of one side of the partition, by their index in [`FIVE`]; three friendships cross it.
const ONE_SIDE: [usize; 3] = [0, 1, 3];

/// What the friendships that cross do meanwhile.
const CONDITIONS: [(&str, Condition); 4] = [
    ("reset", Condition::Reset),
    ("silent", Condition::Silent),
    ("stalled", Condition::Stalled),
    ("stalled one way", Condition::OneWay),
];

/// How long the herd is split: less and more than silence is borne, and much more.
const LENGTHS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(12)];

/// Clients that report on each side meanwhile.
const DIFFERING: usize = 500;

/// Each condition and each length, several times: from the moment at which the partition heals
/// until all five digests are equal.
pub(super) async fn partition(
    args: &Args,
    program: Option<PathBuf>,
) -> anyhow::Result<Vec<Figure>> {
    let ack_level = Some("process".into());
    let plan = Plan { names: &FIVE, friendships: &FRIENDSHIPS, ack_level, program };
    let mut herd = Herd::started(&plan).await?;
    let clients = (args.clients as usize).min(100_000);
    ensure!(clients >= 2 * DIFFERING, "too few clients for both sides");
    let ledger = Ledger::new(clients);
    fill(&ledger, herd.address(0), 0..clients, 0).await?;
    herd.wait_for_agreement(LIMIT).await?;
    let mut figures = Vec::new();
    for (name, condition) in CONDITIONS {
        for lasts in LENGTHS {
            let mut took = Vec::new();
            for _ in 0..args.rounds {
                took.push(one(&mut herd, &ledger, condition, lasts).await?);
            }
            took.sort();
            let seconds = lasts.as_secs();
            for (what, took) in [("median", took[took.len() / 2]), ("worst", took[took.len() - 1])]
            {
                figures.push(Figure::new(
                    format!("split by {name} for {seconds} s: equal digests, {what}"),
                    took.as_secs_f64(),
                    "s",
                ));
            }
        }
    }
    Ok(figures)
}

async fn one(
    herd: &mut Herd,
    ledger: &Ledger,
    condition: Condition,
    lasts: Duration,
) -> anyhow::Result<Duration> {
    herd.wait_until_linked().await?;
    let set = |herd: &Herd, condition| {
        let crosses = |&(first, second): &(usize, usize)| {
            ONE_SIDE.contains(&first) != ONE_SIDE.contains(&second)
        };
        let links = herd.links().zip(&FRIENDSHIPS).filter(|(_, friends)| crosses(friends));
        links.for_each(|(link, _)| link.set(condition));
    };
    let heals = Instant::now() + lasts;
    set(herd, condition);
    let step = ledger.clients() / (2 * DIFFERING);
    for (node, first) in [(0, 0), (2, step)] {
        let clients = (0..DIFFERING).map(|nth| first + 2 * nth * step);
        fill(ledger, herd.address(node), clients, 0).await?;
    }
    sleep_until(heals).await;
    let (one, other) = (herd.status(0).await?, herd.status(2).await?);
    ensure!(one.digest != other.digest, "the herd was not split: both sides hold the same");
    set(herd, Condition::Open);
    herd.wait_for_agreement(LIMIT).await
}
