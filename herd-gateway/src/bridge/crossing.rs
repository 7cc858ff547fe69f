//! What crosses the bridge, and to whom; pure.
//!
//! A record goes on only if it is newer than what the bridge last saw of the client, and never back
//! to whom it came from. So a line that comes round a circle of friends ends here, as it does at
//! each server of the original herd.

use std::collections::{HashMap, VecDeque};

use herd_proto::{ClientId, LocationRecord, Timestamp};

use super::waiting::Waiting;

/// Most clients whose newest time is remembered; the one that was seen first is forgotten. What is
/// not remembered may cross once more, and ends at whoever has it.
const MAX_SEEN: usize = 100_000;

#[derive(Debug)]
pub(super) struct Crossing {
    seen: HashMap<ClientId, Seen>,
    order: VecDeque<ClientId>,
    /// For the herd of nodes.
    pub(super) herd: Waiting,
    /// For each text friend.
    pub(super) friends: Vec<Waiting>,
}

/// The greatest that was seen of a client, as far as lines can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    generation: u32,
    time: Timestamp,
}

impl Crossing {
    pub(super) fn new(friends: usize) -> Self {
        Self {
            seen: HashMap::new(),
            order: VecDeque::new(),
            herd: Waiting::default(),
            friends: (0..friends).map(|_| Waiting::default()).collect(),
        }
    }

    /// Takes what a text friend said; `from` is which one, if that is known. Returns whether it was
    /// news.
    pub(super) fn friend_says(&mut self, from: Option<usize>, mut record: LocationRecord) -> bool {
        // Lines know nothing of generations: what comes after a client was forgotten is a report of
        // its present one.
        record.generation = self.seen.get(&record.client).map_or(0, |seen| seen.generation);
        if !self.is_news(&record) {
            return false;
        }
        self.tell_friends(from, &record);
        self.herd.push(record);
        true
    }

    /// Takes what the herd of nodes said. A client that was forgotten cannot be told in text.
    pub(super) fn herd_says(&mut self, record: &LocationRecord) {
        if self.is_news(record) && !record.forgotten {
            self.tell_friends(None, record);
        }
    }

    fn tell_friends(&mut self, except: Option<usize>, record: &LocationRecord) {
        let others = self.friends.iter_mut().enumerate();
        for (_, friend) in others.filter(|(index, _)| Some(*index) != except) {
            friend.push(record.clone());
        }
    }

    fn is_news(&mut self, record: &LocationRecord) -> bool {
        let now = Seen { generation: record.generation, time: record.time };
        if let Some(seen) = self.seen.get_mut(&record.client) {
            let news = now > *seen;
            *seen = now.max(*seen);
            return news;
        }
        self.seen.insert(record.client.clone(), now);
        self.order.push_back(record.client.clone());
        if self.order.len() > MAX_SEEN
            && let Some(first) = self.order.pop_front()
        {
            self.seen.remove(&first);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::at;

    fn record(client: &str, time: u32) -> LocationRecord {
        at::parse(format!("AT Bona +1 {client} +1-1 {time}").as_bytes()).unwrap()
    }

    /// How many wait for the herd and for each friend.
    fn waiting(crossing: &Crossing) -> (usize, Vec<usize>) {
        (crossing.herd.len(), crossing.friends.iter().map(Waiting::len).collect())
    }

    #[test]
    fn a_line_goes_to_all_but_whom_it_came_from_and_once_only() {
        let mut crossing = Crossing::new(3);
        assert!(crossing.friend_says(Some(1), record("kiwi", 5)));
        assert_eq!(waiting(&crossing), (1, vec![1, 0, 1]));
        for from in [Some(0), Some(1), None] {
            assert!(!crossing.friend_says(from, record("kiwi", 5)), "it came round a circle");
            assert!(!crossing.friend_says(from, record("kiwi", 4)), "it is older");
        }
        crossing.herd_says(&record("kiwi", 5));
        assert_eq!(waiting(&crossing), (1, vec![1, 0, 1]));
        crossing.herd_says(&record("emu", 5));
        assert_eq!(waiting(&crossing), (1, vec![2, 1, 2]));
    }

    #[test]
    fn a_forgotten_client_is_told_nobody_and_known_again_by_a_later_line() {
        let mut crossing = Crossing::new(1);
        crossing.herd_says(&record("kiwi", 5));
        let mut mark = record("kiwi", 7);
        (mark.generation, mark.forgotten) = (1, true);
        crossing.herd_says(&mark);
        assert_eq!(waiting(&crossing), (0, vec![1]));
        assert!(!crossing.friend_says(None, record("kiwi", 6)), "from before it was forgotten");
        assert!(crossing.friend_says(None, record("kiwi", 8)));
        assert_eq!(crossing.herd.pop().unwrap().generation, 1, "or the mark would beat it");
    }

    #[test]
    fn what_is_remembered_is_limited() {
        let mut crossing = Crossing::new(0);
        for client in 0..=MAX_SEEN {
            crossing.herd_says(&record(&format!("c{client}"), 1));
        }
        assert_eq!((crossing.seen.len(), crossing.order.len()), (MAX_SEEN, MAX_SEEN));
        assert!(crossing.friend_says(None, record("c0", 1)), "forgotten, and so news");
    }
}
