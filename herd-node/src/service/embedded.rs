use std::sync::Arc;
use std::time::Duration;

use herd_proto::{Report, TraceContext, v1};
use herd_trace::{Kind, Span};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::ages::Ages;
use super::draining;
use super::intake::Intake;
use super::locations::get;
use super::places::search;
use super::report_stream::{Spans, take};
use crate::places::Places;

/// A node as it is called from its own process: the same answers as over gRPC, without a
/// connection, and without what guards one. Tokens are the caller's affair.
#[derive(Debug, Clone)]
pub struct EmbeddedService {
    intake: Intake,
    places: Arc<Places>,
    ages: Ages,
    stop: CancellationToken,
}

impl EmbeddedService {
    /// Serves the state behind `intake` until `stop` is cancelled.
    pub(crate) fn new(
        intake: Intake,
        places: Arc<Places>,
        ages: Ages,
        stop: CancellationToken,
    ) -> Self {
        Self { intake, places, ages, stop }
    }

    /// Takes reports, in order, as one message of `Locations.ReportStream`, whose first one belongs to
    /// `trace`.
    ///
    /// # Errors
    /// UNAVAILABLE while the node drains.
    ///
    /// # Cancel safety
    /// Dropping the future loses the answer; the reports are taken when it is first polled.
    pub async fn report(
        &self,
        reports: &[Report],
        trace: Option<TraceContext>,
    ) -> Result<v1::ReportStreamResponse, Status> {
        if self.stop.is_cancelled() {
            return Err(draining());
        }
        let count = reports.len();
        let mut spans = Spans::begin(trace.into_iter().map(|trace| (0, trace)));
        let reports = reports.iter().map(|report| (Ok(report.clone()), 0)).collect();
        let (response, change, _) = take(&self.intake, reports, 0, &spans)?;
        spans.tell(&response, count);
        self.intake.durability.wait(change).await;
        Ok(response)
    }

    /// Answers as `Locations.Get`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT; NOT_FOUND when this node knows no such client.
    pub fn get(&self, request: &v1::GetRequest) -> Result<v1::GetResponse, Status> {
        get(&self.intake.shared, &self.ages, request)
    }

    /// Answers as `Places.Search`. `time_left` is what remains of the caller's time, and `trace`
    /// what the question belongs to.
    ///
    /// # Errors
    /// As `Places.Search` documents them.
    ///
    /// # Cancel safety
    /// Dropping the future gives the question up.
    pub async fn search(
        &self,
        request: &v1::SearchRequest,
        time_left: Option<Duration>,
        trace: Option<TraceContext>,
    ) -> Result<v1::SearchResponse, Status> {
        let shared = &self.intake.shared;
        let mut span = trace.map_or_else(Span::none, |trace| {
            Span::call(Kind::Server, Some(trace), "herd.v1.Places", "Search")
        });
        if span.is_recorded() {
            span.set("herd.node", shared.with(|state, _| state.identity().name.to_string()));
        }
        let answer = search(shared, &self.places, &self.ages, request, time_left).await;
        let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        span.answered(Kind::Server, code as i32);
        answer
    }
}
