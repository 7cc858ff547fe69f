use std::sync::Arc;
use std::time::Duration;

use herd_proto::v1::places_server;
use herd_proto::{SearchQuery, invalid_argument, v1};
use tonic::{Request, Response, Status};

use super::unknown_client;
use crate::places::Places;
use crate::shared::Shared;

/// `herd.v1.Places`.
#[derive(Debug)]
pub struct PlacesService {
    shared: Arc<Shared>,
    places: Arc<Places>,
}

impl PlacesService {
    /// Looks around the clients of `shared` in `places`.
    pub fn new(shared: Arc<Shared>, places: Arc<Places>) -> Self {
        Self { shared, places }
    }
}

#[tonic::async_trait]
impl places_server::Places for PlacesService {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let deadline = deadline(&request);
        let query = SearchQuery::from_request(request.get_ref())
            .map_err(|violations| invalid_argument(&violations))?;
        let location = self
            .shared
            .with(|state, _| state.location(&query.client).cloned())
            .ok_or_else(|| unknown_client(&query.client))?;
        self.places.search(&location, &query, deadline).await.map(Response::new)
    }
}

/// What is left of the caller's time, as the `grpc-timeout` header tells it.
fn deadline<T>(request: &Request<T>) -> Option<Duration> {
    let header = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None; // the specification allows eight digits
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_read_in_any_unit_and_nonsense_is_none() {
        let read = |header: &'static str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", header.parse().unwrap());
            deadline(&request)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        for header in ["", "S", "5", "5x", "-5S", "123456789S"] {
            assert_eq!(read(header), None, "{header}");
        }
        assert_eq!(deadline(&Request::new(())), None);
    }
}
