//! A network provider, asked with care: for its patience, the operator's bill, and the person who
//! waits. [`Upstream`] is the way of a question, step by step.

mod api;
mod attempt;
mod breaker;
mod fetcher;
mod gauges;
mod http;
mod ledger;
mod quota;
mod rate;
mod retry;
mod single_flight;
mod verdict;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use herd_proto::topology::Problems;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout_at};

pub(super) use self::api::Api;
pub(super) use self::http::{Reply, is_loopback};

use self::fetcher::Fetcher;
use self::gauges::Gauges;
use self::single_flight::{Seat, SingleFlight};
use super::config::UpstreamConfig;
use super::fault::Fault;
use super::metrics::{Metrics, Source};
use super::page::Page;
use super::provider::{Provider, Question};

/// Fetches under way for each that may be in flight; the others wait for a turn.
const WAITING_PER_FLIGHT: usize = 16;

/// Bytes of answers that are kept, where the operator allows any.
const CACHE_BYTES: u64 = 16 << 20;

/// What callers are told when there is no room: by then some will have been answered.
const BUSY_DELAY: Duration = Duration::from_secs(1);

/// One network provider. A question passes, in this order:
///
/// 1. the cache, if there is one ([`Self::nearby`]);
/// 2. single flight: whoever asks the same meanwhile waits for the same answer;
/// 3. the circuit breaker ([`Fetcher::fetch`]);
/// 4. a place among those in flight, and
/// 5. retries, which are tower's layers ([`Asking`](fetcher::Asking)), each with
/// 6. a turn of the rate limit and a call of the day's quota ([`Attempts`](attempt::Attempts)), and
/// 7. the exchange itself, within what is left of the time.
///
/// A caller waits until its own deadline. The fetch has a task and a time of its own, so nobody's
/// hurry harms another.
#[derive(Debug)]
pub(super) struct Upstream {
    cache: Option<moka::sync::Cache<String, Arc<Page>>>,
    flights: SingleFlight<Result<Arc<Page>, Fault>>,
    fetcher: Arc<Fetcher>,
    metrics: Metrics,
}

impl Upstream {
    /// Builds the client; asks nothing yet. In `directory`, if there is one, the day's requests
    /// are counted across restarts.
    pub(super) fn new(
        api: Arc<dyn Api>,
        config: UpstreamConfig,
        directory: Option<&Path>,
        metrics: Metrics,
    ) -> Result<Self, Problems> {
        let name = api.name();
        if config.key.has_key() && config.base.scheme() == "http" && !is_loopback(&config.base) {
            tracing::warn!(provider = name, "the key of the places provider travels unencrypted");
        }
        let limits = &config.limits;
        let cache = (!limits.cache_ttl.is_zero()).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(|identity: &String, page: &Arc<Page>| {
                    (identity.len() + page.weight()).try_into().unwrap_or(u32::MAX)
                })
                .time_to_live(limits.cache_ttl)
                .build()
        });
        let flights = SingleFlight::new(limits.max_in_flight * WAITING_PER_FLIGHT);
        let fetcher = Arc::new(Fetcher::new(api, config, directory, metrics.clone())?);
        Ok(Self { cache, flights, fetcher, metrics })
    }

    async fn answer(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> (Source, Result<Arc<Page>, Fault>) {
        let identity = question.identity();
        if let Some(page) = self.cache.as_ref().and_then(|cache| cache.get(&identity)) {
            return (Source::Cached, Ok(page));
        }
        let fetch = || {
            let (fetcher, cache) = (Arc::clone(&self.fetcher), self.cache.clone());
            let (question, identity) = (question.clone(), identity.clone());
            async move {
                let page = fetcher.fetch(question).await.map(Arc::new)?;
                if let Some(cache) = cache.filter(|_| is_an_answer(&page)) {
                    cache.insert(identity, Arc::clone(&page));
                }
                Ok(page)
            }
        };
        let Some(Seat { outcome, shared }) = self.flights.join(&identity, fetch) else {
            return (Source::None, Err(Fault::Busy { retry_after: BUSY_DELAY }));
        };
        match timeout_at(deadline, outcome).await {
            Err(_) => (Source::None, Err(Fault::Deadline)),
            Ok(None) => (Source::None, Err(Fault::GivenUp)),
            Ok(Some(Err(fault))) => (Source::None, Err(fault)),
            Ok(Some(Ok(page))) => (if shared { Source::Shared } else { Source::Asked }, Ok(page)),
        }
    }
}

impl Provider for Upstream {
    fn name(&self) -> &'static str {
        self.fetcher.name()
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Page>, Fault>> {
        async move {
            let (source, outcome) = self.answer(question, deadline).await;
            self.metrics.searched(self.name(), source);
            outcome
        }
        .boxed()
    }

    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Gauges(Arc::clone(&self.fetcher))));
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async move {
            self.flights.stop().await;
            self.fetcher.settle().await;
        }
        .boxed()
    }
}

/// Whether it may serve others later: refusals are about now.
fn is_an_answer(page: &Page) -> bool {
    matches!(page.status(), "OK" | "ZERO_RESULTS")
}
