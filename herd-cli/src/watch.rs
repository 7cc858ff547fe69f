use std::collections::HashSet;

use herd_proto::{Area, ClientId, LocationRecord, v1};
use tonic::Streaming;

use crate::{Client, Error};

const RPC: &str = "Locations/Watch";

/// What to follow: the clients that are named or whose ids begin as told, every client if neither
/// is, and of these only what happens in the area, if there is one.
#[derive(Debug, Clone, Default)]
pub struct WatchQuery {
    /// Clients, at most 1,024.
    pub clients: Vec<ClientId>,
    /// Beginnings of ids, at most 64.
    pub prefixes: Vec<ClientId>,
    /// Where; `None` for everywhere.
    pub area: Option<Area>,
    /// Whether to begin with what is known now.
    pub include_current: bool,
    /// What [`Watch::resume_token`] of an earlier stream with the same question said, to go on
    /// there; empty for none.
    pub resume_token: String,
}

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It reported.
    Moved(LocationRecord),
    /// It reported, and has come into the area.
    Entered(LocationRecord),
    /// It has left the area, and is here now.
    Left(LocationRecord),
    /// It was forgotten.
    Forgotten(ClientId),
}

/// An open stream of changes.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    stream: Streaming<v1::WatchResponse>,
    current: bool,
    superseded: u64,
    resume_token: String,
}

impl Watch {
    pub(crate) async fn open(client: &Client, query: WatchQuery) -> Result<Self, Error> {
        let texts = |ids: &[ClientId]| ids.iter().map(|id| id.as_str().into()).collect();
        // Not timed: the request's own time limit would end the stream.
        let request = v1::WatchRequest {
            client_ids: texts(&query.clients),
            include_current: query.include_current,
            client_prefixes: texts(&query.prefixes),
            area: query.area.as_ref().map(Into::into),
            resume_token: query.resume_token.clone(),
        };
        let stream = client.call(RPC, client.locations().watch(request)).await?;
        let (client, resume_token) = (client.clone(), query.resume_token);
        Ok(Self { client, stream, current: false, superseded: 0, resume_token })
    }

    /// The next changes: first the clients that moved, in the order in which they changed first,
    /// then those that left the area, then those that were forgotten. `None` when the node has ended
    /// the stream. Waits for as long as nothing changes. Cancel-safe: no message is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, Error> {
        let message =
            self.stream.message().await.map_err(|status| self.client.refused(RPC, &status))?;
        let Some(message) = message else { return Ok(None) };
        let entered: HashSet<_> = message.entered.iter().collect();
        let mut changes = Vec::new();
        for location in message.locations {
            let has_entered = entered.contains(&location.client_id);
            let location = self.client.location(Some(location))?;
            changes.push(if has_entered {
                Change::Entered(location)
            } else {
                Change::Moved(location)
            });
        }
        for location in message.left {
            changes.push(Change::Left(self.client.location(Some(location))?));
        }
        for id in &message.forgotten {
            changes.push(Change::Forgotten(self.client.client_id(id)?));
        }
        self.superseded += message.superseded;
        self.current |= message.current_state_complete;
        if !message.resume_token.is_empty() {
            self.resume_token = message.resume_token;
        }
        Ok(Some(changes))
    }

    /// Whether all that was known when the stream began has been told, where that was asked for.
    pub fn is_current(&self) -> bool {
        self.current
    }

    /// How many changes were not told, because the client changed again before they could be.
    pub fn superseded(&self) -> u64 {
        self.superseded
    }

    /// Where another stream to the same node can go on and miss nothing; empty before the stream
    /// has caught up.
    pub fn resume_token(&self) -> &str {
        &self.resume_token
    }
}
