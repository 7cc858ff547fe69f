//! Forgetting, expiring and waiting for peers, on the state alone.

mod forgetting;
mod model;
mod near;
mod retention;
mod watching;
mod witnesses;

use std::time::Duration;

use herd_proto::{ClientId, LocationRecord, NodeName, Position, Report, Timestamp};

use super::{Identity, State};
use crate::herd::Now;

const MINUTE: Duration = Duration::from_mins(1);

/// How long the states of these tests keep reports; marks 25 hours longer.
const RETENTION: Duration = Duration::from_mins(10);

const MAX_FUTURE: Duration = Duration::ZERO;

/// Far enough from 1970 that nothing is cut off there.
const START: Duration = Duration::from_hours(1000);

fn at(since_start: Duration) -> Now {
    let wall = Timestamp::EPOCH.saturating_add(START + since_start);
    Now { wall, monotonic: since_start }
}

fn state(name: &str) -> State {
    let mut state = State::new(Identity {
        name: NodeName::parse(name).unwrap(),
        cluster: "test".into(),
        instance: 1,
        index_key: (1, 2),
        max_future: MAX_FUTURE,
    });
    state.set_retention(Some(RETENTION));
    state.expire(at(Duration::ZERO), 0);
    state
}

fn client(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn report(id: &str) -> Report {
    Report::new(client(id), Position::default(), None)
}

/// A record of another node, reported and received at these moments.
fn record(id: &str, time: Duration, received: Duration) -> LocationRecord {
    let origin = NodeName::parse("Bona").unwrap();
    LocationRecord::new(client(id), Position::default(), at(time).wall, at(received).wall, origin)
}

/// Expires all that is over, a few slots at a time.
fn expire_all(state: &mut State, now: Now) {
    while state.expire(now, 3).is_some_and(|next| next <= now.wall) {}
}
