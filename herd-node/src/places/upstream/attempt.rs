//! One request to the provider, which may be on the bill.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use herd_proto::topology::Problems;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use super::api::Api;
use super::http::{Reply, Transport};
use super::quota::Quota;
use super::rate::RateLimit;
use super::verdict::Verdict;
use crate::places::config::UpstreamConfig;
use crate::places::fault::Fault;
use crate::places::key::Key;
use crate::places::metrics::Metrics;
use crate::places::page::Page;
use crate::places::provider::Question;

/// A larger answer is read on a thread of its own: it may be nonsense by the megabyte, and the
/// node's reports must not wait for that. Twenty results take some 50 KiB.
const MAX_READ_INLINE: usize = 128 << 10;

/// A question on its way to the provider. Clones are cheap.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) question: Arc<Question>,
    pub(super) key: Option<Key>,
    /// When it must be answered.
    pub(super) deadline: Instant,
    /// Until when it may wait for its turn, so that the provider has time left to answer.
    pub(super) latest: Instant,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outcome: Result<Page, Fault>,
    /// What the outcome tells about the provider; a page may tell no good either.
    pub(super) verdict: Verdict,
}

impl Told {
    /// What says nothing about the provider.
    pub(super) fn unjudged(fault: Fault) -> Self {
        Self { outcome: Err(fault), verdict: Verdict::Unjudged }
    }
}

/// The service under tower's layers: each call is one request over HTTP. Clones share limits and
/// connections.
#[derive(Debug, Clone)]
pub(super) struct Attempts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    api: Arc<dyn Api>,
    quota: Option<Quota>,
    rate: RateLimit,
    transport: Transport,
    metrics: Metrics,
}

impl Service<Ask> for Attempts {
    type Response = Told;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Told, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let shared = Arc::clone(&self.0);
        async move { Ok(shared.attempt(&ask).await) }.boxed()
    }
}

impl Attempts {
    /// Builds the client; asks nothing yet.
    pub(super) fn new(
        api: Arc<dyn Api>,
        config: &UpstreamConfig,
        directory: Option<&Path>,
        metrics: Metrics,
    ) -> Result<Self, Problems> {
        let limits = &config.limits;
        let transport =
            Transport::new(&config.base, &config.user_agent, limits).map_err(|error| {
                let (name, hint) = (api.name(), "install ca-certificates or set SSL_CERT_FILE");
                Problems::one(format_args!("places provider {name}: {error} ({hint})"))
            })?;
        let quota = limits.daily_quota.map(|limit| Quota::new(limit, directory));
        let rate = RateLimit::new(limits.rate);
        Ok(Self(Arc::new(Shared { api, quota, rate, transport, metrics })))
    }

    /// Requests that the operator still allows today; `None` without a bound.
    pub(super) fn quota_left(&self) -> Option<u64> {
        self.0.quota.as_ref().map(|quota| quota.left(unix_time()))
    }

    /// Waits until what is being written down is written.
    pub(super) async fn settle(&self) {
        if let Some(quota) = &self.0.quota {
            quota.settle().await;
        }
    }
}

impl Shared {
    async fn attempt(&self, ask: &Ask) -> Told {
        if let Err(fault) = self.allowance(ask.latest).await {
            return Told::unjudged(fault);
        }
        let begin = Instant::now();
        let exchange = self.transport.send(self.api.request(&ask.question, ask.key.as_ref()));
        let (outcome, retry_after) = match timeout_at(ask.deadline, exchange).await {
            Err(_) => (Err(Fault::Timeout), None),
            Ok(Err(fault)) => (Err(fault), None),
            Ok(Ok(reply)) => {
                let retry_after = reply.retry_after;
                (self.read(ask, reply).await, retry_after)
            }
        };
        self.metrics.requested(self.api.name(), label(&outcome), begin.elapsed());
        let verdict = Verdict::of(&outcome, retry_after);
        Told { outcome, verdict }
    }

    async fn read(&self, ask: &Ask, reply: Reply) -> Result<Page, Fault> {
        if reply.body.len() <= MAX_READ_INLINE {
            return self.api.read(&ask.question, reply, ask.key.as_ref());
        }
        let (api, ask) = (Arc::clone(&self.api), ask.clone());
        let reading =
            tokio::task::spawn_blocking(move || api.read(&ask.question, reply, ask.key.as_ref()));
        reading.await.unwrap_or(Err(Fault::GivenUp))
    }

    /// Takes a turn of the rate limit and a call of the day's quota.
    async fn allowance(&self, latest: Instant) -> Result<(), Fault> {
        self.rate.turn(latest).await.map_err(|retry_after| Fault::Busy { retry_after })?;
        let Some(quota) = &self.quota else { return Ok(()) };
        quota.take(unix_time()).await.map_err(|retry_after| Fault::QuotaSpent { retry_after })
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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
