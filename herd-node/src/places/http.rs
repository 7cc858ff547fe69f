//! How network providers are asked: one careful HTTP client behind limits.

use std::error::Error as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::{Client, ClientBuilder, Request, Response, StatusCode, Url};
use tower::limit::ConcurrencyLimit;
use tower::timeout::Timeout;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

use super::fault::Fault;
use super::settings::Limits;

/// Shorter than the idle limit of common servers and balancers (60 to 75 s), so that a
/// connection is seldom closed under a request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Idle connections that are kept; more are opened when more requests run.
const POOL_MAX_IDLE: usize = 8;

/// A dead HTTP/2 path is found by a ping after this, and given up [`PING_TIMEOUT`] later.
const PING_INTERVAL: Duration = Duration::from_secs(20);

const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest description of a transport error, in characters.
const MAX_DESCRIPTION: usize = 200;

/// Sends requests: at most so many at once, each for at most so long.
#[derive(Debug)]
pub(super) struct Transport {
    stack: ConcurrencyLimit<Timeout<Fetch>>,
    max_wait: Duration,
}

impl Transport {
    /// For requests to `base`; its host decides about TLS and proxies.
    pub(super) fn new(base: &Url, limits: &Limits) -> Result<Self, String> {
        let client = client(base, limits).map_err(|error| describe(&error.without_url()))?;
        let stack = ServiceBuilder::new()
            .concurrency_limit(limits.max_in_flight)
            .timeout(limits.total_timeout)
            .service(Fetch { client, max_bytes: limits.max_answer_bytes });
        Ok(Self { stack, max_wait: limits.max_wait })
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the request and frees its place.
    pub(super) async fn send(
        &self,
        request: Request,
        time_left: Option<Duration>,
    ) -> Result<Reply, Fault> {
        let exchange = async {
            // A clone holds a place among those in flight only from here to its end.
            let mut stack = self.stack.clone();
            let ready = tokio::time::timeout(self.max_wait, stack.ready());
            let ready = ready.await.map_err(|_| Fault::Busy)?.map_err(fault_of)?;
            ready.call(request).await.map_err(fault_of)
        };
        match time_left {
            Some(time) => {
                tokio::time::timeout(time, exchange).await.map_err(|_| Fault::Deadline)?
            }
            None => exchange.await,
        }
    }
}

/// Undoes tower's erasure of the error's type.
fn fault_of(error: BoxError) -> Fault {
    match error.downcast::<Fault>() {
        Ok(fault) => *fault,
        // The time-out is the only layer with an error of its own.
        Err(_elapsed) => Fault::Timeout,
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// The innermost service: one exchange, without any limit but the size of the answer.
#[derive(Debug, Clone)]
struct Fetch {
    client: Client,
    max_bytes: usize,
}

impl Service<Request> for Fetch {
    type Response = Reply;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Reply, Fault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { client, max_bytes } = self.clone();
        async move {
            let response = client.execute(request).await.map_err(transport_fault)?;
            let status = response.status();
            Ok(Reply { status, body: read_body(response, max_bytes).await? })
        }
        .boxed()
    }
}

/// Counts the bytes as they are decompressed: a declared length says nothing about those.
async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let too_large = Fault::TooLarge { limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport_fault)? {
        if chunk.len() > limit - body.len() {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport_fault(error: reqwest::Error) -> Fault {
    if error.is_timeout() {
        Fault::Timeout
    } else {
        Fault::Unreachable(describe(&error.without_url()))
    }
}

/// The error and its causes in one line. The caller has removed the URL, which holds the key.
fn describe(error: &reqwest::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ").chars().filter(|c| !c.is_control()).take(MAX_DESCRIPTION).collect()
}

fn client(base: &Url, limits: &Limits) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .user_agent(concat!("herd/", env!("CARGO_PKG_VERSION")))
        // A redirect would hand the key to whoever it points at.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(limits.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_MAX_IDLE)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(false);
    let builder = if is_loopback(base) { builder.no_proxy() } else { builder };
    if base.scheme() == "https" { with_tls(builder) } else { without_tls(builder) }.build()
}

fn with_tls(builder: ClientBuilder) -> ClientBuilder {
    // It fails when somebody else was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.https_only(true)
}

/// Keeps the client from looking for the system's certificates: it has no use for them, and
/// fails where there are none, as in an empty container.
fn without_tls(builder: ClientBuilder) -> ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
    {
        Ok(config) => builder.tls_backend_preconfigured(
            config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
        ),
        // Then the client's own defaults report what is wrong.
        Err(_) => builder,
    }
}

/// Whether the host is this machine, by name or by number.
pub(super) fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || number.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_name_and_number() {
        let loopback = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(loopback("http://127.0.0.1:1") && loopback("http://127.9.9.9"));
        assert!(loopback("http://[::1]:1") && loopback("http://localhost"));
        assert!(!loopback("http://128.0.0.1") && !loopback("https://maps.googleapis.com"));
    }

    #[test]
    fn a_client_for_plain_http_needs_no_certificates() {
        let base = Url::parse("http://127.0.0.1:1").unwrap();
        assert!(client(&base, &Limits::default()).is_ok());
    }
}
