//! Plain decimal numbers, read exactly: digits with an optional fraction, no exponent, no sign.

use std::iter;

/// An unsigned decimal as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal<'a> {
    integer: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    /// Reads the number at the start of `text` and returns it with the rest. `None` where no
    /// digit stands, or where a point is not followed by one.
    pub(crate) fn split_from(text: &'a str) -> Option<(Self, &'a str)> {
        let (integer, rest) = digits(text)?;
        match rest.strip_prefix('.') {
            None => Some((Self { integer, fraction: "" }, rest)),
            Some(rest) => {
                let (fraction, rest) = digits(rest)?;
                Some((Self { integer, fraction }, rest))
            }
        }
    }

    /// Reads a text that is nothing but the number.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        Self::split_from(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
    }

    /// The number times 10^`places`, cut after that, and whether anything but zeros was cut.
    /// `None` where it does not fit.
    pub(crate) fn scaled(self, places: usize) -> Option<(i64, bool)> {
        let kept = &self.fraction[..self.fraction.len().min(places)];
        let value = if self.integer.len() + places <= U64_DIGITS {
            let digits = fold(fold(0, self.integer), kept);
            digits * 10_u64.pow((places - kept.len()) as u32)
        } else {
            let mut value: u64 = 0;
            let zeros = iter::repeat_n(b'0', places - kept.len());
            for digit in self.integer.bytes().chain(kept.bytes()).chain(zeros) {
                value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            }
            value
        };
        let value = i64::try_from(value).ok()?;
        let inexact = self.fraction[kept.len()..].bytes().any(|digit| digit != b'0');
        Some((value, inexact))
    }

    /// The first digit after the `places`-th decimal, 0 where there is none.
    pub(crate) fn digit_after(self, places: usize) -> u8 {
        self.fraction.as_bytes().get(places).map_or(0, |digit| digit - b'0')
    }

    /// How many digits stand before and after the point.
    pub(crate) fn digits(self) -> (usize, usize) {
        (self.integer.len(), self.fraction.len())
    }
}

fn digits(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() && bytes[end].is_ascii_digit() {
        end += 1;
    }
    (end > 0).then(|| text.split_at(end))
}

/// So many digits always fit, whatever they are.
const U64_DIGITS: usize = 19;

/// Puts digits behind those of `value`.
fn fold(value: u64, digits: &str) -> u64 {
    digits.bytes().fold(value, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// Writes a number's digits at the end of `buffer`, without leading zeros, and returns where they
/// start. The buffer must have room for them.
pub(crate) fn put(mut value: u64, buffer: &mut [u8]) -> usize {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return start;
        }
    }
}

/// Fills `buffer` with a number's last digits, zeros before them.
pub(crate) fn put_padded(mut value: u64, buffer: &mut [u8]) {
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_needs_digits_on_both_sides() {
        for text in ["", ".5", "5.", "1.2.3", "-1", "+1", "1e9", "nan", "0x1", "１"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn scaling_is_exact_and_says_what_it_cut() {
        fn scaled(text: &str, places: usize) -> Option<(i64, bool)> {
            Decimal::parse(text).unwrap().scaled(places)
        }
        assert_eq!(scaled("1700000000.1", 9), Some((1_700_000_000_100_000_000, false)));
        assert_eq!(scaled("0.1234567890", 9), Some((123_456_789, false)));
        assert_eq!(scaled("0.1234567891", 9), Some((123_456_789, true)));
        assert_eq!(scaled("9223372036.854775807", 9), Some((i64::MAX, false)));
        assert_eq!(scaled("9223372036.854775808", 9), None);
        assert_eq!(scaled(&"9".repeat(19), 0), None);
        assert_eq!(scaled(&"9".repeat(99), 0), None);
        assert_eq!(scaled(&format!("{}1.5", "0".repeat(99)), 2), Some((150, false)));
    }
}
