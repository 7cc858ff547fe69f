use herd_proto::{
    MAX_BATCH, MAX_MESSAGE_BYTES, NodeName, Report, Timestamp, Violation, Violations, v1,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Client, Error};

const RPC: &str = "Locations/ReportStream";

/// Most reports of one batch.
pub const MAX_BATCH_REPORTS: usize = MAX_BATCH;

/// Most bytes of one batch on the wire: half of the largest message, so that the answer fits
/// as well when every report of the batch is refused.
pub const MAX_BATCH_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// An open stream for many reports: one batch at a time, each answered before the next.
#[derive(Debug)]
pub struct ReportStream {
    client: Client,
    requests: mpsc::Sender<v1::ReportStreamRequest>,
    answers: Streaming<v1::ReportStreamResponse>,
}

/// The answer to one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The node's clock when it took the batch.
    pub receive_time: Timestamp,
    /// The node that took it.
    pub origin: NodeName,
    /// How many of the reports were the newest of their clients.
    pub applied: u32,
    /// The reports that were refused, by ascending index.
    pub refused: Vec<RefusedReport>,
}

/// A report that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedReport {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The rules it broke.
    pub violations: Violations,
}

impl ReportStream {
    pub(crate) async fn open(client: &Client) -> Result<Self, Error> {
        // One place is enough: a batch is sent only after the one before it was answered.
        let (requests, queue) = mpsc::channel(1);
        let call = client.clone();
        let mut locations = call.locations();
        let answers = client.call(RPC, locations.report_stream(ReceiverStream::new(queue))).await?;
        Ok(Self { client: client.clone(), requests, answers })
    }

    /// Sends `reports`, at most [`MAX_BATCH_REPORTS`] and [`MAX_BATCH_BYTES`], and waits for
    /// the answer. Not cancel-safe: after a dropped call answers no longer match batches, so
    /// drop the stream too.
    pub async fn send(&mut self, reports: Vec<Report>) -> Result<Taken, Error> {
        let reports = reports.into_iter().map(|report| self.client.request(report)).collect();
        let exchange = async {
            // A closed queue means that the call has ended; its answer says why.
            let _ =
                self.requests.send(v1::ReportStreamRequest { reports, ..Default::default() }).await;
            self.answers.message().await
        };
        let answer = tokio::time::timeout(self.client.deadline(), exchange)
            .await
            .map_err(|_| self.client.too_late(RPC))?
            .map_err(|status| self.client.refused(RPC, &status))?
            .ok_or_else(|| self.wrong("it ended the stream early"))?;
        self.taken(answer)
    }

    fn taken(&self, answer: v1::ReportStreamResponse) -> Result<Taken, Error> {
        let receive_time = Timestamp::try_from(&answer.receive_time.unwrap_or_default())
            .map_err(|error| self.wrong(format_args!("receive_time {error}")))?;
        let origin = NodeName::parse(&answer.origin)
            .map_err(|error| self.wrong(format_args!("origin {error}")))?;
        let refused = answer.failures.into_iter().map(|failure| RefusedReport {
            index: failure.index as usize,
            violations: failure
                .violations
                .into_iter()
                .map(|wire| Violation { field: wire.field, description: wire.description })
                .collect(),
        });
        Ok(Taken { receive_time, origin, applied: answer.applied, refused: refused.collect() })
    }

    fn wrong(&self, problem: impl std::fmt::Display) -> Error {
        Error::Answer { address: self.client.address().into(), problem: problem.to_string() }
    }
}
