use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use herd_proto::{LocationRecord, Position};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::fault::Fault;
use super::page::Page;

/// A source of places that can answer in the form of Google's Nearby Search (legacy).
///
/// A provider answers with up to [`herd_proto::MAX_RESULTS`] results whatever the caller's own
/// bound is, so that one answer can serve callers with different bounds.
pub(super) trait Provider: fmt::Debug + Send + Sync {
    /// Its name in settings and answers.
    fn name(&self) -> &'static str;

    /// Looks for places; gives up at `deadline`, or at its own limits.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing from other callers.
    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Page>, Fault>>;

    /// Adds what is read at each scrape.
    fn register(&self, _: &mut Registry) {}

    /// Ends what runs in the background, and waits until it has.
    fn stop(&self) -> BoxFuture<'_, ()> {
        future::ready(()).boxed()
    }
}

impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<Page>, Fault>> {
        (**self).nearby(question, deadline)
    }

    fn register(&self, registry: &mut Registry) {
        (**self).register(registry);
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        (**self).stop()
    }
}

/// What a provider is asked. It holds no client's name: none may leave the herd.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// Around what.
    pub(super) center: Position,
    /// The same as `LAT,LNG` in the client's own decimals.
    pub(super) center_text: String,
    /// How far, in metres.
    pub(super) radius_meters: f64,
}

impl Question {
    /// Asks for what is around a client.
    pub(super) fn around(location: &LocationRecord, radius_meters: f64) -> Self {
        let center = location.position;
        let center_text = query_text(&location.position_text().to_string())
            .unwrap_or_else(|| format!("{},{}", center.latitude(), center.longitude()));
        Self { center, center_text, radius_meters }
    }

    /// Equal for questions that an upstream cannot tell apart.
    pub(super) fn identity(&self) -> String {
        format!("{};{}", self.center_text, self.radius_text())
    }

    /// The radius as plain decimal text, rounded to a micrometre: kilometres times 1,000 in
    /// binary would else show digits that nobody wrote.
    pub(super) fn radius_text(&self) -> String {
        // Adding zero turns -0 into 0.
        format!("{}", (self.radius_meters * 1e6).round() / 1e6 + 0.0)
    }
}

/// Turns ISO 6709 (`+27.5916+086.5640`) into what a query takes (`27.5916,86.5640`).
fn query_text(iso: &str) -> Option<String> {
    let second_sign = iso.rfind(['+', '-']).filter(|&at| at > 0)?;
    let (latitude, longitude) = iso.split_at(second_sign);
    Some(format!("{},{}", query_number(latitude), query_number(longitude)))
}

/// Drops a plus, which would read as a space in a query, and leading zeros.
fn query_number(signed: &str) -> String {
    let (sign, digits) = match signed.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", signed.trim_start_matches('+')),
    };
    let trimmed = digits.trim_start_matches('0');
    let zero = if trimmed.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "0" };
    format!("{sign}{zero}{trimmed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_decimals_are_kept_without_plus_and_leading_zeros() {
        let cases = [
            ("+34.068930-118.445127", "34.068930,-118.445127"),
            ("+27.5916+086.5640", "27.5916,86.5640"),
            ("-050.5-000.50", "-50.5,-0.50"),
            ("+0.0-0.0", "0.0,-0.0"),
            ("+00-000", "0,-0"),
            ("+90-180", "90,-180"),
        ];
        for (iso, query) in cases {
            assert_eq!(query_text(iso).as_deref(), Some(query), "{iso}");
        }
        assert_eq!(query_text("+1"), None);
    }

    #[test]
    fn a_radius_is_plain_metres() {
        let text = |radius_meters| {
            let center = Position::from_e7(0, 0).unwrap();
            Question { center, center_text: String::new(), radius_meters }.radius_text()
        };
        assert_eq!(text(10_000.0), "10000");
        assert_eq!(text(2500.0), "2500");
        assert_eq!(text(10.587_126_3 * 1000.0), "10587.1263");
        assert_eq!(text(0.1 * 3.0 * 1000.0), "300");
        assert_eq!(text(-0.0), "0");
        assert_eq!(text(1e-300), "0");
        assert_eq!(text(50_000.0), "50000");
    }
}
