use std::sync::Arc;
use std::time::Duration;

use herd_proto::v1::places_server;
use herd_proto::{SearchQuery, invalid_argument, v1};
use tonic::{Request, Response, Status};

use super::{Ages, unknown_client};
use crate::front::time_left;
use crate::places::Places;
use crate::shared::Shared;

/// `herd.v1.Places`.
#[derive(Debug)]
pub struct PlacesService {
    shared: Arc<Shared>,
    places: Arc<Places>,
    ages: Ages,
}

impl PlacesService {
    /// Looks around the clients of `shared` in `places`.
    pub(crate) fn new(shared: Arc<Shared>, places: Arc<Places>, ages: Ages) -> Self {
        Self { shared, places, ages }
    }
}

#[tonic::async_trait]
impl places_server::Places for PlacesService {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let deadline = time_left(request.metadata().as_ref());
        let (shared, ages) = (&self.shared, &self.ages);
        search(shared, &self.places, ages, request.get_ref(), deadline).await.map(Response::new)
    }
}

/// Looks around a client of `shared` in `places`.
pub(super) async fn search(
    shared: &Shared,
    places: &Places,
    ages: &Ages,
    request: &v1::SearchRequest,
    time_left: Option<Duration>,
) -> Result<v1::SearchResponse, Status> {
    let query =
        SearchQuery::from_request(request).map_err(|violations| invalid_argument(&violations))?;
    let location = shared
        .with(|state, now| {
            let location = state.location(&query.client)?;
            ages.note(location, now.wall);
            Some(location.clone())
        })
        .ok_or_else(|| unknown_client(&query.client))?;
    places.search(&location, &query, time_left).await
}
