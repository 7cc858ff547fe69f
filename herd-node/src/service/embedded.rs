use std::sync::Arc;
use std::time::Duration;

use herd_proto::{Report, v1};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ages::Ages;
use super::draining;
use super::intake::Intake;
use super::locations::get;
use super::places::search;
use super::report_stream::take;
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

    /// Takes reports, in order, as one message of `Locations.ReportStream`.
    ///
    /// # Errors
    /// UNAVAILABLE while the node drains.
    ///
    /// # Cancel safety
    /// Dropping the future loses the answer; the reports are taken when it is first polled.
    pub async fn report(&self, reports: &[Report]) -> Result<v1::ReportStreamResponse, Status> {
        if self.stop.is_cancelled() {
            return Err(draining());
        }
        let reports = reports.iter().map(|report| (Ok(report.clone()), 0)).collect();
        let (response, change, _) = take(&self.intake, reports, 0)?;
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

    /// Answers as `Places.Search`. `time_left` is what remains of the caller's time.
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
    ) -> Result<v1::SearchResponse, Status> {
        search(&self.intake.shared, &self.places, &self.ages, request, time_left).await
    }
}
