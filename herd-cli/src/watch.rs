use herd_proto::{ClientId, LocationRecord, v1};
use tonic::Streaming;

use crate::{Client, Error};

const RPC: &str = "Locations/Watch";

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It reported.
    Moved(LocationRecord),
    /// It was forgotten.
    Forgotten(ClientId),
}

/// An open stream of changes.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    stream: Streaming<v1::WatchResponse>,
}

impl Watch {
    pub(crate) async fn open(
        client: &Client,
        clients: &[ClientId],
        include_current: bool,
    ) -> Result<Self, Error> {
        let client_ids = clients.iter().map(|id| id.as_str().into()).collect();
        // Not timed: the request's own time limit would end the stream.
        let request = v1::WatchRequest { client_ids, include_current };
        let stream = client.call(RPC, client.locations().watch(request)).await?;
        Ok(Self { client: client.clone(), stream })
    }

    /// The next changes: first the clients that moved, in the order in which they changed first,
    /// then those that were forgotten. `None` when the node has ended the stream. Waits for as long
    /// as nothing changes. Cancel-safe: no message is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, Error> {
        let message =
            self.stream.message().await.map_err(|status| self.client.refused(RPC, &status))?;
        let Some(message) = message else { return Ok(None) };
        let moved = message
            .locations
            .into_iter()
            .map(|location| self.client.location(Some(location)).map(Change::Moved));
        let forgotten =
            message.forgotten.iter().map(|id| self.client.client_id(id).map(Change::Forgotten));
        moved.chain(forgotten).collect::<Result<_, _>>().map(Some)
    }
}
