//! Google's Nearby Search (legacy), or whatever speaks its form at another address.

use reqwest::{Method, Request, StatusCode, Url};

use crate::places::fault::Fault;
use crate::places::key::Key;
use crate::places::page::Page;
use crate::places::provider::Question;
use crate::places::redact;
use crate::places::upstream::{Api, Reply};

/// Its name in settings and answers.
pub(in crate::places) const NAME: &str = "google-legacy";

/// Where Google listens.
pub(in crate::places) const DEFAULT_BASE: &str = "https://maps.googleapis.com";

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// Asks one address.
#[derive(Debug)]
pub(in crate::places) struct GoogleLegacy {
    endpoint: Url,
}

impl GoogleLegacy {
    /// For the server at `base`.
    pub(in crate::places) fn new(mut base: Url) -> Self {
        base.set_path(PATH);
        Self { endpoint: base }
    }
}

impl Api for GoogleLegacy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn request(&self, question: &Question, key: Option<&Key>) -> Request {
        let mut url = self.endpoint.clone();
        // Written by hand because a form encoder would turn the comma into %2C.
        let (location, radius) = (&question.center_text, question.radius_text());
        url.set_query(Some(&format!("location={location}&radius={radius}")));
        if let Some(key) = key {
            url.query_pairs_mut().append_pair("key", key.expose());
        }
        Request::new(Method::GET, url)
    }

    fn read(&self, question: &Question, reply: Reply, key: Option<&Key>) -> Result<Page, Fault> {
        classify(&reply, read_page(&reply.body, question, key))
    }
}

/// The provider's bytes as they came, unless they quote the key, which every client would see.
fn read_page(body: &[u8], question: &Question, key: Option<&Key>) -> Result<Page, Fault> {
    let text = str::from_utf8(body).map_err(|_| Fault::Malformed)?;
    let text = redact::without_key(text, key);
    let page = Page::read(text.as_bytes().to_vec(), question.center)?;
    if page.has_results() {
        return Ok(page);
    }
    Page::read(redact::without_keys(&text).into_owned().into_bytes(), question.center)
}

/// Google says almost everything with HTTP 200 and a status in the text. A refusal that comes
/// with another code is passed on all the same if it is in the right form.
fn classify(reply: &Reply, page: Result<Page, Fault>) -> Result<Page, Fault> {
    match (reply.status, page) {
        (StatusCode::OK, page) => page,
        (status, Ok(page)) if status.is_client_error() && page.status() != "OK" => Ok(page),
        _ => Err(reply.fault()),
    }
}

#[cfg(test)]
mod tests {
    use herd_proto::Position;

    use super::*;

    #[test]
    fn a_code_and_a_text_make_an_outcome() {
        let center = Position::default();
        let ok = || Page::read(b"{\"status\":\"OK\",\"results\":[]}".to_vec(), center);
        let denied = || Page::read(b"{\"status\":\"REQUEST_DENIED\"}".to_vec(), center);
        let malformed = || Err(Fault::Malformed);
        let http = |code| Err(Fault::Http { code, retry_after: None });
        let table = [
            (200, ok(), ok()),
            (200, denied(), denied()),
            (200, malformed(), malformed()),
            (403, denied(), denied()),
            (403, ok(), Err(Fault::Refused)),
            (401, malformed(), Err(Fault::Refused)),
            (429, malformed(), Err(Fault::Throttled { retry_after: None })),
            (404, malformed(), http(404)),
            (302, ok(), http(302)),
            (500, denied(), http(500)),
        ];
        for (code, page, expected) in table {
            let reply = Reply::bare(code);
            assert_eq!(classify(&reply, page), expected, "{code}");
        }
    }
}
