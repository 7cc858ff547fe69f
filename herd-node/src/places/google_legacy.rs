//! Google's Nearby Search (legacy), or whatever speaks its form at another address.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use herd_proto::topology::Problems;
use reqwest::{Method, Request, StatusCode, Url};

use super::fault::Fault;
use super::http::{Reply, Transport, is_loopback};
use super::key::Key;
use super::page::Page;
use super::provider::{Provider, Question};
use super::settings::{Limits, Upstream};

/// Its name in settings and answers.
pub(super) const NAME: &str = "google-legacy";

/// Where Google listens.
pub(super) const DEFAULT_BASE: &str = "https://maps.googleapis.com";

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// A shorter key may well stand in an answer by chance. Google's have 39 bytes.
const MIN_TELLING_KEY: usize = 20;

/// Asks one address.
#[derive(Debug)]
pub(super) struct GoogleLegacy {
    transport: Transport,
    endpoint: Url,
    key: Option<Key>,
}

impl GoogleLegacy {
    /// Builds the client; asks nothing yet.
    pub(super) fn new(upstream: Upstream, limits: &Limits) -> Result<Self, Problems> {
        let Upstream { mut base, key } = upstream;
        if key.is_some() && base.scheme() == "http" && !is_loopback(&base) {
            tracing::warn!(provider = NAME, "the key of the places provider travels unencrypted");
        }
        let transport = Transport::new(&base, limits).map_err(|error| {
            let hint = "install ca-certificates or set SSL_CERT_FILE";
            Problems::one(format_args!("places provider {NAME}: {error} ({hint})"))
        })?;
        base.set_path(PATH);
        Ok(Self { transport, endpoint: base, key })
    }

    /// The only place that joins the key and the URL; nothing prints what it returns.
    fn request(&self, question: &Question) -> Request {
        let mut url = self.endpoint.clone();
        // Written by hand because a form encoder would turn the comma into %2C.
        let (location, radius) = (&question.center_text, question.radius_text());
        url.set_query(Some(&format!("location={location}&radius={radius}")));
        if let Some(key) = &self.key {
            url.query_pairs_mut().append_pair("key", key.expose());
        }
        Request::new(Method::GET, url)
    }

    /// An answer that quotes the key would carry it to every client.
    fn without_key(&self, body: Vec<u8>) -> Vec<u8> {
        let key = self.key.as_ref().map(Key::expose).filter(|key| key.len() >= MIN_TELLING_KEY);
        match (key, str::from_utf8(&body)) {
            (Some(key), Ok(text)) if text.contains(key) => {
                text.replace(key, "[redacted]").into_bytes()
            }
            _ => body,
        }
    }
}

impl Provider for GoogleLegacy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        time_left: Option<Duration>,
    ) -> BoxFuture<'a, Result<Page, Fault>> {
        async move {
            let reply = self.transport.send(self.request(question), time_left).await?;
            let Reply { status, body } = reply;
            let page = Page::read(self.without_key(body), question.center);
            classify(status, page)
        }
        .boxed()
    }
}

/// Google says almost everything with HTTP 200 and a status in the text. A refusal that comes
/// with another code is passed on all the same if it is in the right form.
fn classify(status: StatusCode, page: Result<Page, Fault>) -> Result<Page, Fault> {
    match (status, page) {
        (StatusCode::OK, page) => page,
        (status, Ok(page)) if status.is_client_error() && page.status() != "OK" => Ok(page),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Err(Fault::Refused),
        (StatusCode::TOO_MANY_REQUESTS, _) => Err(Fault::Throttled),
        (status, _) => Err(Fault::Http(status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use herd_proto::Position;

    use super::*;

    #[test]
    fn a_code_and_a_text_make_an_outcome() {
        let center = Position::from_e7(0, 0).unwrap();
        let ok = || Page::read(b"{\"status\":\"OK\",\"results\":[]}".to_vec(), center);
        let denied = || Page::read(b"{\"status\":\"REQUEST_DENIED\"}".to_vec(), center);
        let code = |code| StatusCode::from_u16(code).unwrap();
        assert_eq!(classify(code(200), ok()), ok());
        assert_eq!(classify(code(200), denied()), denied());
        assert_eq!(classify(code(200), Err(Fault::Malformed)), Err(Fault::Malformed));
        assert_eq!(classify(code(403), denied()), denied());
        assert_eq!(classify(code(403), ok()), Err(Fault::Refused));
        assert_eq!(classify(code(401), Err(Fault::Malformed)), Err(Fault::Refused));
        assert_eq!(classify(code(429), Err(Fault::Malformed)), Err(Fault::Throttled));
        assert_eq!(classify(code(404), Err(Fault::Malformed)), Err(Fault::Http(404)));
        assert_eq!(classify(code(302), ok()), Err(Fault::Http(302)));
        assert_eq!(classify(code(500), denied()), Err(Fault::Http(500)));
    }
}
