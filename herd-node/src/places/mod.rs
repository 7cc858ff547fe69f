//! What is near a client: places, from a table that is built in or from somebody who knows
//! more.
//!
//! Every provider answers in the form of Google's Nearby Search (legacy); its bytes are passed
//! on as they are, cut to what the caller wants. Places belong to whoever told them: they are
//! neither stored nor gossiped.

mod classic;
mod dataset;
mod embedded;
mod fault;
mod google_legacy;
mod http;
mod key;
mod page;
mod provider;
mod settings;
mod sphere;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use herd_proto::topology::Problems;
use herd_proto::{LocationRecord, Position, SearchQuery, v1};

pub use self::key::{Key, KeyError};
pub use self::settings::{
    KEY_VARIABLE, Limits, PlacesConfig, PlacesSettings, ProviderKind, Upstream,
};

use self::embedded::Embedded;
use self::fault::Fault;
use self::google_legacy::GoogleLegacy;
use self::page::Page;
use self::provider::{Provider, Question};

/// What is passed on of a provider's answer in the form of Nearby Search (legacy), cut to `count`
/// results: its own text, except that runs of newlines are one and none is at the end. `None` for
/// what is no such answer.
pub fn cut_answer(body: Vec<u8>, count: usize) -> Option<String> {
    let center = Position::from_degrees(0.0, 0.0).ok()?;
    Page::read(body, center).ok().map(|page| page.text(count))
}

/// The node's source of places.
#[derive(Debug)]
pub struct Places {
    provider: Box<dyn Provider>,
    /// Why the last question was not answered; empty when it was.
    trouble: Mutex<String>,
}

impl Places {
    /// Makes the provider ready. Nothing is asked yet, and the built-in one opens no socket and
    /// needs no certificates.
    pub fn new(config: PlacesConfig) -> Result<Self, Problems> {
        let provider: Box<dyn Provider> = match config.provider {
            ProviderKind::Embedded => Box::new(Embedded::new()?),
            ProviderKind::GoogleLegacy(upstream) => {
                Box::new(GoogleLegacy::new(upstream, &config.limits)?)
            }
        };
        Ok(Self { provider, trouble: Mutex::default() })
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
    /// Dropping the future gives the question up; nothing is left behind.
    pub async fn search(
        &self,
        location: &LocationRecord,
        query: &SearchQuery,
        time_left: Option<Duration>,
    ) -> Result<v1::SearchResponse, tonic::Status> {
        let question = Question::around(location, query.radius_meters);
        let outcome = self.provider.nearby(&question, time_left).await;
        self.note(&outcome);
        let page = outcome?;
        let count = query.max_results as usize;
        Ok(v1::SearchResponse {
            location: Some(location.into()),
            places: if query.places { page.places(count).to_vec() } else { Vec::new() },
            legacy_json: if query.legacy_json { page.text(count) } else { String::new() },
            status: page.status().into(),
            provider: self.provider.name().into(),
        })
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

    /// Remembers the outcome; a change is logged once, not with every question.
    fn note(&self, outcome: &Result<Page, Fault>) {
        let now = match outcome {
            Ok(page) if is_refusal(page.status()) => {
                format!("places provider answered {}", page.status())
            }
            Ok(_) => String::new(),
            Err(fault) if fault.blames_the_provider() => fault.to_string(),
            Err(_) => return,
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

/// Whether Google's word tells that the question was turned down whatever it was.
fn is_refusal(status: &str) -> bool {
    matches!(status, "REQUEST_DENIED" | "OVER_QUERY_LIMIT" | "OVER_DAILY_LIMIT" | "UNKNOWN_ERROR")
}
