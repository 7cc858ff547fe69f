//! Who is speaking: what a Hello says, and which Hellos are accepted.

use std::time::Duration;

use herd_proto::v1::{self, Reason};
use herd_proto::{MAX_MESSAGE_BYTES, NodeName, PROTOCOL_VERSION};

use super::{Now, wire_duration};
use crate::herd::state::{Holdings, State};

/// The feature bit of Compare, Leaves and Want.
const FEATURE_REPAIR: u64 = 1;

/// The nodes for which a peer's certificate speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeaksFor {
    /// These and no others.
    These(Vec<NodeName>),
    /// Any node of the herd.
    AnyNode,
}

impl SpeaksFor {
    /// Whether it speaks for `node`.
    pub fn covers(&self, node: &NodeName) -> bool {
        match self {
            Self::These(nodes) => nodes.contains(node),
            Self::AnyNode => true,
        }
    }

    /// Whether it speaks for no node at all.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::These(nodes) if nodes.is_empty())
    }
}

/// What a Hello says of all that its node holds.
pub(super) fn holdings(hello: &v1::Hello) -> Holdings {
    Holdings {
        digest: hello.digest,
        clients: hello.clients,
        repairs: hello.features & FEATURE_REPAIR != 0,
    }
}

/// This node's Hello.
pub(super) fn ours(state: &State, now: Now) -> v1::Hello {
    let (own, holdings) = (state.identity(), state.holdings());
    v1::Hello {
        protocol_min: PROTOCOL_VERSION,
        protocol_max: PROTOCOL_VERSION,
        features: FEATURE_REPAIR,
        cluster: own.cluster.clone(),
        node: own.name.to_string(),
        instance: own.instance,
        clock: Some(now.wall.into()),
        digest: holdings.digest,
        clients: holdings.clients,
        max_frame_bytes: MAX_MESSAGE_BYTES as u32,
        settings: Some(v1::SharedSettings {
            retention: state.retention().and_then(wire_duration),
            max_future: wire_duration(own.max_future),
        }),
    }
}

/// Which settings the speaker has otherwise than this node, in words; empty if none, or if it
/// does not tell.
pub(super) fn disagreement(state: &State, hello: &v1::Hello) -> String {
    let Some(theirs) = &hello.settings else { return String::new() };
    let settings = [
        ("retention", state.retention().and_then(wire_duration), theirs.retention),
        ("max_future", wire_duration(state.identity().max_future), theirs.max_future),
    ];
    let differing = settings.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    let said = differing.map(|(name, ours, theirs)| {
        format!("{name} is {} there and {} here", in_words(theirs), in_words(ours))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A duration of the wire as an operator configures it.
fn in_words(duration: Option<prost_types::Duration>) -> String {
    match duration.map(Duration::try_from) {
        None => "none".to_owned(),
        Some(Ok(duration)) => humantime::format_duration(duration).to_string(),
        Some(Err(_)) => "out of range".to_owned(),
    }
}

/// The name of the peer whose Hello this is, if a link with it may be.
pub(super) fn check(
    state: &State,
    expected: Option<&NodeName>,
    hello: &v1::Hello,
) -> Result<NodeName, (Reason, String)> {
    let own = state.identity();
    if hello.cluster != own.cluster {
        let detail = format!("this is herd {:?}, not {:?}", own.cluster, hello.cluster);
        return Err((Reason::WrongCluster, detail));
    }
    if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL_VERSION) {
        let (min, max) = (hello.protocol_min, hello.protocol_max);
        let detail = format!("this node speaks protocol {PROTOCOL_VERSION}, not {min} to {max}");
        return Err((Reason::WrongVersion, detail));
    }
    let name = NodeName::parse(&hello.node)
        .map_err(|error| (Reason::Protocol, format!("node name {error}")))?;
    if name == own.name {
        return Err((Reason::SameName, format!("this is {name} itself")));
    }
    match expected {
        Some(expected) if *expected != name => {
            Err((Reason::Protocol, format!("{name} answered where {expected} was dialled")))
        }
        _ => Ok(name),
    }
}
