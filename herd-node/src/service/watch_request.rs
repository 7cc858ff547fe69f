//! What a WatchRequest asks for, checked.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use herd_proto::{Area, ClientId, Violations, v1};

use crate::herd::state::{Filter, Interest, State};

/// Most clients that one watcher may name. Following more than that, it may as well follow all.
const MAX_CLIENTS: usize = 1024;

/// Most beginnings of ids: each is compared with the id of every client that changes.
const MAX_PREFIXES: usize = 64;

/// The changes that a request asks for.
pub(super) fn interest(request: &v1::WatchRequest) -> Result<Interest, Violations> {
    let mut wrong = Violations::default();
    let mut clients = HashSet::new();
    let ids = &request.client_ids;
    if ids.len() > MAX_CLIENTS {
        wrong.add("client_ids", format!("must be at most {MAX_CLIENTS}, got {}", ids.len()));
    } else {
        for (index, id) in ids.iter().enumerate() {
            clients.extend(wrong.check(&format!("client_ids[{index}]"), ClientId::parse(id)));
        }
    }
    let prefixes = &request.client_prefixes;
    if prefixes.len() > MAX_PREFIXES {
        let rule = format!("must be at most {MAX_PREFIXES}, got {}", prefixes.len());
        wrong.add("client_prefixes", rule);
    } else {
        for (index, prefix) in prefixes.iter().enumerate() {
            // What begins an id keeps all the rules of an id.
            wrong.check(&format!("client_prefixes[{index}]"), ClientId::parse(prefix));
        }
    }
    let area = request.area.as_ref();
    let area = area.and_then(|area| Area::from_request(&mut wrong, "area", area));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(if prefixes.is_empty() && area.is_none() {
        if clients.is_empty() { Interest::Everything } else { Interest::Clients(clients) }
    } else {
        Interest::Filtered(Filter { clients, prefixes: prefixes.clone(), area })
    })
}

/// Where a watch can go on: after a change of one run of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) instance: u64,
    pub(super) change: u64,
}

impl Token {
    /// Whether this run of the node has numbered the change.
    pub(super) fn is_known(self, state: &State) -> bool {
        self.instance == state.identity().instance && self.change <= state.changes()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.instance, self.change)
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let (instance, change) = text.split_once('-').ok_or(NotAToken)?;
        let instance = u64::from_str_radix(instance, 16).map_err(|_| NotAToken)?;
        Ok(Self { instance, change: change.parse().map_err(|_| NotAToken)? })
    }
}

/// The text is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAToken;
