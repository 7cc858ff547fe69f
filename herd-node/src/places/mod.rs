//! What is near a client: places, from a table of this node's or from somebody who knows more.
//!
//! Every provider answers in the form of Google's Nearby Search (legacy); where that is its own
//! form, its bytes are passed on as they are, cut to what the caller wants. Places belong to
//! whoever told them: they are neither stored nor gossiped.

mod api;
mod classic;
mod config;
mod embedded;
mod fault;
mod key;
mod key_source;
mod limits;
mod metrics;
mod page;
mod provider;
mod redact;
mod settings;
mod sphere;
mod upstream;
mod viewport;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use herd_proto::topology::Problems;
use herd_proto::{LocationRecord, Position, SearchQuery, v1};
use prometheus_client::registry::Registry;
use reqwest::{StatusCode, Url};
use tokio::time::Instant;

pub use self::config::{
    ApiKind, EmbeddedConfig, PlacesConfig, ProviderKind, RankBy, Tier, UpstreamConfig,
};
pub use self::limits::Limits;
pub use self::settings::{KEY_VARIABLE, PlacesSettings};

use self::api::google_legacy::GoogleLegacy;
use self::api::google_new::GoogleNew;
use self::api::wikipedia::Wikipedia;
use self::embedded::Embedded;
use self::fault::Fault;
use self::metrics::{Metrics, Source};
use self::page::Page;
use self::provider::{Provider, Question};
use self::upstream::{Api, Reply, Upstream};

/// Longest wait for callers that tell no deadline.
const MAX_SEARCH: Duration = Duration::from_secs(30);

/// What is kept of a caller's time for the way back, so that it hears what was wrong rather than
/// nothing.
const RETURN_TIME: Duration = Duration::from_millis(50);

/// What is passed on of a provider's answer in the form of Nearby Search (legacy), cut to `count`
/// results: its own text, except that runs of newlines are one and none is at the end. `None` for
/// what is no such answer.
pub fn cut_answer(body: Vec<u8>, count: usize) -> Option<String> {
    let center = Position::from_degrees(0.0, 0.0).ok()?;
    Page::read(body, center).ok().map(|page| page.text(count))
}

/// What is told of a network provider's reply, an HTTP status and a body, to the question what is
/// within 50 km of 0,0, cut to `count` results. `None` for what is no answer.
pub fn read_answer(api: ApiKind, status: u16, body: Vec<u8>, count: usize) -> Option<String> {
    let center = Position::from_degrees(0.0, 0.0).ok()?;
    let question = Question { center, center_text: "+0+0".into(), radius_meters: 50_000.0 };
    let api = api_at(api, Url::parse("http://localhost").ok()?);
    let status = StatusCode::from_u16(status).ok()?;
    let reply = Reply { status, retry_after: None, body };
    api.read(&question, reply, None).ok().map(|page| page.text(count))
}

fn api_at(api: ApiKind, base: Url) -> Arc<dyn Api> {
    match api {
        ApiKind::GoogleLegacy => Arc::new(GoogleLegacy::new(base)),
        ApiKind::GoogleNew(tier) => Arc::new(GoogleNew::new(base, tier)),
        ApiKind::Wikipedia => Arc::new(Wikipedia::new(base)),
    }
}

/// The node's source of places.
#[derive(Debug)]
pub struct Places {
    provider: Box<dyn Provider>,
    /// The table, where it is the provider or the fallback.
    table: Option<Arc<Embedded>>,
    has_fallback: bool,
    metrics: Metrics,
    /// Why the last question was not answered; empty when it was.
    trouble: Mutex<String>,
}

impl Places {
    /// Makes the provider ready. No upstream is asked yet, and the built-in table opens no socket
    /// and needs no certificates.
    ///
    /// A daily quota is counted in `directory`, if there is one, so that a restart does not start
    /// it anew. Nobody else may use the directory meanwhile.
    ///
    /// # Errors
    /// All problems with the operator's file, or with the system's certificates.
    pub async fn open(config: PlacesConfig, directory: Option<&Path>) -> Result<Self, Problems> {
        let metrics = Metrics::new();
        let open = async |config| Embedded::open(config, metrics.clone()).await.map(Arc::new);
        let has_fallback = config.fallback.is_some();
        let (provider, table): (Box<dyn Provider>, _) = match config.provider {
            ProviderKind::Embedded(config) => {
                let table = open(config).await?;
                (Box::new(Arc::clone(&table)), Some(table))
            }
            ProviderKind::Network(api, upstream) => {
                let api = api_at(api, upstream.base.clone());
                let provider = Box::new(Upstream::new(api, upstream, directory, metrics.clone())?);
                let table = match config.fallback {
                    Some(config) => Some(open(config).await?),
                    None => None,
                };
                (provider, table)
            }
        };
        Ok(Self { provider, table, has_fallback, metrics, trouble: Mutex::default() })
    }

    /// Looks for places around a client.
    ///
    /// `time_left` is what remains of the caller's time; without it, and where it is longer,
    /// [`Limits`] decide.
    ///
    /// # Errors
    /// UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED or FAILED_PRECONDITION, as
    /// `Places.Search` documents them. An answer of the provider that says no, such as
    /// REQUEST_DENIED, is an answer.
    ///
    /// # Cancel safety
    /// Dropping the future gives the question up and harms nobody who asks the same.
    pub async fn search(
        &self,
        location: &LocationRecord,
        query: &SearchQuery,
        time_left: Option<Duration>,
    ) -> Result<v1::SearchResponse, tonic::Status> {
        let question = Question::around(location, query.radius_meters);
        let deadline = deadline(time_left);
        let outcome = self.provider.nearby(&question, deadline).await;
        self.note(&outcome);
        let (provider, page) = match (why_not(&outcome), &self.table) {
            (Some(reason), Some(table)) if self.has_fallback => {
                let page = self.fall_back(table, &question, &reason).await?;
                (embedded::NAME, Arc::new(page))
            }
            _ => (self.provider.name(), outcome?),
        };
        let count = query.max_results as usize;
        let notes = page.notes();
        Ok(v1::SearchResponse {
            location: Some(location.into()),
            places: if query.places { page.places(count) } else { Vec::new() },
            legacy_json: if query.legacy_json { page.text(count) } else { String::new() },
            status: page.status().into(),
            provider: provider.into(),
            attributions: notes.attributions.clone(),
            info_messages: notes.info_messages.clone(),
        })
    }

    /// Whether there is a file of the operator's to read again.
    pub fn has_file(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.has_file())
    }

    /// Reads the operator's file of places again, if there is one. What was read before answers
    /// until then, and stays if the file is bad.
    pub async fn reload(&self) {
        if let Some(table) = &self.table {
            table.reload().await;
        }
    }

    /// How the provider does, by the last question it was asked.
    pub fn status(&self) -> v1::PlacesStatus {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        v1::PlacesStatus {
            provider: self.provider.name().into(),
            healthy: trouble.is_empty(),
            last_error: trouble,
        }
    }

    /// Adds the metrics of places to what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        self.provider.register(registry);
    }

    /// Gives up all questions that are under way, and waits until they have ended.
    pub async fn stop(&self) {
        self.provider.stop().await;
    }

    /// The table's answer, which says that it is not the provider's.
    async fn fall_back(
        &self,
        table: &Embedded,
        question: &Question,
        reason: &str,
    ) -> Result<Page, Fault> {
        let name = self.provider.name();
        self.metrics.searched(name, Source::Fallback);
        let told = format!("Served from the embedded data set instead of {name}: {reason}.");
        // What is kept for the way back is enough: the caller may have no more.
        table.page(question, vec![told], Instant::now() + RETURN_TIME).await
    }

    /// Remembers the outcome; a change is logged once, not with every question.
    fn note(&self, outcome: &Result<Arc<Page>, Fault>) {
        let now = match (why_not(outcome), outcome) {
            (None, _) => String::new(),
            (Some(_), Err(fault)) if !fault.blames_the_provider() => return,
            (Some(reason), _) => reason,
        };
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble == now {
            return;
        }
        let provider = self.provider.name();
        if now.is_empty() {
            tracing::info!(provider, "places are answered again");
        } else {
            tracing::warn!(provider, error = %now, "places are not answered");
        }
        *trouble = now;
    }
}

/// The moment by which a caller must be answered.
fn deadline(time_left: Option<Duration>) -> Instant {
    let time = time_left.map_or(MAX_SEARCH, |time| time.saturating_sub(RETURN_TIME));
    Instant::now() + time.min(MAX_SEARCH)
}

/// Why an outcome is no answer, if it is none.
fn why_not(outcome: &Result<Arc<Page>, Fault>) -> Option<String> {
    match outcome {
        Err(fault) => Some(fault.to_string()),
        Ok(page) if is_refusal(page.status()) => {
            Some(format!("places provider answered {}", page.status()))
        }
        Ok(_) => None,
    }
}

/// Whether Google's word tells that the question was turned down whatever it was.
fn is_refusal(status: &str) -> bool {
    matches!(status, "REQUEST_DENIED" | "OVER_QUERY_LIMIT" | "OVER_DAILY_LIMIT" | "UNKNOWN_ERROR")
}
