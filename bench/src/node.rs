use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use herd_edge::{Bearer, Dialler};
use herd_proto::v1::node_client::NodeClient;
use herd_proto::{EncodedReports, MAX_MESSAGE_BYTES, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

/// Longest wait for a connection and for an answer before a node is given up.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// How one node is reached.
#[derive(Debug, Clone)]
pub struct Node {
    /// Host and port.
    pub address: String,
    /// With TLS or without.
    pub dialler: Dialler,
    /// The token that calls carry.
    pub bearer: Bearer,
}

/// An open connection.
pub(crate) type Calls = InterceptedService<Channel, Bearer>;

/// One open `ReportStream`.
#[derive(Debug)]
pub(crate) struct ReportStream {
    pub(crate) requests: mpsc::Sender<EncodedReports>,
    answers: Streaming<v1::ReportStreamResponse>,
}

impl Node {
    /// A node that speaks plain text and wants no token.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address: address.to_string(),
            dialler: Dialler::new(None),
            bearer: Bearer::default(),
        }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Calls> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?
            .connect_timeout(LIMIT)
            .tcp_nodelay(true);
        let channel = self.dialler.connect(&endpoint).await;
        let channel = channel.with_context(|| format!("no connection to {}", self.address))?;
        Ok(InterceptedService::new(channel, self.bearer.clone()))
    }

    pub(crate) async fn open_stream(&self, in_flight: usize) -> anyhow::Result<ReportStream> {
        let mut grpc =
            Grpc::new(self.connect().await?).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, queue) = mpsc::channel(in_flight);
        grpc.ready().await?;
        let path = PathAndQuery::from_static(EncodedReports::METHOD);
        let requests_in = Request::new(ReceiverStream::new(queue));
        let stream = grpc.streaming(requests_in, path, ProstCodec::default());
        let answers = timeout(LIMIT, stream).await.context("the node is silent")??.into_inner();
        Ok(ReportStream { requests, answers })
    }

    pub(crate) async fn status(&self) -> anyhow::Result<v1::GetStatusResponse> {
        let mut client = NodeClient::new(self.connect().await?);
        Ok(client.get_status(v1::GetStatusRequest {}).await?.into_inner())
    }
}

impl ReportStream {
    /// The answer to the oldest message without one.
    pub(crate) async fn next(&mut self) -> anyhow::Result<v1::ReportStreamResponse> {
        let answer =
            timeout(LIMIT, self.answers.message()).await.context("no answer in time")??;
        answer.context("the node ended the stream")
    }
}
