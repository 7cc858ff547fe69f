//! A name for each call, by which an error that a caller saw is found in the logs, and the trace that it
//! belongs to, if it belongs to one.

use std::fmt;

use herd_proto::TraceContext;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::field::{DisplayValue, display};

/// The header, in both directions.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a caller.
const MAX_BYTES: usize = 64;

/// By what a call is found again.
#[derive(Debug, Clone)]
pub(crate) struct CallName {
    pub(crate) id: RequestId,
    /// The caller's trace.
    pub(crate) trace: Option<TraceContext>,
}

impl CallName {
    /// What the caller named, and a random id if it named none.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self { id: RequestId::of(headers), trace: TraceContext::from_headers(headers) }
    }
}

/// A trace as it stands in the log, where there is one.
pub(crate) fn shown(
    trace: Option<&TraceContext>,
) -> Option<DisplayValue<impl fmt::Display + use<>>> {
    trace.map(|trace| display(trace.shown_trace_id()))
}

/// The name of one call.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's own, if it sent one that is short and printable; else a random one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sound = |value: &&HeaderValue| {
            (1..=MAX_BYTES).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let own = headers.get(HEADER).filter(sound).cloned();
        let random = || {
            let text = format!("{:016x}", rand::random::<u64>());
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none"))
        };
        Self(own.unwrap_or_else(random))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.to_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_own_id_is_taken_over_if_it_can_stand_in_a_log() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(text));
            RequestId::of(&headers).to_string()
        };
        assert_eq!(of("trace-7"), "trace-7");
        let long: &'static str = "x".repeat(65).leak();
        for unsound in ["", "two words", long] {
            assert_eq!(of(unsound).len(), 16, "{unsound}");
        }
        let random = RequestId::of(&HeaderMap::new()).to_string();
        assert_ne!(random, RequestId::of(&HeaderMap::new()).to_string());
    }
}
