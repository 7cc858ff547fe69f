//! A caller's trace goes with its report, from node to node.

use herd_node::Node;
use herd_proto::v1::{Batch, Frame, ItemTrace, ReportStreamRequest, frame::Kind};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::support::{eventually, gossip, hello, locations, report, start, status};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced<T>(message: T, parent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "rojo=1".parse().unwrap());
    request
}

/// A peer of the test's own, which hears what a node tells.
struct Listener {
    _hello: Sender<Frame>,
    frames: Streaming<Frame>,
}

impl Listener {
    async fn at(node: &Node) -> Self {
        let (hello_sent, outbound) = mpsc::channel(1);
        hello_sent.send(Frame { kind: Some(Kind::Hello(hello("listener"))) }).await.unwrap();
        let stream = gossip(node).await.propagate(ReceiverStream::new(outbound)).await.unwrap();
        let frames = stream.into_inner();
        let is_up = |name: &str| name == "listener";
        eventually(
            async || status(node).await.peers,
            |peers| peers.iter().any(|peer| is_up(&peer.name) && peer.state == 2),
        )
        .await;
        Self { _hello: hello_sent, frames }
    }

    /// The trace that comes with the record of a client.
    async fn trace_of(&mut self, client: &str) -> Option<(String, String)> {
        loop {
            let frame = self.frames.message().await.unwrap().expect("the stream goes on");
            let Some(Kind::Batch(Batch { records, traces, .. })) = frame.kind else { continue };
            let Some(at) = records.iter().position(|record| record.client_id == client) else {
                continue;
            };
            let trace = traces.into_iter().find(|trace| trace.index as usize == at);
            return trace.map(|trace| (trace.traceparent, trace.tracestate));
        }
    }
}

/// Bailey, its friend Bona, and who listens at Bona.
async fn chain() -> (Node, Node, Listener) {
    let bailey = start("Bailey", &[]).await;
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    eventually(async || status(&bona).await.peers, |peers| peers[0].state == 2).await;
    let listener = Listener::at(&bona).await;
    (bailey, bona, listener)
}

#[tokio::test]
async fn the_trace_of_a_report_reaches_friends_of_friends() {
    let (bailey, _bona, mut listener) = chain().await;
    let mut client = locations(&bailey).await;
    client.report(traced(report("kiwi"), PARENT)).await.unwrap();
    let expected = (PARENT.to_owned(), "rojo=1".to_owned());
    assert_eq!(listener.trace_of("kiwi").await, Some(expected));
    // What comes later for the same client is no part of it.
    let mut later = report("kiwi");
    later.time_text = "1700000001".into();
    client.report(later).await.unwrap();
    assert_eq!(listener.trace_of("kiwi").await, None);
}

#[tokio::test]
async fn a_trace_that_is_not_kept_or_is_none_stays_here() {
    let (bailey, _bona, mut listener) = chain().await;
    let mut client = locations(&bailey).await;
    let unsampled = PARENT.replace("-01", "-00");
    for (name, parent) in [("emu", &*unsampled), ("moa", "rubbish")] {
        client.report(traced(report(name), parent)).await.unwrap();
        assert_eq!(listener.trace_of(name).await, None, "{name}");
    }
}

#[tokio::test]
async fn reports_of_a_stream_have_traces_of_their_own() {
    let (bailey, _bona, mut listener) = chain().await;
    let trace = |index: u32| ItemTrace {
        index,
        traceparent: PARENT.replace("00f067aa", &format!("00f0670{index}")),
        tracestate: String::new(),
    };
    // The second names no report, and the third is an older report of a client.
    let mut older = report("kiwi");
    older.time_text = "1600000000".into();
    let message = ReportStreamRequest {
        reports: vec![report("kiwi"), older, report("emu")],
        traces: vec![trace(0), trace(1), trace(9)],
    };
    let messages = tokio_stream::iter([message]);
    let mut answers = locations(&bailey).await.report_stream(messages).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().applied, 2);
    let told = listener.trace_of("kiwi").await.map(|(parent, _)| parent);
    assert_eq!(told, Some(trace(0).traceparent));
}
