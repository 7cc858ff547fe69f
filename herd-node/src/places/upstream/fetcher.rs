//! The way of a question that nobody else is asking: past the breaker, through tower's layers.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use herd_proto::topology::Problems;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tower::limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer};
use tower::retry::{Retry, RetryLayer};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

use super::api::Api;
use super::attempt::{Ask, Attempts, Told};
use super::breaker::{Breaker, Leave, Standing};
use super::retry::RetryPolicy;
use super::verdict::Verdict;
use crate::places::config::UpstreamConfig;
use crate::places::fault::{Fault, Trouble};
use crate::places::key::Key;
use crate::places::key_source::KeySource;
use crate::places::metrics::Metrics;
use crate::places::page::Page;
use crate::places::provider::Question;

/// What callers are told when there is no room: by then some will have been answered.
pub(super) const BUSY_DELAY: Duration = Duration::from_secs(1);

/// Requests to the provider, repeated where that helps, so many at a time.
pub(super) type Asking = ConcurrencyLimit<Retry<RetryPolicy, Attempts>>;

/// Puts one question to the provider.
#[derive(Debug)]
pub(super) struct Fetcher {
    name: &'static str,
    key: KeySource,
    breaker: Mutex<Breaker>,
    asking: Asking,
    attempts: Attempts,
    places: Arc<Semaphore>,
    max_in_flight: usize,
    /// For one question, from the breaker to the last byte.
    timeout: Duration,
    /// For a place among those in flight.
    max_wait: Duration,
}

impl Fetcher {
    pub(super) fn new(
        api: Arc<dyn Api>,
        config: UpstreamConfig,
        directory: Option<&Path>,
        metrics: Metrics,
    ) -> Result<Self, Problems> {
        let (name, limits) = (api.name(), &config.limits);
        let attempts = Attempts::new(api, &config, directory, metrics.clone())?;
        let places = Arc::new(Semaphore::new(limits.max_in_flight));
        let asking = ServiceBuilder::new()
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&places)))
            .layer(RetryLayer::new(RetryPolicy::new(name, metrics)))
            .service(attempts.clone());
        Ok(Self {
            name,
            breaker: Mutex::new(Breaker::new(Instant::now())),
            asking,
            attempts,
            places,
            max_in_flight: limits.max_in_flight,
            timeout: limits.timeout,
            max_wait: limits.max_wait,
            key: config.key,
        })
    }

    /// The provider's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Asks, within the time and the limits of one question.
    pub(super) async fn fetch(&self, question: Question) -> Result<Page, Fault> {
        let now = Instant::now();
        // What waits here longer than the provider has left to answer is no fault of the provider's.
        let (deadline, latest) = (now + self.timeout, now + self.max_wait.min(self.timeout / 2));
        let (pass, key) = self.pass()?;
        let mut asking = self.asking.clone();
        let told = match timeout_at(latest, asking.ready()).await {
            Ok(Ok(ready)) => {
                let Ok(told) =
                    ready.call(Ask { question: Arc::new(question), key, deadline, latest }).await;
                told
            }
            Err(_) => Told::unjudged(Fault::Busy { retry_after: BUSY_DELAY }),
        };
        pass.conclude(told.verdict);
        told.outcome
    }

    /// How the breaker stands at this moment, for which the key counts too.
    pub(super) fn standing(&self) -> Standing {
        self.breaker_and_key().0.standing(Instant::now())
    }

    /// Requests that are under way or wait for their repetition.
    pub(super) fn in_flight(&self) -> usize {
        self.max_in_flight - self.places.available_permits()
    }

    /// Requests that the operator still allows today; `None` without a bound.
    pub(super) fn quota_left(&self) -> Option<u64> {
        self.attempts.quota_left()
    }

    /// Waits until what is being written down is written.
    pub(super) async fn settle(&self) {
        self.attempts.settle().await;
    }

    /// Lets the question pass the breaker, with the key to use, or tells for how long it may not.
    fn pass(&self) -> Result<(Pass<'_>, Option<Key>), Fault> {
        let (mut breaker, key) = self.breaker_and_key();
        match breaker.admit(Instant::now()) {
            Ok(leave) => Ok((Pass { fetcher: self, leave, verdict: Verdict::Unjudged }, key)),
            Err(resting) => Err(Fault::Resting { why: resting.why, retry_after: resting.left }),
        }
    }

    /// Under one lock, so that nobody passes a breaker that was closed for another key.
    fn breaker_and_key(&self) -> (MutexGuard<'_, Breaker>, Option<Key>) {
        let mut breaker = self.breaker();
        let current = self.key.current();
        if current.is_new {
            breaker.start_over(Instant::now());
        }
        (breaker, current.key)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the breaker, and the log where that opens it.
    fn record(&self, leave: Leave, verdict: Verdict) {
        let (before, after) = {
            let (now, mut breaker) = (Instant::now(), self.breaker());
            let before = breaker.standing(now);
            breaker.record(now, leave, verdict);
            (before, breaker.standing(now))
        };
        let provider = self.name;
        match (before, after, verdict.trouble()) {
            (Standing::Open, ..) => {}
            (_, Standing::Open, Some(Trouble::Refused)) => {
                tracing::error!(provider, "places provider refuses the credentials: check the key");
            }
            (_, Standing::Open, Some(why)) => {
                tracing::warn!(provider, %why, "places provider is left alone for a while");
            }
            _ => {}
        }
    }
}

/// A question's leave to ask. It concludes also when the question is dropped on the way.
struct Pass<'a> {
    fetcher: &'a Fetcher,
    leave: Leave,
    verdict: Verdict,
}

impl Pass<'_> {
    fn conclude(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.fetcher.record(self.leave, self.verdict);
    }
}
