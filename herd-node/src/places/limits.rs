use std::time::Duration;

use herd_proto::topology::Problems;

use super::config::{ApiKind, trimmed};
use super::settings::PlacesSettings;
use crate::config::{Reader, duration};

/// What a network provider may use of time, memory, money and the other side's patience.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// For a connection, TLS included. Default 2 s: a lost SYN is sent again after one.
    pub connect_timeout: Duration,
    /// For one question, from the breaker to the last byte, retries included. Default 4 s: less
    /// than the gateway waits, so that it hears what was wrong.
    pub timeout: Duration,
    /// Requests in flight. Default 16: at a usual 100 ms each that is 160 a second. Wikipedia
    /// asks for at most 3.
    pub max_in_flight: usize,
    /// For one of those to become free and for a turn of the rate limit, together, and at most half of
    /// `timeout`. Default 2 s: a burst is answered late rather than not at all.
    pub max_wait: Duration,
    /// Size of an answer after decompression, in bytes. Default 2 MiB, a hundred times what
    /// twenty results take.
    pub max_answer_bytes: usize,
    /// Requests a second over time; twice as many at once. Defaults: half of what Google allows
    /// a project for the legacy API, what it allows for the new one, and a polite 2 for Wikipedia.
    pub rate: f64,
    /// Requests a day of UTC, restarts included where there is a data directory; `None` is no
    /// bound.
    pub daily_quota: Option<u64>,
    /// How long an answer serves others who ask the same. Default 0 for Google, whose terms allow
    /// none, and 10 minutes for Wikipedia.
    pub cache_ttl: Duration,
}

impl Limits {
    /// The defaults for a provider.
    pub fn of(api: ApiKind) -> Self {
        let (rate, max_in_flight, cache_ttl) = match api {
            ApiKind::GoogleLegacy => (50.0, 16, Duration::ZERO),
            ApiKind::GoogleNew(_) => (10.0, 16, Duration::ZERO),
            ApiKind::Wikipedia => (2.0, 3, Duration::from_mins(10)),
        };
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(4),
            max_in_flight,
            max_wait: Duration::from_secs(2),
            max_answer_bytes: 2 << 20,
            rate,
            daily_quota: None,
            cache_ttl,
        }
    }

    /// The defaults for a provider, and what was typed in their place.
    pub(super) fn read(api: ApiKind, settings: &PlacesSettings, problems: &mut Problems) -> Self {
        let mut reader = Reader { problems };
        let defaults = Self::of(api);
        Self {
            rate: reader.read("places rate", trimmed(settings.rate.as_ref()), defaults.rate, rate),
            daily_quota: reader.read(
                "places daily_quota",
                trimmed(settings.daily_quota.as_ref()),
                defaults.daily_quota,
                daily_quota,
            ),
            max_in_flight: reader.read(
                "places max_in_flight",
                trimmed(settings.max_in_flight.as_ref()),
                defaults.max_in_flight,
                max_in_flight,
            ),
            timeout: reader.read(
                "places timeout",
                trimmed(settings.timeout.as_ref()),
                defaults.timeout,
                timeout,
            ),
            cache_ttl: reader.read(
                "places cache_ttl",
                trimmed(settings.cache_ttl.as_ref()),
                defaults.cache_ttl,
                duration,
            ),
            ..defaults
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let range = 0.001..=10_000.0;
    let rate = text.parse().ok().filter(|rate| range.contains(rate));
    rate.ok_or_else(|| "must be requests a second, 0.001 to 10000".into())
}

fn daily_quota(text: &str) -> Result<Option<u64>, String> {
    match text {
        "none" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| "must be requests a day, or none".to_owned())
        }
    }
}

fn max_in_flight(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "must be 1 to 1024".into())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(10)..=Duration::from_mins(1);
    let timeout = duration(text)?;
    if range.contains(&timeout) { Ok(timeout) } else { Err("must be 10ms to 1m".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_providers_own_unless_they_are_set() {
        let api = ApiKind::GoogleLegacy;
        let read = |settings: &PlacesSettings| {
            let mut problems = Problems::default();
            let limits = Limits::read(api, settings, &mut problems);
            problems.into_result(limits).unwrap()
        };
        let default = read(&PlacesSettings::default());
        assert_eq!(default, Limits::of(api));
        assert!(default.cache_ttl.is_zero(), "Google's terms allow none");
        let some = |text: &str| Some(text.into());
        let settings = PlacesSettings {
            rate: some("0.5"),
            daily_quota: some("100"),
            max_in_flight: some("2"),
            timeout: some("1s"),
            cache_ttl: some("5m"),
            ..PlacesSettings::default()
        };
        let limits = read(&settings);
        let expected = Limits {
            rate: 0.5,
            daily_quota: Some(100),
            max_in_flight: 2,
            timeout: Duration::from_secs(1),
            cache_ttl: Duration::from_mins(5),
            ..default
        };
        assert_eq!(limits, expected);
    }
}
