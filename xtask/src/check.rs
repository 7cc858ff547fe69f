//! Every acknowledged report, compared with every node.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use herd_proto::v1::WatchRequest;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::{LocationRecord, MAX_MESSAGE_BYTES};
use serde::Serialize;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::herd::Herd;
use crate::ledger::{Ledger, Wrong, client_id, client_index};

/// Longest wait for the next of the locations that a node holds.
const NEXT_LIMIT: Duration = Duration::from_secs(10);

/// Most losses that are listed; all are counted.
const MAX_LISTED: usize = 20;

/// What comparing found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comparison {
    /// Clients with an acknowledged report.
    pub clients: usize,
    /// Comparisons made: those clients times the nodes.
    pub compared: usize,
    /// Acknowledged reports that some node does not hold.
    pub lost: usize,
    /// Records that nobody sent.
    pub invented: usize,
    /// The first of both, in words.
    pub listed: Vec<String>,
}

/// Compares what was acknowledged with what each node holds.
pub(crate) async fn compare(herd: &Herd, ledger: &Ledger) -> anyhow::Result<Comparison> {
    let clients = 0..ledger.clients();
    let mut comparison = Comparison {
        clients: clients.clone().filter(|client| ledger.acknowledged(*client).is_some()).count(),
        ..Comparison::default()
    };
    for node in 0..herd.len() {
        let records = everything(herd.channel(node), ledger.clients())
            .await
            .with_context(|| format!("cannot read what {} holds", herd.name(node)))?;
        comparison.compared += comparison.clients;
        for client in clients.clone() {
            let record = records[client].as_ref();
            if let Some(wrong) = ledger.judge(client, record) {
                let time = record.map(|record| record.time.unix_nanos());
                comparison.note(wrong, herd.name(node), client, ledger.acknowledged(client), time);
            }
        }
    }
    Ok(comparison)
}

impl Comparison {
    fn note(
        &mut self,
        wrong: Wrong,
        node: &str,
        client: usize,
        acknowledged: Option<i64>,
        held: Option<i64>,
    ) {
        match wrong {
            Wrong::Lost => self.lost += 1,
            Wrong::Invented => self.invented += 1,
        }
        if self.listed.len() < MAX_LISTED {
            let client = client_id(client);
            self.listed.push(format!(
                "{node}: {client}: {wrong:?}: acknowledged {acknowledged:?}, held {held:?}"
            ));
        }
    }
}

/// All that a node holds, by client.
async fn everything(
    channel: Channel,
    clients: usize,
) -> anyhow::Result<Vec<Option<LocationRecord>>> {
    let mut client = LocationsClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let request = WatchRequest { include_current: true, ..WatchRequest::default() };
    let opened = timeout(NEXT_LIMIT, client.watch(request)).await.context("no answer")?;
    let mut watch = opened?.into_inner();
    let mut held = vec![None; clients];
    loop {
        let message = timeout(NEXT_LIMIT, watch.message()).await.context("no more in time")??;
        let message = message.context("the node ended the stream early")?;
        for location in message.locations {
            let record = LocationRecord::try_from(location).map_err(|rules| anyhow!("{rules}"))?;
            let client = client_index(&record.client).filter(|client| *client < clients);
            let client = client.with_context(|| format!("nobody is called {}", record.client))?;
            held[client] = Some(record);
        }
        if message.current_state_complete {
            return Ok(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_losses_are_counted_and_the_first_are_listed() {
        let mut comparison = Comparison::default();
        for client in 0..2 * MAX_LISTED {
            comparison.note(Wrong::Lost, "Bona", client, Some(5), None);
        }
        comparison.note(Wrong::Invented, "Bona", 0, None, Some(7));
        assert_eq!((comparison.lost, comparison.invented), (2 * MAX_LISTED, 1));
        assert_eq!(comparison.listed.len(), MAX_LISTED);
        assert_eq!(
            comparison.listed[0],
            "Bona: client-0000000: Lost: acknowledged Some(5), held None"
        );
    }
}
