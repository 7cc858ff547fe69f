//! A network provider, asked with care: for its patience, the operator's bill, and the person who
//! waits. [`Upstream`] is the way of a question, step by step.

mod api;
mod breaker;
mod http;
mod quota;
mod rate;
mod retry;
mod single_flight;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use herd_proto::topology::Problems;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub(super) use self::api::Api;
pub(super) use self::http::{Reply, is_loopback};

use self::breaker::{Breaker, Standing};
use self::http::Transport;
use self::quota::Quota;
use self::rate::RateLimit;
use self::retry::RetryPolicy;
use self::single_flight::{Seat, SingleFlight};
use self::verdict::Verdict;
use super::config::UpstreamConfig;
use super::fault::{Fault, Trouble};
use super::key::Key;
use super::key_source::KeySource;
use super::metrics::{Metrics, Source};
use super::page::Page;
use super::provider::{Provider, Question};

/// Fetches under way for each that may be in flight; the others wait for a turn.
const WAITING_PER_FLIGHT: usize = 16;

/// A larger answer is read on a thread of its own: it may be nonsense by the megabyte, and the
/// node's reports must not wait for that. Twenty results take some 50 KiB.
const MAX_READ_INLINE: usize = 128 << 10;

/// Bytes of answers that are kept, where the operator allows any.
const CACHE_BYTES: u64 = 16 << 20;

/// What callers are told when there is no room: by then some will have been answered.
const BUSY_DELAY: Duration = Duration::from_secs(1);

/// One network provider. A question passes, in this order:
///
/// 1. the cache, if there is one ([`Self::nearby`]);
/// 2. single flight: whoever asks the same meanwhile waits for the same answer;
/// 3. the circuit breaker ([`Fetcher::fetch`]);
/// 4. a place among those in flight;
/// 5. retries, each ([`Fetcher::attempt`]) with
/// 6. a call of the day's quota and a turn of the rate limit, and
/// 7. the exchange itself, within what is left of the time.
///
/// A caller waits until its own deadline. The fetch has a task and a time of its own, so nobody's
/// hurry harms another.
#[derive(Debug)]
pub(super) struct Upstream {
    cache: Option<moka::sync::Cache<String, Arc<Page>>>,
    flights: SingleFlight<Result<Arc<Page>, Fault>>,
    fetcher: Arc<Fetcher>,
}

impl Upstream {
    /// Builds the client; asks nothing yet.
    pub(super) fn new(
        api: Arc<dyn Api>,
        config: UpstreamConfig,
        metrics: Metrics,
    ) -> Result<Self, Problems> {
        let name = api.name();
        if config.key.has_key() && config.base.scheme() == "http" && !is_loopback(&config.base) {
            tracing::warn!(provider = name, "the key of the places provider travels unencrypted");
        }
        let limits = &config.limits;
        let transport =
            Transport::new(&config.base, &config.user_agent, limits).map_err(|error| {
                let hint = "install ca-certificates or set SSL_CERT_FILE";
                Problems::one(format_args!("places provider {name}: {error} ({hint})"))
            })?;
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
        let fetcher = Fetcher {
            api,
            key: config.key,
            breaker: Mutex::new(Breaker::new(Instant::now())),
            in_flight: Semaphore::new(limits.max_in_flight),
            retries: RetryPolicy::new(),
            quota: limits.daily_quota.map(Quota::new),
            rate: RateLimit::new(limits.rate),
            transport,
            timeout: limits.timeout,
            max_wait: limits.max_wait,
            metrics,
        };
        fetcher.show_breaker();
        if let Some(quota) = limits.daily_quota {
            fetcher.metrics.quota_is(name, quota);
        }
        Ok(Self { cache, flights, fetcher: Arc::new(fetcher) })
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
                let page = fetcher.fetch(&question).await.map(Arc::new)?;
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
        self.fetcher.api.name()
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Page>, Fault>> {
        async move {
            let (source, outcome) = self.answer(question, deadline).await;
            self.fetcher.metrics.searched(self.name(), source);
            outcome
        }
        .boxed()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.flights.stop().boxed()
    }
}

/// Whether it may serve others later: refusals are about now.
fn is_an_answer(page: &Page) -> bool {
    matches!(page.status(), "OK" | "ZERO_RESULTS")
}

/// Puts one question to the provider.
#[derive(Debug)]
struct Fetcher {
    api: Arc<dyn Api>,
    key: KeySource,
    breaker: Mutex<Breaker>,
    in_flight: Semaphore,
    retries: RetryPolicy,
    quota: Option<Quota>,
    rate: RateLimit,
    transport: Transport,
    /// For one question, from the breaker to the last byte.
    timeout: Duration,
    /// For a place and for a turn, each.
    max_wait: Duration,
    metrics: Metrics,
}

impl Fetcher {
    async fn fetch(&self, question: &Question) -> Result<Page, Fault> {
        let deadline = Instant::now() + self.timeout;
        let key = self.key.current();
        if key.is_new {
            self.breaker().reset(Instant::now());
        }
        let pass = self.pass()?;
        let (outcome, verdict) = match self.place(deadline).await {
            Ok(_place) => self.persist(question, key.key.as_ref(), deadline).await,
            Err(fault) => (Err(fault), Verdict::Unjudged),
        };
        pass.conclude(verdict);
        outcome
    }

    /// Lets the question pass the breaker, or tells for how long it may not.
    fn pass(&self) -> Result<Pass<'_>, Fault> {
        let admitted = self.breaker().admit(Instant::now());
        self.show_breaker();
        match admitted {
            Ok(()) => Ok(Pass { fetcher: self, verdict: Verdict::Unjudged }),
            Err(resting) => Err(Fault::Resting { why: resting.why, retry_after: resting.left }),
        }
    }

    /// Waits for a place among those in flight.
    async fn place(&self, deadline: Instant) -> Result<impl Drop + '_, Fault> {
        let latest = deadline.min(Instant::now() + self.max_wait);
        match timeout_at(latest, self.in_flight.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Fault::Busy { retry_after: BUSY_DELAY }),
        }
    }

    /// Asks, and asks again where that can help and is allowed.
    async fn persist(
        &self,
        question: &Question,
        key: Option<&Key>,
        deadline: Instant,
    ) -> (Result<Page, Fault>, Verdict) {
        self.retries.first_try();
        let mut retries = 0;
        loop {
            let (outcome, verdict) = self.attempt(question, key, deadline).await;
            let time_left = deadline.saturating_duration_since(Instant::now());
            let Some(delay) = self.retries.delay(verdict, retries, time_left) else {
                return (outcome, verdict);
            };
            tokio::time::sleep(delay).await;
            retries += 1;
            self.metrics.retried(self.api.name());
        }
    }

    /// One request, which may be on the bill.
    async fn attempt(
        &self,
        question: &Question,
        key: Option<&Key>,
        deadline: Instant,
    ) -> (Result<Page, Fault>, Verdict) {
        if let Err(fault) = self.allowance(deadline).await {
            return (Err(fault), Verdict::Unjudged);
        }
        let begin = Instant::now();
        let exchange = self.transport.send(self.api.request(question, key));
        let (outcome, retry_after) = match timeout_at(deadline, exchange).await {
            Err(_) => (Err(Fault::Timeout), None),
            Ok(Err(fault)) => (Err(fault), None),
            Ok(Ok(reply)) => {
                let retry_after = reply.retry_after;
                (self.read(question, reply, key).await, retry_after)
            }
        };
        self.metrics.requested(self.api.name(), label(&outcome), begin.elapsed());
        let verdict = Verdict::of(&outcome, retry_after);
        (outcome, verdict)
    }

    async fn read(
        &self,
        question: &Question,
        reply: Reply,
        key: Option<&Key>,
    ) -> Result<Page, Fault> {
        if reply.body.len() <= MAX_READ_INLINE {
            return self.api.read(question, reply, key);
        }
        let (api, question, key) = (Arc::clone(&self.api), question.clone(), key.cloned());
        let reading = tokio::task::spawn_blocking(move || api.read(&question, reply, key.as_ref()));
        reading.await.unwrap_or(Err(Fault::GivenUp))
    }

    /// Takes a turn of the rate limit and a call of the day's quota.
    async fn allowance(&self, deadline: Instant) -> Result<(), Fault> {
        let latest = deadline.min(Instant::now() + self.max_wait);
        self.rate.turn(latest).await.map_err(|retry_after| Fault::Busy { retry_after })?;
        let Some(quota) = &self.quota else { return Ok(()) };
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let taken = quota.take(today);
        self.metrics.quota_is(self.api.name(), *taken.as_ref().unwrap_or(&0));
        taken.map(|_| ()).map_err(|retry_after| Fault::QuotaSpent { retry_after })
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_breaker(&self) -> Standing {
        const LABELS: [&str; 3] = ["closed", "half_open", "open"];
        let standing = self.breaker().standing(Instant::now());
        let label = match standing {
            Standing::Closed => LABELS[0],
            Standing::HalfOpen => LABELS[1],
            Standing::Open => LABELS[2],
        };
        self.metrics.breaker_is(self.api.name(), label, LABELS);
        standing
    }

    /// Tells the breaker, and the log where that opens it.
    fn record(&self, verdict: Verdict) {
        let before = self.breaker().standing(Instant::now());
        self.breaker().record(Instant::now(), verdict);
        let provider = self.api.name();
        match (before, self.show_breaker(), verdict.trouble()) {
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
    verdict: Verdict,
}

impl Pass<'_> {
    fn conclude(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.fetcher.record(self.verdict);
    }
}

/// One word for an outcome, out of few.
fn label(outcome: &Result<Page, Fault>) -> &'static str {
    match outcome {
        Err(fault) => fault.label(),
        Ok(page) => match page.status() {
            "OK" => "ok",
            "ZERO_RESULTS" => "zero_results",
            "INVALID_REQUEST" => "invalid_request",
            "OVER_QUERY_LIMIT" | "OVER_DAILY_LIMIT" => "over_query_limit",
            "REQUEST_DENIED" => "request_denied",
            "UNKNOWN_ERROR" => "unknown_error",
            _ => "other",
        },
    }
}
