//! One HTTP exchange: a client that follows nothing, waits for nothing long and reads no more
//! than it must.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Request, Response, StatusCode, Url};

use crate::places::fault::Fault;
use crate::places::limits::Limits;

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

/// Sends requests and reads whole answers.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    max_bytes: usize,
}

impl Transport {
    /// For requests to `base`; its host decides about TLS and proxies.
    pub(super) fn new(base: &Url, user_agent: &str, limits: &Limits) -> Result<Self, String> {
        let client =
            client(base, user_agent, limits).map_err(|error| describe(&error.without_url()))?;
        Ok(Self { client, max_bytes: limits.max_answer_bytes })
    }

    /// Sends `request` and reads the whole answer. The caller bounds the time.
    ///
    /// # Cancel safety
    /// Dropping the future closes the request.
    pub(super) async fn send(&self, request: Request) -> Result<Reply, Fault> {
        let response = self.client.execute(request).await.map_err(transport_fault)?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let body = read_body(response, self.max_bytes).await?;
        Ok(Reply { status, retry_after, body })
    }
}

/// A whole answer.
#[derive(Debug)]
pub(in crate::places) struct Reply {
    pub(in crate::places) status: StatusCode,
    /// When the server wants to be asked again, if it said so.
    pub(in crate::places) retry_after: Option<Duration>,
    pub(in crate::places) body: Vec<u8>,
}

impl Reply {
    /// What the HTTP status alone tells, for a reply in no known form.
    pub(in crate::places) fn fault(&self) -> Fault {
        let retry_after = self.retry_after;
        match self.status {
            StatusCode::OK => Fault::Malformed,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::Refused,
            StatusCode::TOO_MANY_REQUESTS => Fault::Throttled { retry_after },
            status => Fault::Http { code: status.as_u16(), retry_after },
        }
    }

    /// A reply without a body.
    #[cfg(test)]
    pub(in crate::places) fn bare(code: u16) -> Self {
        let status = StatusCode::from_u16(code).unwrap();
        Self { status, retry_after: None, body: Vec::new() }
    }
}

/// Reads seconds, or a date of HTTP. Nonsense counts as nothing said.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
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
        // A bomb unpacks without ever waiting for the network; others get their turn meanwhile.
        tokio::task::yield_now().await;
    }
    Ok(body)
}

fn transport_fault(error: reqwest::Error) -> Fault {
    // A connection that is not made in time is one that failed: nothing was asked yet.
    if error.is_timeout() && !error.is_connect() {
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

fn client(base: &Url, user_agent: &str, limits: &Limits) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .user_agent(user_agent)
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
pub(in crate::places) fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || number.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::config::ApiKind;

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
        assert!(client(&base, "test", &Limits::of(ApiKind::GoogleLegacy)).is_ok());
    }

    #[test]
    fn a_server_may_say_when_to_come_back_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let told = |text: &'static str| {
            retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect(), now)
        };
        assert_eq!(told("7"), Some(Duration::from_secs(7)));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(told("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(told(nonsense), None, "{nonsense}");
        }
    }
}
