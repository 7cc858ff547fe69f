//! What operators count of places. No label holds a client, a position or a key. How a provider
//! stands is read at each scrape instead, by [`super::upstream`].

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds, in seconds: an answer from next door to one that is given up.
const DURATION_BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The metrics of a node's places. Clones share their values.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<ProviderLabels, Histogram, fn() -> Histogram>,
    retries: Family<ProviderLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    places: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    provider: &'static str,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

/// Where an answer to a search came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A call of its own, or the built-in table.
    Asked,
    /// The call of somebody who asked the same at the same time.
    Shared,
    /// An earlier answer.
    Cached,
    /// The fallback, as the provider gave no answer.
    Fallback,
    /// There was none.
    None,
}

impl Source {
    fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Shared => "shared",
            Self::Cached => "cached",
            Self::Fallback => "fallback",
            Self::None => "none",
        }
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(DURATION_BOUNDS);
        Self {
            answers: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(histogram),
            retries: Family::default(),
            reloads: Family::default(),
            places: Gauge::default(),
        }
    }

    /// Adds them to what is scraped.
    pub(super) fn register(&self, registry: &mut Registry) {
        let places = registry.sub_registry_with_prefix("herd_places");
        places.register(
            "searches",
            "Searches, by where their answer came from: asked, shared, cached, fallback or none",
            self.answers.clone(),
        );
        places.register(
            "requests",
            "Requests to a network provider, retries included, by outcome: the provider's status \
             in lower case, or the fault",
            self.requests.clone(),
        );
        places.register_with_unit(
            "request_duration",
            "How long requests to a network provider took, whatever came of them",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        places.register(
            "retries",
            "Requests to a network provider that repeat a failed one",
            self.retries.clone(),
        );
        places.register(
            "reloads",
            "Reloads of the embedded provider's data, by outcome: ok or failed",
            self.reloads.clone(),
        );
        places.register(
            "embedded_rows",
            "Places that the embedded provider, if it is used, knows",
            self.places.clone(),
        );
    }

    pub(super) fn searched(&self, provider: &'static str, source: Source) {
        let labels = AnswerLabels { provider, source: source.label() };
        self.answers.get_or_create(&labels).inc();
    }

    pub(super) fn requested(&self, provider: &'static str, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { provider, outcome }).inc();
        let duration = self.request_duration.get_or_create(&ProviderLabels { provider });
        duration.observe(took.as_secs_f64());
    }

    pub(super) fn retried(&self, provider: &'static str) {
        self.retries.get_or_create(&ProviderLabels { provider }).inc();
    }

    pub(super) fn reloaded(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    pub(super) fn rows_are(&self, rows: usize) {
        self.places.set(rows as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_scraped_under_their_documented_names() {
        let (metrics, mut registry) = (Metrics::new(), Registry::default());
        metrics.register(&mut registry);
        metrics.searched("wikipedia", Source::Shared);
        metrics.requested("wikipedia", "ok", Duration::from_millis(30));
        metrics.retried("wikipedia");
        metrics.reloaded(false);
        metrics.rows_are(1000);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "herd_places_searches_total{provider=\"wikipedia\",source=\"shared\"} 1",
            "herd_places_requests_total{provider=\"wikipedia\",outcome=\"ok\"} 1",
            "herd_places_request_duration_seconds_bucket{le=\"0.05\",provider=\"wikipedia\"} 1",
            "herd_places_retries_total{provider=\"wikipedia\"} 1",
            "herd_places_reloads_total{outcome=\"failed\"} 1",
            "herd_places_embedded_rows 1000",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }
}
