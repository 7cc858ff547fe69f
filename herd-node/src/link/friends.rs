//! Whom this node dials: one task a friend, from the start or since DNS named it.

use std::collections::HashMap;
use std::sync::Arc;

use herd_proto::NodeName;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Way, dial};
use crate::shared::Shared;

/// The diallers of a node's friends.
#[derive(Debug)]
pub struct Friends {
    shared: Arc<Shared>,
    way: Way,
    dialers: TaskTracker,
    /// Tells all links to send what is left and to finish.
    stop: CancellationToken,
    /// Tells them to end at once.
    abort: CancellationToken,
    /// What ends one friendship.
    each: HashMap<NodeName, CancellationToken>,
}

impl Friends {
    /// None yet. Their tasks will run in `dialers`.
    pub fn new(
        shared: Arc<Shared>,
        way: Way,
        dialers: TaskTracker,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self { shared, way, dialers, stop, abort, each: HashMap::new() }
    }

    /// Keeps a stream to `friend` from now on.
    pub fn befriend(&mut self, friend: &NodeName, address: &str) {
        let (waker, stop) = (self.shared.waker(), self.stop.child_token());
        self.shared.with(|state, now| {
            state.add_friend(now, friend.clone(), address.to_owned(), waker.token());
        });
        if let Some(before) = self.each.insert(friend.clone(), stop.clone()) {
            before.cancel();
        }
        let (shared, way) = (Arc::clone(&self.shared), self.way.clone());
        let dialler = dial(shared, friend.clone(), address.to_owned(), way, waker, stop);
        self.dialers.spawn(self.abort.clone().run_until_cancelled_owned(dialler));
    }

    /// Lets go of `friend`: what it lacks is sent, and Goodbye said. Its own stream may stay.
    pub fn part(&mut self, friend: &NodeName) {
        if let Some(stop) = self.each.remove(friend) {
            stop.cancel();
        }
        self.shared.with(|state, _| state.remove_friend(friend));
    }
}
