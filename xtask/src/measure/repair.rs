//! What it takes two nodes that were apart to become equal.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use herd_proto::v1::LinkState;

use super::{Args, Figure, ONE_LINK, PAIR};
use crate::herd::{Herd, Plan};
use crate::ledger::Ledger;
use crate::load::fill;
use crate::proxy::Condition;

/// Longest wait for two nodes to agree.
const LIMIT: Duration = Duration::from_mins(2);

/// Each number of differing clients twice: after a plain partition, when a node still knows what
/// its friend lacks, and after one in which a node was restarted as well, when the two have to find
/// out.
pub(super) async fn repair(args: &Args, program: Option<PathBuf>) -> anyhow::Result<Vec<Figure>> {
    let ack_level = Some("process".into());
    let plan = Plan { names: &PAIR, friendships: &ONE_LINK, ack_level, program };
    let mut herd = Herd::started(&plan).await?;
    let ledger = Ledger::new(args.clients as usize);
    fill(&ledger, herd.address(0), 0..ledger.clients(), 0).await?;
    herd.wait_for_agreement(LIMIT).await?;
    let mut figures = Vec::new();
    for restarted in [false, true] {
        for differing in &args.differing {
            figures.extend(one(&mut herd, &ledger, *differing, restarted).await?);
        }
    }
    Ok(figures)
}

async fn one(
    herd: &mut Herd,
    ledger: &Ledger,
    differing: u32,
    restarted: bool,
) -> anyhow::Result<[Figure; 2]> {
    ensure!(differing as usize <= ledger.clients(), "more clients differ than there are");
    // What was sent and not acknowledged would be sent again, and count.
    for node in 0..herd.len() {
        herd.wait_for(node, |status| {
            status.peers.iter().all(|peer| peer.pending == 0 && peer.in_flight == 0)
        })
        .await?;
    }
    let set = |herd: &Herd, condition| herd.links().for_each(|link| link.set(condition));
    set(herd, Condition::Reset);
    herd.wait_for(0, |status| status.peers.iter().all(|peer| peer.state() == LinkState::Down))
        .await?;
    if restarted {
        // Not killed: what a friend told it may not have reached its disk, and would count.
        herd.shut_down(1).await?;
        herd.start(1)?;
        let clients = ledger.clients() as u64;
        // Not until it is ready: it waits for the friend that it cannot reach.
        herd.wait_for(1, |status| status.clients == clients).await?;
    }
    // Spread over all clients, and so over the whole tree.
    let step = ledger.clients() / differing.max(1) as usize;
    fill(ledger, herd.address(0), (0..differing as usize).map(|nth| nth * step), 0).await?;
    let passed = |herd: &Herd| herd.links().map(|link| link.counts().passed_bytes).sum::<u64>();
    let before = passed(herd);
    set(herd, Condition::Open);
    let took = herd.wait_for_agreement(LIMIT).await?;
    let bytes = passed(herd) - before;
    let after = if restarted { "cut and a restart" } else { "cut" };
    Ok([
        Figure::new(
            format!("{differing} clients differ after a {after}: equal digests"),
            took.as_secs_f64(),
            "s",
        ),
        Figure::new(
            format!("{differing} clients differ after a {after}: bytes on the link"),
            bytes as f64,
            "B",
        ),
    ])
}
