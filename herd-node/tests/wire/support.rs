//! Real nodes, and peers that are played by hand.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herd_node::{Config, Node, Settings};
use herd_proto::topology::Topology;
use herd_proto::v1::frame::Kind;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{Ack, Frame, GetRequest, Heartbeat, ReportRequest};
use herd_proto::{NodeName, Record};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a node on a free port, with these friends.
pub(crate) async fn start(name: &str, friends: &[(&str, SocketAddr)]) -> Node {
    let file = format!("cluster = 'test'\n[[nodes]]\nname = '{name}'\naddress = '127.0.0.1:0'");
    let topology = Topology::parse(&file).unwrap();
    let own = NodeName::parse(name).unwrap();
    let mut config = Config::new(&topology, &own, Settings::default()).unwrap();
    config.friends = friends
        .iter()
        .map(|(name, address)| (NodeName::parse(name).unwrap(), address.to_string()))
        .collect();
    Node::start(config).await.unwrap()
}

async fn channel(node: &Node) -> Channel {
    let url = format!("http://{}", node.address());
    Endpoint::from_shared(url).unwrap().connect().await.unwrap()
}

/// A client reports to a node.
pub(crate) async fn report(node: &Node, client: &str, time: u32) {
    let request = ReportRequest {
        client_id: client.into(),
        position_text: "+12-118".into(),
        time_text: time.to_string().into(),
        ..ReportRequest::default()
    };
    LocationsClient::new(channel(node).await).report(request).await.unwrap();
}

/// The time of a client's newest report, as a node tells it.
pub(crate) async fn told(node: &Node, client: &str) -> Option<i64> {
    let request = GetRequest { client_id: client.into() };
    let answer = LocationsClient::new(channel(node).await).get(request).await.ok()?;
    Some(answer.into_inner().location?.time?.seconds)
}

/// Asks again and again until the answer is right; says what it saw last when it never is.
pub(crate) async fn eventually<T: Debug>(
    mut ask: impl AsyncFnMut() -> T,
    right: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = ask().await;
        if right(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "never came right, seen last: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A stream to a node, spoken by hand in frames of the type `F`.
pub(crate) struct Hand<F> {
    frames: mpsc::Sender<F>,
    answers: Streaming<Frame>,
}

impl<F: Message + Default + 'static> Hand<F> {
    /// Opens a stream and says the first frame.
    pub(crate) async fn open(node: &Node, hello: F) -> Self {
        let (frames, outbound) = mpsc::channel(16);
        frames.send(hello).await.unwrap();
        let mut grpc = Grpc::new(channel(node).await);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/herd.v1.Gossip/Propagate");
        let codec: ProstCodec<F, Frame> = ProstCodec::default();
        let request = Request::new(ReceiverStream::new(outbound));
        let answers = grpc.streaming(request, path, codec).await.unwrap().into_inner();
        Self { frames, answers }
    }

    pub(crate) async fn say(&self, frame: F) {
        self.frames.send(frame).await.unwrap();
    }

    /// The next frame of the node.
    pub(crate) async fn hear(&mut self) -> Kind {
        let frame = timeout(PATIENCE, self.answers.message()).await.expect("the node is silent");
        frame.unwrap().expect("the stream is open").kind.expect("a node sends what it knows")
    }
}

impl Hand<Frame> {
    /// Takes records and acknowledges them, until so many are there. Frames of other kinds are
    /// handed to `other`, so that a test can forbid some.
    pub(crate) async fn take_records(
        &mut self,
        count: usize,
        mut other: impl FnMut(&Kind),
    ) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records came", records.len());
            match self.hear().await {
                Kind::Batch(batch) => {
                    records.extend(batch.records);
                    self.say(frame(Kind::Ack(Ack { number: batch.number, ..Default::default() })))
                        .await;
                }
                kind => other(&kind),
            }
            self.say(frame(Kind::Heartbeat(Heartbeat::default()))).await;
        }
        records
    }
}

pub(crate) fn frame(kind: Kind) -> Frame {
    Frame { kind: Some(kind) }
}
