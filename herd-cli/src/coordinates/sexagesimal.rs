//! Degrees with minutes and seconds.

/// Reads latitude and longitude, in degrees, of a text that has minutes in one of two forms; `None`
/// for any other text.
///
/// With marks: `34°04'12.5"N 118°26'24"W`, `34d 4m 12.5s N, 118d 26m 24s W`, `N34 04.2 W118 26.4`:
/// up to three numbers and a letter for each half. By ISO 6709: `+3404.2-11826.4` and
/// `+340412.5-1182624/`, told from degrees by the number of digits before the point.
pub(super) fn parse(text: &str) -> Option<(f64, f64)> {
    iso_6709(text.trim()).or_else(|| marked(text.trim()))
}

fn iso_6709(text: &str) -> Option<(f64, f64)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let middle = text.get(1..)?.find(['+', '-'])? + 1;
    let (latitude, longitude) = text.split_at_checked(middle)?;
    let half = |text: &str, degree_digits: usize| {
        let (sign, digits) = (text.get(..1)?, text.get(1..)?);
        let whole = digits.find('.').unwrap_or(digits.len());
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let has_seconds = match whole.checked_sub(degree_digits)? {
            2 => false,
            4 => true,
            _ => return None,
        };
        let (degrees, rest) = plain.then(|| digits.split_at_checked(degree_digits))??;
        let (minutes, seconds) = if has_seconds { rest.split_at_checked(2)? } else { (rest, "0") };
        let sign = if sign == "-" { -1.0 } else { 1.0 };
        Some((sign * together(&[degrees, minutes, seconds])?, has_seconds))
    };
    let (latitude, with_seconds) = half(latitude, 2)?;
    let (longitude, with_seconds_too) = half(longitude, 3)?;
    text.starts_with(['+', '-']).then_some(())?;
    (with_seconds == with_seconds_too).then_some((latitude, longitude))
}

fn marked(text: &str) -> Option<(f64, f64)> {
    let upper = text.to_uppercase();
    // An S after a number of seconds is the south only if nothing else is.
    let letters: Vec<_> = upper
        .char_indices()
        .filter(|(_, letter)| "NESW".contains(*letter))
        .filter(|(at, letter)| *letter != 'S' || !is_seconds(&upper, *at))
        .collect();
    let [(first_at, first), (second_at, second)] = *letters else { return None };
    let (latitude, longitude) = if first_at == 0 {
        upper.split_at_checked(second_at)?
    } else if second_at + 1 == upper.len() {
        upper.split_at_checked(first_at + 1)?
    } else {
        return None;
    };
    let half = |text: &str, letter: char| {
        let numbers: Vec<_> = text
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|part| !part.is_empty())
            .collect();
        let marks = text.chars().filter(|c| !(c.is_ascii_digit() || *c == '.' || *c == letter));
        let known = |c: char| c.is_whitespace() || "°º'′’\"″”DMS,:".contains(c);
        let degrees = marks.into_iter().all(known).then(|| together(&numbers))??;
        Some(if "SW".contains(letter) { -degrees } else { degrees })
    };
    let (one, other) = (half(latitude, first)?, half(longitude, second)?);
    match (first, second) {
        ('N' | 'S', 'E' | 'W') => Some((one, other)),
        ('E' | 'W', 'N' | 'S') => Some((other, one)),
        _ => None,
    }
}

/// Whether the S at `at` ends a number of seconds, as in `12s`: another letter of the compass comes
/// after it before any further digit.
fn is_seconds(upper: &str, at: usize) -> bool {
    let after_number = upper[..at].ends_with(|c: char| c.is_ascii_digit());
    let has_marks = upper[..at].contains(['D', 'M']);
    after_number && has_marks && upper[at + 1..].trim_start().starts_with(['N', 'E', 'S', 'W'])
}

/// Degrees, minutes and seconds; minutes and seconds are below 60, and only the last may have a
/// fraction.
fn together(parts: &[&str]) -> Option<f64> {
    if !(1..=3).contains(&parts.len()) {
        return None;
    }
    let (last, whole) = parts.split_last()?;
    let has_fraction = |part: &&str| part.contains('.');
    if whole.iter().any(has_fraction) && !last.trim_matches('0').is_empty() {
        return None;
    }
    let mut degrees = 0.0;
    for (part, unit) in parts.iter().zip([1.0, 60.0, 3600.0]) {
        let number: f64 = part.parse().ok()?;
        if unit > 1.0 && number >= 60.0 {
            return None;
        }
        degrees += number / unit;
    }
    Some(degrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UCLA: (f64, f64) = (34.07, -118.44);

    #[track_caller]
    fn is(text: &str, (latitude, longitude): (f64, f64)) {
        let (found, other) = parse(text).unwrap_or_else(|| panic!("not read: {text:?}"));
        let near = (found - latitude).abs() < 1e-9 && (other - longitude).abs() < 1e-9;
        assert!(near, "{text:?}: {found}, {other}");
    }

    #[test]
    fn marks_letters_and_order_may_be_chosen() {
        for text in [
            "34°04'12\"N 118°26'24\"W",
            "34°4′12″N, 118°26′24″W",
            "34 04 12 N 118 26 24 W",
            "N34 04.2 W118 26.4",
            "34d04m12sN 118d26m24sW",
            "34d 4m 12s n, 118d 26m 24s w",
            "118°26'24\"W 34°04'12\"N",
            "34.07N 118.44W",
            "34:04:12N 118:26:24W",
        ] {
            is(text, UCLA);
        }
        is("33°52'12\"S 151°12'36\"E", (-33.87, 151.21));
        is("S33 52 12 E151 12 36", (-33.87, 151.21));
        is("33d52m12sS 151d12m36sE", (-33.87, 151.21));
    }

    #[test]
    fn iso_6709_has_minutes_where_there_are_digits_for_them() {
        is("+3404.2-11826.4", UCLA);
        is("+340412-1182624/", UCLA);
        is("-335212.0+1511236.0/", (-33.87, 151.21));
    }

    #[test]
    fn anything_else_is_left_to_others() {
        for text in [
            "",
            "kiwi",
            "34.07,-118.44",
            "+34.07-118.44",
            "+34.07-118.44/",
            "NEWS",
            "N W",
            "34°04'12\"N",
            "34°60'N 118°W",
            "34 4.5 12 N 118 W",
            "1 2 3 4 N 5 E",
            "34N 118N",
            "+3404.2-118.44",
            "+3460-11826",
            "34x04N 118W",
            "+3404é-11826",
            "snow",
            "S1 W",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
