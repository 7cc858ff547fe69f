use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::decimal::{self, Decimal};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A moment, in whole nanoseconds since 1970-01-01 without leap seconds: never negative, up to
/// 2262-04-11. Never a float: two time stamps 1 ns apart are different and ordered.
///
/// The canonical text is POSIX seconds with nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01.
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since 1970; `None` before that.
    pub const fn from_unix_nanos(nanos: i64) -> Option<Self> {
        if nanos < 0 { None } else { Some(Self(nanos)) }
    }

    /// Nanoseconds since 1970, never negative.
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// Reads POSIX seconds with an optional fraction, such as `1700000000.5`. Decimals after
    /// the ninth are cut off.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let number = Decimal::parse(text).ok_or(TimestampError::NotANumber)?;
        number.scaled(9).map(|(nanos, _)| Self(nanos)).ok_or(TimestampError::OutOfRange)
    }

    /// Whether `text` is this moment's canonical text.
    pub(crate) fn is_canonical(text: &str) -> bool {
        Decimal::parse(text).is_some_and(|number| {
            number.digits().1 == 9 && (!text.starts_with('0') || number.digits().0 == 1)
        })
    }

    /// How far this moment is behind `earlier`; negative when it lies before it.
    pub fn since(self, earlier: Self) -> Difference {
        Difference(self.0 - earlier.0)
    }

    /// This moment less `duration`, at least the beginning of 1970.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos).max(0))
    }

    /// This moment plus `duration`, at most the last representable moment.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    /// A clock before 1970 reads as 1970, one after 2262 as 2262.
    fn from(time: SystemTime) -> Self {
        Self::EPOCH.saturating_add(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND)
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.0 / NANOS_PER_SECOND, nanos: (time.0 % NANOS_PER_SECOND) as i32 }
    }
}

impl TryFrom<&prost_types::Timestamp> for Timestamp {
    type Error = TimestampError;

    fn try_from(wire: &prost_types::Timestamp) -> Result<Self, TimestampError> {
        if !(0..NANOS_PER_SECOND).contains(&i64::from(wire.nanos)) {
            return Err(TimestampError::NotANumber);
        }
        wire.seconds
            .checked_mul(NANOS_PER_SECOND)
            .and_then(|nanos| nanos.checked_add(i64::from(wire.nanos)))
            .and_then(Self::from_unix_nanos)
            .ok_or(TimestampError::OutOfRange)
    }
}

/// Why something is no [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Not digits with an optional fraction.
    #[error("must be seconds since 1970 with an optional fraction, such as 1700000000.5")]
    NotANumber,
    /// Before 1970 or after 2262-04-11.
    #[error("must be between 1970-01-01 and 2262-04-11")]
    OutOfRange,
}

/// A signed length of time in nanoseconds; what the text protocol prints in its AT lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference(i64);

impl Difference {
    /// Nanoseconds; negative when the later-named moment lies first.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Appends its text, as `Display` writes it.
    pub fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text(&mut [0; Self::MAX_TEXT_BYTES]).as_bytes());
    }

    /// A sign, ten digits, a point and nine more.
    const MAX_TEXT_BYTES: usize = 21;

    fn text(self, buffer: &mut [u8; Self::MAX_TEXT_BYTES]) -> &str {
        let nanos = self.0.unsigned_abs();
        let second = NANOS_PER_SECOND.unsigned_abs();
        let (whole, fraction) = buffer.split_at_mut(11);
        fraction[0] = b'.';
        decimal::put_padded(nanos % second, &mut fraction[1..]);
        let start = decimal::put(nanos / second, whole) - 1;
        buffer[start] = if self.0 < 0 { b'-' } else { b'+' };
        str::from_utf8(&buffer[start..]).unwrap_or_default()
    }
}

impl fmt::Display for Difference {
    /// Always a sign, always nine decimals: `+0.263873386`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; Self::MAX_TEXT_BYTES]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_nanosecond_apart_is_different() {
        let a = Timestamp::parse("1700000000.123456788").unwrap();
        let b = Timestamp::parse("1700000000.123456789").unwrap();
        assert!(a < b);
        assert_eq!(b.since(a).to_string(), "+0.000000001");
        assert_eq!(a.since(b).to_string(), "-0.000000001");
    }

    #[test]
    fn differences_are_written_with_their_sign_and_nine_decimals() {
        for (nanos, text) in [
            (0, "+0.000000000"),
            (263_873_386, "+0.263873386"),
            (-1_000_000_001, "-1.000000001"),
            (i64::MAX, "+9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Difference(nanos).to_string(), text);
            let mut out = b"AT ".to_vec();
            Difference(nanos).put(&mut out);
            assert_eq!(out, format!("AT {text}").into_bytes());
        }
    }

    #[test]
    fn fractions_are_decimals_and_not_integers() {
        assert!(Timestamp::parse("1.9").unwrap() > Timestamp::parse("1.10").unwrap());
        assert_eq!(Timestamp::parse("1.5"), Timestamp::parse("1.500000000"));
    }

    #[test]
    fn only_nine_decimals_without_needless_zeros_are_canonical() {
        for text in ["0.000000000", "1700000000.123456789"] {
            assert!(Timestamp::is_canonical(text), "{text}");
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        for text in ["1", "1.5", "01.500000000", "1.5000000000"] {
            assert!(!Timestamp::is_canonical(text), "{text}");
        }
    }

    #[test]
    fn moments_outside_1970_to_2262_are_refused() {
        assert_eq!(Timestamp::parse("9223372036.854775808"), Err(TimestampError::OutOfRange));
        let wire = |seconds, nanos| Timestamp::try_from(&prost_types::Timestamp { seconds, nanos });
        assert_eq!(wire(-1, 0), Err(TimestampError::OutOfRange));
        assert_eq!(wire(i64::MAX, 0), Err(TimestampError::OutOfRange));
        assert_eq!(wire(0, -1), Err(TimestampError::NotANumber));
        assert_eq!(wire(1, 5), Ok(Timestamp(1_000_000_005)));
    }
}
