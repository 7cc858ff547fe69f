//! `Locations.Near`: a search over the state, a part at a time.

use herd_proto::{ClientId, NearCenter, NearQuery, Timestamp, v1};
use prost::Message as _;
use tokio::task::yield_now;

use crate::herd::near::{Found, Query, Search};
use crate::shared::Shared;

/// Clients that are looked at before reports get their turn: less than a millisecond.
const PART: usize = 8192;

/// Largest answer: it leaves room for one more client in a message that every caller takes.
const MAX_BYTES: usize = 768 << 10;

/// Answers a question; the error is the client in the middle, if it is not known.
///
/// # Cancel safety
/// Dropping the future ends the search.
pub(crate) async fn answer(
    shared: &Shared,
    query: NearQuery,
) -> Result<v1::NearResponse, ClientId> {
    let (center, except) = match query.center {
        NearCenter::Point(point) => (point, None),
        NearCenter::Client(client) => {
            let known = shared.with(|state, _| state.location(&client).map(|known| known.position));
            (known.ok_or_else(|| client.clone())?, Some(client))
        }
    };
    let now = shared.now().wall;
    let since = query.max_age.map_or(Timestamp::EPOCH, |age| now.saturating_sub(age));
    let limit = query.max_results as usize;
    let radius_meters = query.radius_meters;
    let mut search = Search::new(Query { center, radius_meters, limit, since, except });
    while !shared.with(|state, _| search.advance(state, PART)) {
        yield_now().await;
    }
    let (found, more) = search.finish();
    let (neighbors, cut) = fitting(found);
    Ok(v1::NearResponse { neighbors, truncated: more || cut, center: Some(center.into()) })
}

/// As many as fit into one answer, and whether there are more.
fn fitting(found: Vec<Found>) -> (Vec<v1::Neighbor>, bool) {
    let (mut bytes, all) = (0, found.len());
    let neighbor = |found: Found| {
        let Found { distance_meters, record } = found;
        v1::Neighbor { location: Some((&record).into()), distance_meters }
    };
    let fits = |neighbor: &v1::Neighbor| {
        bytes += neighbor.encoded_len();
        bytes <= MAX_BYTES
    };
    let neighbors: Vec<_> = found.into_iter().map(neighbor).take_while(fits).collect();
    let cut = neighbors.len() < all;
    (neighbors, cut)
}
