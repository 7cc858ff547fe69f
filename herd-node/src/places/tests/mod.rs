//! Places as the node uses them, against servers on this machine.

mod answers;
mod faults;
mod stand_in;

use std::net::SocketAddr;
use std::time::Duration;

use herd_proto::{ClientId, LocationRecord, NodeName, Report, SearchQuery, Timestamp};

use super::{Limits, Places, PlacesConfig, PlacesSettings};

/// As long as Google's, and nowhere else in these tests.
const KEY: &str = "AIza-not-a-real-key-0123456789abcdefghij";

/// Short enough for tests, long enough for a busy machine.
fn limits() -> Limits {
    Limits { total_timeout: Duration::from_secs(20), ..Limits::default() }
}

fn places_at(address: SocketAddr, limits: Limits) -> Places {
    let url = format!("http://{address}");
    let settings = PlacesSettings::from_variables(|name| match name {
        "HERD_PLACES_PROVIDER" => Some("google-legacy".into()),
        "HERD_PLACES_URL" => Some(url.clone()),
        "HERD_PLACES_KEY" => Some(KEY.into()),
        _ => None,
    });
    let config = PlacesConfig { limits, ..PlacesConfig::from_settings(&settings).unwrap() };
    Places::new(config).unwrap()
}

fn kiwi_at(position: &str) -> LocationRecord {
    Report::from_operands("kiwi", position, "1700000000.5").unwrap().into_record(
        NodeName::parse("Bailey").unwrap(),
        Timestamp::parse("1700000001").unwrap(),
        0,
    )
}

fn westwood() -> LocationRecord {
    kiwi_at("+34.068930-118.445127")
}

fn query(max_results: u32) -> SearchQuery {
    SearchQuery {
        client: ClientId::parse("kiwi").unwrap(),
        radius_meters: 10_000.0,
        max_results,
        places: true,
        legacy_json: true,
    }
}
