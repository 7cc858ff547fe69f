use std::sync::Arc;

use herd_proto::v1::locations_server::Locations;
use herd_proto::{ClientId, NearQuery, Report, Violations, invalid_argument, v1};
use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::peers::Wanted;
use super::report_stream::{Answers, answers};
use super::watch::{Changes, Watchers};
use super::{draining, near, not_for, unknown_client};
use crate::durability::Durability;
use crate::front::Caller;
use crate::shared::Shared;

/// `herd.v1.Locations`.
#[derive(Debug)]
pub struct LocationsService {
    shared: Arc<Shared>,
    watchers: Arc<Watchers>,
    durability: Durability,
    stop: CancellationToken,
}

impl LocationsService {
    /// Serves `shared` until `stop` is cancelled.
    pub fn new(
        shared: Arc<Shared>,
        watchers: Arc<Watchers>,
        durability: Durability,
        stop: CancellationToken,
    ) -> Self {
        Self { shared, watchers, durability, stop }
    }
}

fn may_report_for(extensions: &Extensions, client: &ClientId) -> bool {
    extensions.get::<Caller>().is_none_or(|caller| caller.may_report_for(client))
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
        let refused = |violations: Violations| {
            self.shared.with(|state, _| state.count_refused());
            invalid_argument(&violations)
        };
        let report = Report::from_request(request.get_ref()).map_err(refused)?;
        if !may_report_for(request.extensions(), &report.client) {
            self.shared.with(|state, _| state.count_refused());
            return Err(Status::permission_denied(not_for(&report.client)));
        }
        let min_peers = request.get_ref().min_peers;
        let mut wanted = Wanted::new(&self.shared, min_peers);
        let (record, applied, change, begun) = self.shared.with(|state, now| {
            let taken = wanted.report(state, now, report, min_peers);
            let (record, applied) = taken.map_err(|violations| invalid_argument(&violations))?;
            let begun = wanted.begin(state)?;
            Ok::<_, Status>((record, applied, state.changes(), begun))
        })?;
        let wait = wanted.wait(&self.shared, begun);
        self.durability.wait(change).await;
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
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let requests = request.into_inner();
        let (shared, durability) = (Arc::clone(&self.shared), self.durability.clone());
        Ok(Response::new(answers(shared, durability, caller, requests, self.stop.clone())))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let client = ClientId::parse(&request.get_ref().client_id)
            .map_err(|error| invalid_argument(&Violations::one("client_id", error)))?;
        let location = self.shared.with(|state, _| state.location(&client).map(Into::into));
        let location = location.ok_or_else(|| unknown_client(&client))?;
        Ok(Response::new(v1::GetResponse { location: Some(location) }))
    }

    async fn near(
        &self,
        request: Request<v1::NearRequest>,
    ) -> Result<Response<v1::NearResponse>, Status> {
        let query = NearQuery::from_request(request.get_ref())
            .map_err(|violations| invalid_argument(&violations))?;
        let answer = near::answer(&self.shared, query).await;
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
        let mut wanted = Wanted::new(&self.shared, min_peers);
        wanted.add(&client, min_peers);
        let (forgotten, change, begun) = self.shared.with(|state, now| {
            state.check_min_peers(min_peers).map_err(|rule| invalid_argument(&rule))?;
            let forgotten = state.forget(now, client);
            let forgotten =
                forgotten.map_err(|error| Status::failed_precondition(error.to_string()))?;
            Ok::<_, Status>((forgotten, state.changes(), wanted.begin(state)?))
        })?;
        let wait = wanted.wait(&self.shared, begun);
        self.durability.wait(change).await;
        if let Some(wait) = wait {
            wait.applied().await?;
        }
        let location = forgotten.location.as_ref().map(Into::into);
        Ok(Response::new(v1::ForgetResponse { known: location.is_some(), location }))
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Changes>, Status> {
        let changes = self.watchers.watch(&self.shared, request.get_ref(), self.stop.clone())?;
        Ok(Response::new(changes))
    }
}
