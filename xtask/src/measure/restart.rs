//! How soon a node that has just started is of use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use herd_proto::v1::GetRequest;
use herd_proto::v1::locations_client::LocationsClient;
use tokio::time::{sleep, timeout};

use super::{Args, Figure, ONE_LINK, PAIR};
use crate::herd::{Herd, Plan};
use crate::ledger::{Ledger, client_id};
use crate::load::fill;

/// Longest wait for what is measured here; what takes longer has failed.
const LIMIT: Duration = Duration::from_mins(2);

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How often to try.
const POLL: Duration = Duration::from_millis(5);

/// From the start of an empty node's process until it holds what its only friend holds.
pub(super) async fn catch_up(args: &Args, program: Option<PathBuf>) -> anyhow::Result<Vec<Figure>> {
    let plan = Plan { names: &PAIR, friendships: &ONE_LINK, ack_level: None, program };
    let mut herd = Herd::plan(&plan).await?;
    herd.start(0)?;
    herd.wait_for(0, |status| status.ready).await?;
    let (clients, ledger) = (args.clients as usize, Ledger::new(args.clients as usize));
    let started = Instant::now();
    fill(&ledger, herd.address(0), 0..clients, 0).await?;
    let filled = started.elapsed();
    herd.start(1)?;
    let started = Instant::now();
    herd.wait_for_agreement(LIMIT).await?;
    let caught_up = started.elapsed();
    let bytes: u64 = herd.links().map(|link| link.counts().passed_bytes).sum();
    let memory = herd.resident_bytes(1)?;
    Ok(vec![
        Figure::new(format!("one stream reports {clients} clients"), filled.as_secs_f64(), "s"),
        Figure::new(
            format!("an empty node catches up {clients} clients"),
            caught_up.as_secs_f64(),
            "s",
        ),
        Figure::new("bytes on the link for each client", bytes as f64 / clients as f64, "B"),
        Figure::new("memory of the new node for each client", memory as f64 / clients as f64, "B"),
    ])
}

/// From the start of a killed node's process until it answers, is ready and agrees.
pub(super) async fn restart(args: &Args, program: Option<PathBuf>) -> anyhow::Result<Vec<Figure>> {
    let ack_level = Some("process".into());
    let plan = Plan { names: &PAIR, friendships: &ONE_LINK, ack_level, program };
    let mut herd = Herd::started(&plan).await?;
    let ledger = Ledger::new(args.clients as usize);
    fill(&ledger, herd.address(0), 0..ledger.clients(), 0).await?;
    herd.wait_for_agreement(LIMIT).await?;
    herd.kill(0).await?;
    herd.start(0)?;
    let started = Instant::now();
    first_answer(&mut herd, ledger.clients() - 1).await?;
    let answered = started.elapsed();
    herd.wait_for(0, |status| status.ready).await?;
    let ready = started.elapsed();
    herd.wait_for_agreement(LIMIT).await?;
    let agreed = started.elapsed();
    let restored = herd.status(0).await?.store.map_or(0, |store| store.restored_records);
    let clients = args.clients;
    let seconds = |name: &str, took: Duration| {
        Figure::new(format!("restart with {clients} clients: {name}"), took.as_secs_f64(), "s")
    };
    Ok(vec![
        seconds("first answer", answered),
        seconds("ready", ready),
        seconds("same digest as its friend", agreed),
        Figure::new("records read from the disk", restored as f64, ""),
    ])
}

/// Waits until a node tells where a client is.
async fn first_answer(herd: &mut Herd, client: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut locations = LocationsClient::new(herd.channel(0));
    loop {
        let answer = locations.get(GetRequest { client_id: client_id(client) });
        if let Ok(Ok(_)) = timeout(ANSWER_LIMIT, answer).await {
            return Ok(());
        }
        herd.check_alive()?;
        ensure!(started.elapsed() < LIMIT, "no answer after {LIMIT:?}");
        sleep(POLL).await;
    }
}
