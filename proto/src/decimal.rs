//! Plain decimal numbers, read exactly: digits with an optional fraction, no exponent, no sign.

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
        let mut value: i64 = 0;
        let kept = &self.fraction[..self.fraction.len().min(places)];
        for digit in self.integer.bytes().chain(kept.bytes()) {
            value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        }
        for _ in kept.len()..places {
            value = value.checked_mul(10)?;
        }
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
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
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
        let scaled = |text, places| Decimal::parse(text).unwrap().scaled(places);
        assert_eq!(scaled("1700000000.1", 9), Some((1_700_000_000_100_000_000, false)));
        assert_eq!(scaled("0.1234567890", 9), Some((123_456_789, false)));
        assert_eq!(scaled("0.1234567891", 9), Some((123_456_789, true)));
        assert_eq!(scaled("9223372036.854775807", 9), Some((i64::MAX, false)));
        assert_eq!(scaled("9223372036.854775808", 9), None);
        assert_eq!(scaled(&"9".repeat(99), 0), None);
    }
}
