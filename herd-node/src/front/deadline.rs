//! How long a caller waits: what the `grpc-timeout` header says, and bodies that end in time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Longest time that the specification lets a caller name: eight digits of hours.
const MAX_DIGITS: usize = 8;

/// What is left of the caller's time, as the `grpc-timeout` header tells it.
pub(crate) fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let header = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// A response body that ends with a status when `end` resolves, however much is left of it.
pub(crate) struct Bounded {
    inner: Body,
    /// `None` once it has resolved.
    end: Option<BoxFuture<'static, Status>>,
}

impl Bounded {
    pub(crate) fn new(inner: Body, end: BoxFuture<'static, Status>) -> Self {
        Self { inner, end: Some(end) }
    }
}

impl http_body::Body for Bounded {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { inner, end } = &mut *self;
        let Some(ending) = end else { return Poll::Ready(None) };
        if let Poll::Ready(status) = ending.as_mut().poll(cx) {
            *end = None;
            // Whoever made the body learns of the end by its being dropped.
            *inner = Body::empty();
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(match status.add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(status),
            }));
        }
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_read_in_any_unit_and_nonsense_is_none() {
        let read = |header: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", header.parse().unwrap());
            time_left(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        for header in ["", "S", "5", "5x", "-5S", "123456789S"] {
            assert_eq!(read(header), None, "{header}");
        }
        assert_eq!(time_left(&HeaderMap::new()), None);
    }
}
