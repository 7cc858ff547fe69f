//! Which changes a consumer wants.

use std::collections::HashSet;

use herd_proto::{Area, ClientId, LocationRecord};

/// Which changes a consumer wants.
#[derive(Debug, Clone)]
pub enum Interest {
    /// All of them.
    Everything,
    /// Those of some clients.
    Clients(HashSet<ClientId>),
    /// Those that pass a filter.
    Filtered(Filter),
}

/// Tells some changes from others.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Clients that are followed.
    pub clients: HashSet<ClientId>,
    /// Beginnings of the ids of clients that are followed; with no client and no beginning, all
    /// are.
    pub prefixes: Vec<String>,
    /// Where they are followed; `None` for everywhere.
    pub area: Option<Area>,
}

impl Interest {
    /// Whether a change to this record is wanted, apart from those who leave an area.
    pub fn includes(&self, record: &LocationRecord) -> bool {
        self.names(&record.client) && self.area().is_none_or(|area| is_in(area, record))
    }

    /// Whether the client is followed, wherever it is.
    pub fn names(&self, client: &ClientId) -> bool {
        match self {
            Self::Everything => true,
            Self::Clients(clients) => clients.contains(client),
            Self::Filtered(Filter { clients, prefixes, .. }) => {
                (clients.is_empty() && prefixes.is_empty())
                    || clients.contains(client)
                    || prefixes.iter().any(|prefix| client.as_str().starts_with(prefix.as_str()))
            }
        }
    }

    /// Where clients are followed; `None` for everywhere.
    pub fn area(&self) -> Option<&Area> {
        match self {
            Self::Filtered(filter) => filter.area.as_ref(),
            Self::Everything | Self::Clients(_) => None,
        }
    }
}

/// Whether the client is known to be in an area.
pub fn is_in(area: &Area, record: &LocationRecord) -> bool {
    !record.forgotten && area.holds(record.position)
}
