//! The ways in which people write a position.

mod sexagesimal;

use herd_proto::{Position, PositionError};

/// A position as a person gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Coordinates {
    /// ISO 6709, to be echoed as it was written.
    Iso6709(String),
    /// Two numbers of degrees.
    Degrees(Position),
}

/// Why a text is no position; the rule is quoted, and what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CoordinatesError {
    #[error("must be like 34.07,-118.44 or +34.07-118.44 or 34°04'12\"N 118°26'24\"W, got {0:?}")]
    Form(String),
    #[error("{rule}, got {given:?}")]
    Range {
        /// [`PositionError::Latitude`] or [`PositionError::Longitude`].
        rule: PositionError,
        given: String,
    },
}

impl Coordinates {
    /// Reads `34.07,-118.44`, `34.07 -118.44`, `+34.07-118.44`, and degrees with minutes and
    /// seconds, as `34°04'12"N 118°26'24"W` or as ISO 6709 `+340412-1182624/`.
    pub(crate) fn parse(text: &str) -> Result<Self, CoordinatesError> {
        let range = |rule| CoordinatesError::Range { rule, given: text.into() };
        if let Some((latitude, longitude)) = sexagesimal::parse(text) {
            let position = Position::from_degrees(latitude, longitude).map_err(range)?;
            return Ok(Self::Degrees(position));
        }
        match Position::parse(text) {
            Ok(_) => return Ok(Self::Iso6709(text.into())),
            Err(PositionError::NotIso6709) => {}
            Err(rule) => return Err(range(rule)),
        }
        let form = || CoordinatesError::Form(text.into());
        let (latitude, longitude) = text
            .trim()
            .split_once(',')
            .or_else(|| text.trim().split_once(char::is_whitespace))
            .ok_or_else(form)?;
        let degrees = |text: &str| decimal(text.trim()).ok_or_else(form);
        Position::from_degrees(degrees(latitude)?, degrees(longitude)?)
            .map(Self::Degrees)
            .map_err(range)
    }

    /// The position, without the way in which it was written.
    pub(crate) fn position(&self) -> Position {
        match self {
            // Was read from this text.
            Self::Iso6709(text) => Position::parse(text).unwrap_or_default(),
            Self::Degrees(position) => *position,
        }
    }
}

/// Reads a number without an exponent and without the words that floats know.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degrees(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::Degrees(Position::from_degrees(latitude, longitude).unwrap())
    }

    #[test]
    fn degrees_may_be_parted_by_a_comma_or_by_space() {
        for text in ["34.07,-118.44", "34.07, -118.44", " 34.07 -118.44 ", "+34.07\t-118.44"] {
            assert_eq!(Coordinates::parse(text), Ok(degrees(34.07, -118.44)), "{text:?}");
        }
        assert_eq!(Coordinates::parse("-33,151"), Ok(degrees(-33.0, 151.0)));
    }

    #[test]
    fn iso_6709_is_kept_as_written() {
        for text in ["+34.07-118.44", "+27.5916+086.5640", "-33+151"] {
            assert_eq!(Coordinates::parse(text), Ok(Coordinates::Iso6709(text.into())));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", ",", "34.07", "34.07,", "1,2,3", "nan,0", "inf,0", "1e1,0", "--1,2", "a b"]
        {
            let error = Coordinates::parse(text).unwrap_err();
            assert_eq!(error, CoordinatesError::Form(text.into()));
        }
    }

    #[test]
    fn a_pole_is_the_limit_in_every_form() {
        for text in ["91,0", "-90.1 0", "+91+0"] {
            let error = Coordinates::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("latitude must be between -90 and 90"), "{error}");
        }
        for text in ["0,181", "0 -180.5", "+0-181"] {
            let error = Coordinates::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("longitude must be between -180 and 180"), "{error}");
        }
    }
}
