//! Places as the node uses them, against servers on this machine.

mod answers;
mod fallback;
mod faults;
mod kindness;
mod providers;
mod secrets;
mod stand_in;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use herd_proto::{ClientId, LocationRecord, NodeName, Report, SearchQuery, Timestamp};

use super::{ApiKind, KEY_VARIABLE, Limits, Places, PlacesConfig, PlacesSettings, ProviderKind};

/// As long as Google's, and nowhere else in these tests.
const KEY: &str = "AIza-not-a-real-key-0123456789abcdefghij";

/// Long enough for a busy machine.
fn limits() -> Limits {
    Limits { timeout: Duration::from_secs(20), ..Limits::of(ApiKind::GoogleLegacy) }
}

/// What an operator would type to ask `provider` at `address`.
fn settings_for(provider: &str, address: SocketAddr) -> PlacesSettings {
    let settings = PlacesSettings {
        provider: Some(provider.into()),
        url: Some(format!("http://{address}")),
        contact: Some("ops@example.org".into()),
        ..PlacesSettings::default()
    };
    settings.with_key_from(|name| (name == KEY_VARIABLE).then(|| KEY.into()))
}

async fn open(settings: &PlacesSettings, limits: Limits) -> Places {
    open_in(None, settings, limits).await
}

async fn open_in(directory: Option<&Path>, settings: &PlacesSettings, limits: Limits) -> Places {
    let mut config = PlacesConfig::from_settings(settings).unwrap();
    if let ProviderKind::Network(_, upstream) = &mut config.provider {
        upstream.limits = limits;
    }
    Places::open(config, directory).await.unwrap()
}

async fn places_at(address: SocketAddr, limits: Limits) -> Places {
    open(&settings_for("google-legacy", address), limits).await
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

async fn fail(places: &Places) -> tonic::Status {
    places.search(&westwood(), &query(5), None).await.unwrap_err()
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What is scraped of a node's places.
fn scraped(places: &Places) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    places.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// All that is logged on this thread, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
