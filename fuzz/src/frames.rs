use std::time::Duration;

use herd_node::herd::Now;
use herd_node::herd::link::Link;
use herd_node::herd::state::{Identity, State};
use herd_proto::v1::{Frame, Hello, frame::Kind};
use herd_proto::{MAX_MESSAGE_BYTES, NodeName, Timestamp};
use prost::Message as _;

/// When every run begins, seconds since 1970.
const WALL: u64 = 1_700_000_000;

/// Most frames that a link may want to send in answer to one: it has a window.
const MAX_ANSWERS: usize = 64;

/// Peers: whatever frames come in, in whatever order, the link lives on or ends with a reason, and
/// what it sends is bounded.
///
/// Of the first byte the lowest bit says whether a sound Hello goes before. Then come frames, each
/// behind its length in two bytes, and after each some time passes, as its length says.
///
/// # Panics
/// Where that does not hold.
pub fn frames(input: &[u8]) {
    let Some((options, mut rest)) = input.split_first() else { return };
    let Ok(name) = NodeName::parse("Bailey") else { return };
    let mut state = State::new(Identity {
        name,
        cluster: "herd".into(),
        instance: 1,
        index_key: (1, 2),
        max_future: Duration::from_mins(1),
    });
    let mut monotonic = Duration::ZERO;
    let token = state.new_token();
    let mut link = Link::accepted(token, now(monotonic));
    if options & 1 == 1 {
        let hello = Hello {
            protocol_min: 1,
            protocol_max: 1,
            features: u64::MAX,
            cluster: "herd".into(),
            node: "Bona".into(),
            instance: 7,
            clients: 1000,
            digest: 42,
            ..Hello::default()
        };
        link.receive(&mut state, now(monotonic), Frame { kind: Some(Kind::Hello(hello)) });
        answers(&mut link, &mut state, monotonic);
        assert!(!link.has_ended());
    }
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*head)).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        if let Ok(frame) = Frame::decode(bytes) {
            link.receive(&mut state, now(monotonic), frame);
        }
        answers(&mut link, &mut state, monotonic);
        monotonic += Duration::from_millis(u64::from(head[1]) * 10);
        link.tick(&mut state, now(monotonic));
        answers(&mut link, &mut state, monotonic);
    }
    let clients = state.table().len();
    assert!(clients <= input.len() / 4, "{clients} clients from {} bytes", input.len());
    let ended = link.close(&mut state, now(monotonic), "the input ended");
    assert!(!ended.detail.is_empty());
    assert_eq!(state.peers().iter().count(), 0, "a guest stays behind");
}

fn answers(link: &mut Link, state: &mut State, monotonic: Duration) {
    let mut sent = 0;
    while let Some(frame) = link.poll_transmit(state, now(monotonic)) {
        assert!(frame.encoded_len() <= MAX_MESSAGE_BYTES);
        sent += 1;
        assert!(sent <= MAX_ANSWERS, "it never stops");
    }
    state.take_woken();
}

fn now(monotonic: Duration) -> Now {
    let wall = Timestamp::EPOCH.saturating_add(Duration::from_secs(WALL) + monotonic);
    Now { wall, monotonic }
}
