//! What one side has yet to be told: the newest record of each client, in the order in which they
//! began to wait.

use std::collections::{HashMap, VecDeque};

use herd_proto::{ClientId, LocationRecord};

/// Most clients that wait. Beyond that the one that has waited longest is given up, as the original
/// herd gives up whatever happens while a friend is down.
pub(super) const MAX_WAITING: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    newest: HashMap<ClientId, LocationRecord>,
    order: VecDeque<ClientId>,
    given_up: u64,
}

impl Waiting {
    /// Has `record` told, in place of an older one of the client.
    pub(super) fn push(&mut self, record: LocationRecord) {
        let client = record.client.clone();
        if self.newest.insert(client.clone(), record).is_some() {
            return;
        }
        self.order.push_back(client);
        if self.order.len() > MAX_WAITING
            && let Some(client) = self.order.pop_front()
        {
            self.newest.remove(&client);
            self.given_up += 1;
        }
    }

    /// Has `record` told again, unless a newer one of the client waits.
    pub(super) fn give_back(&mut self, record: LocationRecord) {
        if !self.newest.contains_key(&record.client) {
            self.push(record);
        }
    }

    /// The record whose client has waited longest.
    pub(super) fn pop(&mut self) -> Option<LocationRecord> {
        self.newest.remove(&self.order.pop_front()?)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many were given up.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::at;

    fn record(client: &str, time: u32) -> LocationRecord {
        at::parse(format!("AT Bona +1 {client} +1-1 {time}").as_bytes()).unwrap()
    }

    #[test]
    fn a_client_that_moves_keeps_its_place_and_only_its_newest_is_told() {
        let mut waiting = Waiting::default();
        for (client, time) in [("kiwi", 1), ("emu", 1), ("kiwi", 2)] {
            waiting.push(record(client, time));
        }
        waiting.give_back(record("kiwi", 1));
        assert_eq!(waiting.pop(), Some(record("kiwi", 2)));
        assert_eq!(waiting.pop(), Some(record("emu", 1)));
        assert_eq!(waiting.pop(), None);
    }

    #[test]
    fn who_has_waited_longest_is_given_up_when_too_many_wait() {
        let mut waiting = Waiting::default();
        for client in 0..=MAX_WAITING {
            waiting.push(record(&format!("c{client}"), 1));
        }
        assert_eq!((waiting.len(), waiting.given_up()), (MAX_WAITING, 1));
        assert_eq!(waiting.pop(), Some(record("c1", 1)));
    }
}
