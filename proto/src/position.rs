use std::fmt;
use std::str::FromStr;

use crate::decimal::{self, Decimal};

const UNITS_PER_DEGREE: f64 = 1e7;

/// The Earth's mean radius, in metres.
pub const EARTH_RADIUS_METERS: f64 = 6_371_008.8;

/// A latitude and a longitude in whole steps of 1e-7 degree (about 1.1 cm), so that equal
/// positions compare equal.
///
/// The canonical text is ISO 6709: sign, two integer digits of latitude, six decimals (seven
/// where the seventh is not zero), then the same with three digits for the longitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    latitude_e7: i32,
    longitude_e7: i32,
}

impl Position {
    const MAX_LATITUDE_E7: i32 = 90 * 10_000_000;
    const MAX_LONGITUDE_E7: i32 = 180 * 10_000_000;

    /// From degrees times 10,000,000; `None` beyond 90 or 180 degrees.
    pub fn from_e7(latitude_e7: i32, longitude_e7: i32) -> Option<Self> {
        let fits = latitude_e7.unsigned_abs() <= Self::MAX_LATITUDE_E7.unsigned_abs()
            && longitude_e7.unsigned_abs() <= Self::MAX_LONGITUDE_E7.unsigned_abs();
        fits.then_some(Self { latitude_e7, longitude_e7 })
    }

    /// From degrees, rounded to the nearest step. NaN and infinities are out of range.
    pub fn from_degrees(latitude: f64, longitude: f64) -> Result<Self, PositionError> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(PositionError::Latitude);
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(PositionError::Longitude);
        }
        let units = |degrees: f64| (degrees * UNITS_PER_DEGREE).round() as i32;
        Ok(Self { latitude_e7: units(latitude), longitude_e7: units(longitude) })
    }

    /// Reads ISO 6709 decimal degrees: two signed numbers without a space, such as
    /// `+34.068930-118.445127`. Decimals after the seventh are rounded.
    pub fn parse(text: &str) -> Result<Self, PositionError> {
        let (latitude, rest) = signed(text, Self::MAX_LATITUDE_E7)?;
        let latitude_e7 = latitude.ok_or(PositionError::Latitude)?;
        let (longitude, rest) = signed(rest, Self::MAX_LONGITUDE_E7)?;
        let longitude_e7 = longitude.ok_or(PositionError::Longitude)?;
        if rest.is_empty() {
            Ok(Self { latitude_e7, longitude_e7 })
        } else {
            Err(PositionError::NotIso6709)
        }
    }

    /// Whether `text`, which must be a position, is its canonical text.
    pub(crate) fn is_canonical(self, text: &str) -> bool {
        // 23 bytes: two signs, two points, 2 + 6 and 3 + 6 digits; two more for seventh digits.
        (21..=23).contains(&text.len()) && self.text(&mut [0; Self::MAX_TEXT_BYTES]) == text
    }

    const MAX_TEXT_BYTES: usize = 23;

    fn text(self, buffer: &mut [u8; Self::MAX_TEXT_BYTES]) -> &str {
        let latitude = put_degrees(self.latitude_e7, 2, &mut buffer[..]);
        let longitude = put_degrees(self.longitude_e7, 3, &mut buffer[latitude..]);
        str::from_utf8(&buffer[..latitude + longitude]).unwrap_or_default()
    }

    /// Degrees north times 10,000,000.
    pub const fn latitude_e7(self) -> i32 {
        self.latitude_e7
    }

    /// Degrees east times 10,000,000.
    pub const fn longitude_e7(self) -> i32 {
        self.longitude_e7
    }

    /// Degrees north.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude_e7) / UNITS_PER_DEGREE
    }

    /// Degrees east.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude_e7) / UNITS_PER_DEGREE
    }

    /// The distance along a great circle of the mean Earth, in metres. Within 0.6 % of that on the
    /// ellipsoid.
    pub fn distance_meters(self, to: Self) -> f64 {
        let (from_lat, to_lat) = (self.latitude().to_radians(), to.latitude().to_radians());
        let half_lat = ((to_lat - from_lat) / 2.0).sin();
        let half_lng = ((to.longitude() - self.longitude()).to_radians() / 2.0).sin();
        let haversine = half_lat * half_lat + from_lat.cos() * to_lat.cos() * half_lng * half_lng;
        // Rounding can lift the haversine of antipodes over 1, where the arc sine is no number.
        2.0 * EARTH_RADIUS_METERS * haversine.sqrt().min(1.0).asin()
    }
}

/// Reads a sign and a decimal. The number is `None` where it is beyond `max` in 1e-7 steps.
fn signed(text: &str, max: i32) -> Result<(Option<i32>, &str), PositionError> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(PositionError::NotIso6709),
    };
    let (number, rest) = Decimal::split_from(digits).ok_or(PositionError::NotIso6709)?;
    let units = number.scaled(7).and_then(|(cut, inexact)| {
        let max = i64::from(max);
        let beyond = cut > max || (cut == max && inexact);
        let rounded = cut + i64::from(number.digit_after(7) >= 5);
        (!beyond).then(|| sign * rounded.min(max) as i32)
    });
    Ok((units, rest))
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; Self::MAX_TEXT_BYTES]))
    }
}

/// Writes a sign, whole degrees of `width` digits, a point and six decimals, or seven where the
/// last is not zero. Returns how many bytes that were.
fn put_degrees(units: i32, width: usize, buffer: &mut [u8]) -> usize {
    let (degrees, fraction) =
        (units.unsigned_abs() / 10_000_000, units.unsigned_abs() % 10_000_000);
    let point = 1 + width;
    buffer[0] = if units < 0 { b'-' } else { b'+' };
    decimal::put_padded(degrees.into(), &mut buffer[1..point]);
    buffer[point] = b'.';
    let decimals = point + 1;
    if fraction.is_multiple_of(10) {
        decimal::put_padded(u64::from(fraction / 10), &mut buffer[decimals..decimals + 6]);
        decimals + 6
    } else {
        decimal::put_padded(fraction.into(), &mut buffer[decimals..decimals + 7]);
        decimals + 7
    }
}

/// Why something is no [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// Not two signed decimal numbers.
    #[error("must be latitude and longitude with both signs, such as +34.068930-118.445127")]
    NotIso6709,
    /// Latitude beyond a pole, or not a number.
    #[error("latitude must be between -90 and 90")]
    Latitude,
    /// Longitude beyond half a turn, or not a number.
    #[error("longitude must be between -180 and 180")]
    Longitude,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn e7(text: &str) -> Result<(i32, i32), PositionError> {
        Position::parse(text).map(|position| (position.latitude_e7, position.longitude_e7))
    }

    #[test]
    fn decimal_degrees_of_any_padding_are_read() {
        assert_eq!(e7("+34.068930-118.445127"), Ok((340_689_300, -1_184_451_270)));
        assert_eq!(e7("+27.5916+086.5640"), Ok((275_916_000, 865_640_000)));
        assert_eq!(e7("+12-118"), Ok((120_000_000, -1_180_000_000)));
        assert_eq!(e7("+90.0-180.0"), Ok((900_000_000, -1_800_000_000)));
        assert_eq!(e7("-0.00000005+0.00000004"), Ok((-1, 0)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "+",
            "34.0-118.4",
            "+34.0",
            "+34.0x-118.4",
            "+34.0,-118.4",
            "++34.0-118.4",
            "+34.0-118.4+71.0",
            "+34.-118.4",
            "+.5-118.4",
            "+34.0-118.4/",
            "+3é-1",
            "+1e1-1",
        ] {
            assert_eq!(e7(text), Err(PositionError::NotIso6709), "{text:?}");
        }
        for text in ["+91.0-118.4", "+90.00000000001+0", "-99999999999999999999999+0"] {
            assert_eq!(e7(text), Err(PositionError::Latitude), "{text:?}");
        }
        assert_eq!(e7("+34.0-181.0"), Err(PositionError::Longitude));
        assert_eq!(e7("+34.0-180.000000001"), Err(PositionError::Longitude));
    }

    #[test]
    fn degrees_that_are_no_number_are_refused() {
        for wrong in [f64::NAN, f64::INFINITY, -90.1, 91.0] {
            assert_eq!(Position::from_degrees(wrong, 0.0), Err(PositionError::Latitude));
        }
        assert_eq!(Position::from_degrees(0.0, f64::NAN), Err(PositionError::Longitude));
    }

    #[test]
    fn distances_are_those_of_a_great_circle() {
        let at = |latitude, longitude| Position::from_degrees(latitude, longitude).unwrap();
        let near = |found: f64, expected: f64| (found - expected).abs() < 1.0;
        let degree = EARTH_RADIUS_METERS.to_radians();
        assert!(near(at(0.0, 0.0).distance_meters(at(0.0, 1.0)), degree));
        assert!(near(at(0.0, 179.5).distance_meters(at(0.0, -179.5)), degree));
        assert!(near(at(90.0, 0.0).distance_meters(at(90.0, 120.0)), 0.0));
        assert!(near(at(89.5, 0.0).distance_meters(at(89.5, 180.0)), degree));
        let half_way_round = at(0.0, 0.0).distance_meters(at(0.0, 180.0));
        assert!(near(half_way_round, 180.0 * degree));
    }

    proptest! {
        #[test]
        fn the_canonical_text_reads_back(lat in -900_000_000..=900_000_000, lon in -1_800_000_000..=1_800_000_000) {
            let position = Position::from_e7(lat, lon).unwrap();
            let text = position.to_string();
            prop_assert_eq!(Position::parse(&text), Ok(position));
            prop_assert!(position.is_canonical(&text));
            prop_assert_eq!(Position::from_degrees(position.latitude(), position.longitude()), Ok(position));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Position::parse(&text);
        }
    }
}
