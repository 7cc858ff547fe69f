use std::sync::Arc;

use herd_proto::v1::locations_server::Locations;
use herd_proto::{ClientId, NearQuery, Report, TraceContext, Violations, invalid_argument, v1};
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::ages::Ages;
use super::intake::Intake;
use super::peers::Wanted;
use super::report_stream::{Answers, answers, paced};
use super::watch::{Changes, Watchers};
use super::{draining, near, unknown_client};
use crate::front::{Caller, ConnectionPace, Remote, denied};
use crate::shared::Shared;

/// `herd.v1.Locations`.
#[derive(Debug)]
pub struct LocationsService {
    intake: Intake,
    watchers: Arc<Watchers>,
    ages: Ages,
    stop: CancellationToken,
}

impl LocationsService {
    /// Serves the state behind `intake` until `stop` is cancelled.
    pub(crate) fn new(
        intake: Intake,
        watchers: Arc<Watchers>,
        ages: Ages,
        stop: CancellationToken,
    ) -> Self {
        Self { intake, watchers, ages, stop }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.intake.shared
    }
}

fn caller(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_default()
}

fn pace(extensions: &Extensions) -> ConnectionPace {
    extensions.get::<Remote>().map(|remote| remote.pace.clone()).unwrap_or_default()
}

#[tonic::async_trait]
impl Locations for LocationsService {
    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        if self.stop.is_cancelled() {
            // Links may have said Goodbye: nobody would hear of it.
            return Err(draining());
        }
        if !pace(request.extensions()).admits_one() {
            return Err(self.intake.too_fast());
        }
        let refused = |violations: Violations| {
            self.shared().with(|state, _| state.count_refused());
            invalid_argument(&violations)
        };
        let report = Report::from_request(request.get_ref()).map_err(refused)?;
        let report =
            self.intake.allowed(&caller(request.extensions()), report).map_err(|error| {
                self.shared().with(|state, _| state.count_refused());
                denied("CLIENT_NOT_ALLOWED", &error.to_string())
            })?;
        let min_peers = request.get_ref().min_peers;
        let trace = request.extensions().get::<TraceContext>();
        let mut wanted = Wanted::new(self.shared(), min_peers);
        let (record, applied, change, begun) = self.shared().with(|state, now| {
            let taken = wanted.report(state, now, report, min_peers);
            let (record, applied) = taken.map_err(|error| self.intake.not_taken(&error))?;
            if let Some(trace) = trace.filter(|_| applied) {
                state.note_trace(now, &record.client, trace);
            }
            let begun = wanted.begin(state)?;
            Ok::<_, Status>((record, applied, state.changes(), begun))
        })?;
        let wait = wanted.wait(self.shared(), begun);
        self.intake.durability.wait(change).await;
        if let Some(wait) = wait {
            wait.applied().await?;
        }
        Ok(Response::new(v1::ReportResponse { location: Some((&record).into()), applied }))
    }

    type ReportStreamStream = Answers;

    async fn report_stream(
        &self,
        request: Request<Streaming<v1::ReportStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (caller, pace) = (caller(request.extensions()), pace(request.extensions()));
        let requests = paced(request.into_inner(), pace, Arc::clone(&self.intake.refusals));
        Ok(Response::new(answers(self.intake.clone(), caller, requests, self.stop.clone())))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        get(self.shared(), &self.ages, request.get_ref()).map(Response::new)
    }

    async fn near(
        &self,
        request: Request<v1::NearRequest>,
    ) -> Result<Response<v1::NearResponse>, Status> {
        let query = NearQuery::from_request(request.get_ref())
            .map_err(|violations| invalid_argument(&violations))?;
        let answer = near::answer(self.shared(), query).await;
        answer.map(Response::new).map_err(|client| unknown_client(&client))
    }

    async fn forget(
        &self,
        request: Request<v1::ForgetRequest>,
    ) -> Result<Response<v1::ForgetResponse>, Status> {
        if self.stop.is_cancelled() {
            return Err(draining());
        }
        let client = ClientId::parse(&request.get_ref().client_id)
            .map_err(|error| invalid_argument(&Violations::one("client_id", error)))?;
        let min_peers = request.get_ref().min_peers;
        let mut wanted = Wanted::new(self.shared(), min_peers);
        wanted.add(&client, min_peers);
        let (forgotten, change, begun) = self.shared().with(|state, now| {
            state.check_min_peers(min_peers).map_err(|rule| invalid_argument(&rule))?;
            let forgotten = state.forget(now, client);
            let forgotten =
                forgotten.map_err(|error| Status::failed_precondition(error.to_string()))?;
            Ok::<_, Status>((forgotten, state.changes(), wanted.begin(state)?))
        })?;
        let wait = wanted.wait(self.shared(), begun);
        self.intake.durability.wait(change).await;
        if let Some(wait) = wait {
            wait.applied().await?;
        }
        let location = forgotten.location.as_ref().map(Into::into);
        Ok(Response::new(v1::ForgetResponse { known: location.is_some(), location }))
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Changes>, Status> {
        let changes = self.watchers.watch(self.shared(), request.get_ref(), self.stop.clone())?;
        Ok(Response::new(changes))
    }
}

/// Tells where a client of `shared` is.
pub(super) fn get(
    shared: &Shared,
    ages: &Ages,
    request: &v1::GetRequest,
) -> Result<v1::GetResponse, Status> {
    let client = ClientId::parse(&request.client_id)
        .map_err(|error| invalid_argument(&Violations::one("client_id", error)))?;
    let answer = shared.with(|state, now| {
        let location = state.location(&client)?;
        ages.note(location, now.wall);
        let learnt = state.learnt(&client);
        Some(v1::GetResponse {
            location: Some(location.into()),
            applied_time: learnt.map(|(at, _)| at.into()),
            applied_from: learnt.and_then(|(_, from)| from).unwrap_or_default().into(),
        })
    });
    answer.ok_or_else(|| unknown_client(&client))
}
