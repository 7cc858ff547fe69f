//! The live page on the admin port: a map of the clients and a picture of the herd.
//!
//! It is part of the program, needs nothing from elsewhere and changes nothing. What it shows comes
//! from the same state and the same calls as everybody else's answers: [`events`] is one viewer's
//! stream, [`survey`] asks the other nodes while somebody looks, [`frame`] is the JSON.

mod events;
mod files;
mod frame;
mod guard;
mod survey;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use herd_proto::{ClientId, NearQuery, v1};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::guard::refusal;
pub(crate) use self::survey::Survey;
use crate::front::Access;
use crate::service::{NodeFacts, near};
use crate::shared::Shared;

/// Most viewers at a time; others are told to come later. Each holds one of the admin port's
/// connections, and half of those are left to probes and scrapers.
const MAX_VIEWERS: usize = 32;

/// What the page needs.
pub(crate) struct Page {
    pub(crate) shared: Arc<Shared>,
    pub(crate) facts: NodeFacts,
    pub(crate) survey: Arc<Survey>,
    pub(crate) access: Access,
    /// Where map tiles come from, if from anywhere.
    pub(crate) tiles_url: Option<String>,
    /// Ends all streams.
    pub(crate) stop: CancellationToken,
    pub(crate) viewers: AtomicUsize,
}

/// The routes of the page.
pub(crate) fn routes(page: Page) -> Router {
    let policy = content_policy(page.tiles_url.as_deref());
    Router::new()
        .route("/", get(async || files::serve("index.html")))
        .route("/page/{file}", get(files::named))
        .route("/api/v1/events", get(stream))
        .route("/api/v1/client", get(client))
        .route("/api/v1/near", get(near_client))
        .with_state(Arc::new(page))
        .layer(map_response(move |response| {
            let policy = policy.clone();
            async move { with_headers(response, policy) }
        }))
}

/// What the browser may load: this page's own files, and pictures from where the tiles are.
fn content_policy(tiles_url: Option<&str>) -> HeaderValue {
    let origin = tiles_url
        .and_then(|url| url.replace(['{', '}'], "").parse::<http::Uri>().ok())
        .and_then(|url| {
            let (scheme, authority) = (url.scheme_str()?, url.authority()?);
            Some(format!(" {scheme}://{authority}"))
        });
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'{}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        origin.unwrap_or_default()
    );
    HeaderValue::try_from(policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
}

fn with_headers(mut response: Response, policy: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[derive(Deserialize)]
struct StreamQuery {
    /// South, west, north and east, in degrees; everywhere without it.
    area: Option<String>,
}

async fn stream(
    State(page): State<Arc<Page>>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Response {
    if let Err(status) = page.access.reads(&headers) {
        return refusal(&status);
    }
    let area = match query.area.as_deref().map(frame::area).transpose() {
        Ok(area) => area,
        Err(violations) => {
            return (StatusCode::BAD_REQUEST, violations.to_string()).into_response();
        }
    };
    let Some(place) = Place::take(&page) else {
        let rule =
            format!("{MAX_VIEWERS} viewers look on already: close one, or ask another node\n");
        return (StatusCode::SERVICE_UNAVAILABLE, rule).into_response();
    };
    events::answer(page, place, area)
}

#[derive(Deserialize)]
struct ClientQuery {
    id: String,
}

/// Where a client is, and when each node learnt it.
async fn client(
    State(page): State<Arc<Page>>,
    Query(query): Query<ClientQuery>,
    headers: HeaderMap,
) -> Response {
    if let Err(status) = page.access.reads(&headers) {
        return refusal(&status);
    }
    let client = match ClientId::parse(&query.id) {
        Ok(client) => client,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let own = page.shared.with(|state, _| {
        let location = state.location(&client)?;
        let learnt = state.learnt(&client);
        Some(v1::GetResponse {
            location: Some(location.into()),
            applied_time: learnt.map(|(at, _)| at.into()),
            applied_from: learnt.and_then(|(_, from)| from).unwrap_or_default().into(),
        })
    });
    let name = page.shared.with(|state, _| state.identity().name.to_string());
    let others = page.survey.trace(&client).await;
    frame::json(&frame::trace(client.as_str(), &name, own, others))
}

#[derive(Deserialize)]
struct NearClient {
    id: String,
    radius: f64,
    max: Option<u32>,
}

/// Who is near a client.
async fn near_client(
    State(page): State<Arc<Page>>,
    Query(query): Query<NearClient>,
    headers: HeaderMap,
) -> Response {
    if let Err(status) = page.access.reads(&headers) {
        return refusal(&status);
    }
    let request = v1::NearRequest {
        client_id: query.id,
        radius_meters: Some(query.radius),
        max_results: query.max,
        ..v1::NearRequest::default()
    };
    match NearQuery::from_request(&request) {
        Err(violations) => (StatusCode::BAD_REQUEST, violations.to_string()).into_response(),
        Ok(query) => match near::answer(&page.shared, query).await {
            Ok(found) => frame::json(&frame::near(found)),
            Err(client) => {
                (StatusCode::NOT_FOUND, format!("no location is known of {client}")).into_response()
            }
        },
    }
}

/// One of the places for viewers.
struct Place(Arc<Page>);

impl Place {
    fn take(page: &Arc<Page>) -> Option<Self> {
        let below_max = |open| (open < MAX_VIEWERS).then_some(open + 1);
        page.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below_max).ok()?;
        page.survey.look(true);
        Some(Self(Arc::clone(page)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.viewers.fetch_sub(1, Ordering::Relaxed);
        self.0.survey.look(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_may_come_from_where_the_tiles_are_and_nothing_else_may() {
        let policy = |url| content_policy(url).to_str().unwrap().to_owned();
        assert!(policy(None).contains("img-src 'self';"));
        let tiles = policy(Some("https://tiles.example:8443/a/{z}/{x}/{y}.png"));
        assert!(tiles.contains("img-src 'self' https://tiles.example:8443;"), "{tiles}");
        for text in [policy(None), tiles] {
            assert!(text.starts_with("default-src 'none'; script-src 'self';"), "{text}");
            assert!(!text.contains("unsafe"));
        }
    }
}
