//! What a batch of records has to do with traces: each traced record's way over one link.

use herd_proto::v1::{Frame, ItemTrace, frame::Kind};
use herd_proto::{ClientId, NodeName, Timestamp};
use herd_trace::{Kind as SpanKind, Span};
use tracing::debug;

use crate::herd::Now;
use crate::herd::state::State;

/// The traced records of a batch on their way into the state.
#[derive(Debug, Default)]
pub(super) struct Hops(Vec<Hop>);

#[derive(Debug)]
struct Hop {
    client: ClientId,
    span: Span,
    /// When the node that took the report did.
    taken: Option<Timestamp>,
    /// Whether the record was known already, with this trace, before the batch was applied.
    known: bool,
    /// Whether it has become the newest of its client.
    applied: bool,
}

impl Hop {
    fn is_newest(&self, state: &State) -> bool {
        self.span.context().is_some() && state.trace(&self.client) == self.span.context()
    }
}

impl Hops {
    /// Begins a part of each trace that a frame tells of, and lets the frame tell of these in place of
    /// the sender's: so the next node's part comes below this one's.
    pub(super) fn begin(frame: &mut Frame) -> Self {
        let Some(Kind::Batch(batch)) = &mut frame.kind else { return Self::default() };
        if batch.traces.is_empty() {
            return Self::default();
        }
        let mut hops = Vec::new();
        let traces: Vec<_> = ItemTrace::read(&batch.traces, batch.records.len()).collect();
        batch.traces.clear();
        for (index, trace) in traces {
            let record = &batch.records[index];
            let Ok(client) = ClientId::parse(&record.client_id) else { continue };
            let span = Span::call(SpanKind::Consumer, Some(trace), "herd.v1.Gossip", "Propagate");
            batch.traces.extend(span.context().map(|context| ItemTrace::new(index, context)));
            let taken = Timestamp::from_unix_nanos(record.receive_time_unix_nanos);
            hops.push(Hop { client, span, taken, known: false, applied: false });
        }
        Self(hops)
    }

    /// Lets `apply` put the batch into the state, and looks which of the records have become the newest
    /// of their clients.
    pub(super) fn watch(&mut self, state: &mut State, apply: impl FnOnce(&mut State)) {
        for hop in &mut self.0 {
            hop.known = hop.is_newest(state);
        }
        apply(state);
        for hop in &mut self.0 {
            hop.applied = !hop.known && hop.is_newest(state);
        }
    }

    /// Tells of the records that `peer` has sent to `node`, and ends their parts.
    pub(super) fn end(self, node: &NodeName, peer: Option<&NodeName>, now: impl Fn() -> Now) {
        for Hop { mut span, taken, applied, .. } in self.0 {
            if let Some(trace) = span.context() {
                let (trace_id, peer) = (trace.shown_trace_id(), peer.map(tracing::field::display));
                debug!(%node, peer, %trace_id, applied, "traced record came");
            }
            if span.is_recorded() {
                span.set("herd.node", node.to_string());
                span.set("herd.peer", peer.map(ToString::to_string).unwrap_or_default());
                span.set("herd.applied", applied);
                let since = taken.map(|taken| now().wall.since(taken).nanos());
                span.set("herd.seconds_since_report", since.unwrap_or(0) as f64 / 1e9);
            }
        }
    }
}
