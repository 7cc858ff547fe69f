//! The ways in which people write a time, and the one in which it is shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herd_proto::{Timestamp, TimestampError};

/// A time as a person gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    /// POSIX seconds, to be echoed as they were written.
    Posix(String),
    /// A moment told in another form.
    At(Timestamp),
}

/// The text is no [`Moment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MomentError {
    #[error("must be like 1700000000.5, 2023-11-14T22:13:20.5Z or now, got {0:?}")]
    Form(String),
    #[error("{rule}, got {given:?}")]
    Range { rule: TimestampError, given: String },
}

impl Moment {
    /// Reads POSIX seconds, RFC 3339, or `now`, which is `clock`.
    pub(crate) fn parse(text: &str, clock: SystemTime) -> Result<Self, MomentError> {
        if text == "now" {
            return Ok(Self::At(clock.into()));
        }
        let range = || MomentError::Range { rule: TimestampError::OutOfRange, given: text.into() };
        match Timestamp::parse(text) {
            Ok(_) => Ok(Self::Posix(text.into())),
            Err(TimestampError::OutOfRange) => Err(range()),
            Err(TimestampError::NotANumber) => {
                let time = rfc3339(text).ok_or_else(|| MomentError::Form(text.into()))?;
                let since = time.duration_since(UNIX_EPOCH).map_err(|_| range())?;
                let nanos = i64::try_from(since.as_nanos()).map_err(|_| range())?;
                Timestamp::from_unix_nanos(nanos).map(Self::At).ok_or_else(range)
            }
        }
    }
}

/// A moment in RFC 3339 with nanoseconds, in UTC.
pub(crate) fn shown(time: Timestamp) -> String {
    let since = Duration::from_nanos(time.unix_nanos().unsigned_abs());
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string()
}

/// Reads RFC 3339 in UTC, or with an offset such as `+01:00`.
fn rfc3339(text: &str) -> Option<SystemTime> {
    if text.ends_with(['Z', 'z']) {
        return humantime::parse_rfc3339(text).ok();
    }
    let (local, offset) =
        text.is_ascii().then(|| text.split_at_checked(text.len().checked_sub(6)?)).flatten()?;
    let (sign, digits) = offset.split_at(1);
    let (hours, minutes) = digits.split_once(':')?;
    let number = |text: &str, max: u64| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        text.parse::<u64>().ok().filter(|number| *number <= max)
    };
    let ahead = Duration::from_secs(number(hours, 23)? * 3600 + number(minutes, 59)? * 60);
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match sign {
        "+" => time.checked_sub(ahead),
        "-" => time.checked_add(ahead),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Moment, MomentError> {
        Moment::parse(text, UNIX_EPOCH + Duration::from_secs(7))
    }

    fn at(nanos: i64) -> Moment {
        Moment::At(Timestamp::from_unix_nanos(nanos).unwrap())
    }

    #[test]
    fn posix_seconds_are_kept_as_written() {
        for text in ["0", "1700000000.50", "1700000000.123456789"] {
            assert_eq!(read(text), Ok(Moment::Posix(text.into())));
        }
    }

    #[test]
    fn rfc_3339_is_read_to_the_nanosecond_and_in_any_zone() {
        let moment = at(1_700_000_000_123_456_789);
        for text in [
            "2023-11-14T22:13:20.123456789Z",
            "2023-11-14T23:13:20.123456789+01:00",
            "2023-11-14T16:43:20.123456789-05:30",
        ] {
            assert_eq!(read(text), Ok(moment.clone()), "{text}");
        }
        assert_eq!(read("now"), Ok(at(7_000_000_000)));
    }

    #[test]
    fn other_texts_and_far_times_are_refused() {
        for text in ["", "noon", "nan", "1e9", "-5", "2023-11-14", "T+1:00", "é+01:00", "++1:00"] {
            assert_eq!(read(text), Err(MomentError::Form(text.into())));
        }
        for text in ["9223372037", "2300-01-01T00:00:00Z", "1970-01-01T00:00:00+01:00"] {
            assert!(matches!(read(text), Err(MomentError::Range { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_shown_has_nine_decimals() {
        let time = Timestamp::parse("1700000000.5").unwrap();
        assert_eq!(shown(time), "2023-11-14T22:13:20.500000000Z");
    }
}
