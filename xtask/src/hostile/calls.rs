//! gRPC callers that mean harm, one kind after the other: each must be refused in clear words,
//! and cost the node little.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use herd_proto::Record;
use herd_proto::v1::gossip_client::GossipClient;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{
    Batch, Frame, GetRequest, Hello, ReportRequest, ReportStreamRequest, frame::Kind,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Longest wait for any refusal.
const SOON: Duration = Duration::from_secs(30);

/// Calls that are given up.
const CANCELLED: usize = 2000;

/// Messages that a slow reader has answered.
const SMALL: usize = 100_000;

/// Bytes of the message that is too long.
const LONG: usize = 100_000_000;

/// Records in the batch that is too long.
const MANY: usize = 1_000_000;

/// What somebody does to a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attack {
    Cancel,
    SmallMessages,
    LongMessage,
    ZipBomb,
    LongBatch,
    ManyReports,
}

impl Attack {
    pub(super) const ALL: [Self; 6] = [
        Self::Cancel,
        Self::SmallMessages,
        Self::LongMessage,
        Self::ZipBomb,
        Self::LongBatch,
        Self::ManyReports,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cancel => "2,000 calls given up at once",
            Self::SmallMessages => "100,000 messages of 60 bytes to a slow reader",
            Self::LongMessage => "a message of 100 MB",
            Self::ZipBomb => "a message of 64 MiB in 64 KiB",
            Self::LongBatch => "a million records in a batch",
            Self::ManyReports => "a million reports in a message",
        }
    }

    /// Does it; fails unless the node does what it should.
    pub(super) async fn run(self, node: SocketAddr) -> anyhow::Result<()> {
        let channel = Endpoint::from_shared(format!("http://{node}"))?.connect().await?;
        match self {
            Self::Cancel => cancel(channel).await,
            Self::SmallMessages => small_messages(channel).await,
            Self::LongMessage => {
                let long = ReportRequest { client_id: "x".repeat(LONG).into(), ..report("") };
                refused(LocationsClient::new(channel).report(long).await, Code::OutOfRange)
            }
            Self::ZipBomb => zip_bomb(node).await,
            Self::LongBatch => long_batch(channel).await,
            Self::ManyReports => {
                let reports = vec![ReportRequest::default(); MANY];
                let messages =
                    tokio_stream::iter([ReportStreamRequest { reports, ..Default::default() }]);
                let answers = LocationsClient::new(channel).report_stream(messages).await;
                refused(answers?.into_inner().message().await, Code::OutOfRange)
            }
        }
    }
}

fn report(client: &str) -> ReportRequest {
    ReportRequest {
        client_id: client.into(),
        position_text: "+12-118".into(),
        time_text: "1700000000.5".into(),
        ..ReportRequest::default()
    }
}

fn refused<T>(answer: Result<T, Status>, code: Code) -> anyhow::Result<()> {
    match answer {
        Ok(_) => bail!("it was taken"),
        Err(status) => {
            ensure!(status.code() == code, "refused in other words: {status}");
            Ok(())
        }
    }
}

async fn cancel(channel: Channel) -> anyhow::Result<()> {
    let mut calls = JoinSet::new();
    for number in 0..CANCELLED {
        let mut client = LocationsClient::new(channel.clone());
        // Some before they are sent, some while they are answered.
        let patience = Duration::from_micros(number as u64 * 10);
        calls.spawn(async move {
            let call = client.get(GetRequest { client_id: "kiwi".into() });
            timeout(patience, call).await.is_err()
        });
    }
    let given_up = calls.join_all().await.into_iter().filter(|given_up| *given_up).count();
    ensure!(given_up > CANCELLED / 10, "only {given_up} were given up");
    Ok(())
}

async fn small_messages(channel: Channel) -> anyhow::Result<()> {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let messages = tokio_stream::iter((0..SMALL).map(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        ReportStreamRequest { reports: vec![report(&"k".repeat(28))], ..Default::default() }
    }));
    let answers = LocationsClient::new(channel).report_stream(messages).await;
    let mut answers = answers?.into_inner();
    // Until everything on the way is full, and the node has to hold the sender back.
    loop {
        let before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(500)).await;
        if before > 0 && before == sent.load(Ordering::Relaxed) {
            break;
        }
    }
    ensure!(sent.load(Ordering::Relaxed) < SMALL, "nothing held the sender back");
    let mut answered = 0;
    while let Some(answer) = answers.message().await? {
        ensure!(answer.failures.is_empty(), "a report was refused: {answer:?}");
        answered += 1;
    }
    ensure!(answered == SMALL, "only {answered} were answered");
    Ok(())
}

async fn long_batch(channel: Channel) -> anyhow::Result<()> {
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        cluster: "torture".into(),
        node: "hostile".into(),
        ..Hello::default()
    };
    let batch = Batch { number: 1, records: vec![Record::default(); MANY], ..Default::default() };
    let frames = [Kind::Hello(hello), Kind::Batch(batch)].map(|kind| Frame { kind: Some(kind) });
    let stream = GossipClient::new(channel).propagate(tokio_stream::iter(frames)).await;
    let mut inbound = stream?.into_inner();
    while let Some(frame) = timeout(SOON, inbound.message()).await.context("no end")?? {
        if let Some(Kind::Goodbye(goodbye)) = frame.kind {
            ensure!(goodbye.detail.contains("too large"), "in other words: {}", goodbye.detail);
            return Ok(());
        }
    }
    bail!("the stream ended without a word")
}

/// By hand, as no client of ours compresses.
async fn zip_bomb(node: SocketAddr) -> anyhow::Result<()> {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        bomb.write_all(&vec![0; 1 << 20])?;
    }
    let bomb = bomb.finish()?;
    let message = [&[1], &u32::try_from(bomb.len())?.to_be_bytes()[..], &bomb].concat();
    let (client, connection) = h2::client::handshake(TcpStream::connect(node).await?).await?;
    let mut connected = JoinSet::new();
    connected.spawn(async move { drop(connection.await) });
    let request = http::Request::post(format!("http://{node}/herd.v1.Locations/Report"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .header("te", "trailers");
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(request.body(())?, false)?;
    body.send_data(message.into(), true)?;
    let response = timeout(SOON, response).await.context("no answer")??;
    let code = response.headers().get("grpc-status").context("no status")?;
    let code = Code::from_bytes(code.as_bytes());
    ensure!(code == Code::Unimplemented, "refused with another code: {code:?}");
    Ok(())
}
