//! AT lines as the servers of the original herd tell them to each other.
//!
//! The protocol leaves the form of these lines to each design; this is the common one, which is
//! also what a client is answered: `AT <origin> <difference> <client> <position> <time>`. Some
//! designs add words behind that, such as the servers that the line has been through.

use std::str;

use herd_proto::{LocationRecord, NodeName, Report, Timestamp, WHITE_SPACE};

/// Most words behind those that are read.
const MAX_EXTRA_WORDS: usize = 64;

/// Reads an AT line; `None` for any other, and for one that breaks a rule.
pub fn parse(line: &[u8]) -> Option<LocationRecord> {
    let line = str::from_utf8(line).ok()?;
    let separators = |c: char| u8::try_from(c).is_ok_and(|byte| WHITE_SPACE.contains(&byte));
    let mut words = line.split(separators).filter(|word| !word.is_empty());
    if words.next()? != "AT" {
        return None;
    }
    let origin = NodeName::parse(words.next()?).ok()?;
    let difference = nanos(words.next()?)?;
    let [client, position, time] = [words.next()?, words.next()?, words.next()?];
    if words.count() > MAX_EXTRA_WORDS {
        return None;
    }
    let report = Report::from_operands(client, position, time).ok()?;
    let received = report.time?.unix_nanos().checked_add(difference)?;
    Some(report.into_record(origin, Timestamp::from_unix_nanos(received)?, 0))
}

/// The line that tells a record, with its end.
pub fn line(record: &LocationRecord) -> String {
    let LocationRecord { client, origin, .. } = record;
    let (difference, position, time) =
        (record.difference(), record.position_text(), record.time_text());
    format!("AT {origin} {difference} {client} {position} {time}\n")
}

/// Reads seconds, with a sign or none, as nanoseconds. Other languages print what is less than a
/// ten-thousandth with an exponent, and some servers put a minus before what has one already.
fn nanos(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let digits = digits.strip_prefix('-').filter(|_| negative).unwrap_or(digits);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let exact = Timestamp::parse(digits).ok().map(Timestamp::unix_nanos);
    let rounded = || {
        let seconds: f64 = digits.parse().ok()?;
        (0.0..1e9).contains(&seconds).then_some((seconds * 1e9).round() as i64)
    };
    let nanos = exact.or_else(rounded)?;
    Some(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_one_server_writes_another_reads() {
        let text =
            "AT Bailey +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.9595\n";
        let record = parse(text.as_bytes()).unwrap();
        assert_eq!(
            (record.origin.as_str(), record.client.as_str()),
            ("Bailey", "kiwi.cs.ucla.edu")
        );
        assert_eq!(record.receive_time.unix_nanos(), 1_621_464_828_223_373_386);
        assert_eq!(line(&record), text);
    }

    #[test]
    fn differences_are_read_as_any_language_prints_them() {
        for (text, read) in [
            ("+0.5", Some(500_000_000)),
            ("-0.5", Some(-500_000_000)),
            ("12", Some(12_000_000_000)),
            ("+0.26387338600000001", Some(263_873_386)),
            ("+3.1e-05", Some(31_000)),
            ("-9.5367431640625e-07", Some(-954)),
            ("+1e300", None),
            ("--0.5", Some(-500_000_000)),
            ("+-5", None),
            ("---5", None),
            ("+inf", None),
            ("nan", None),
            ("+", None),
        ] {
            assert_eq!(nanos(text), read, "{text}");
        }
    }

    #[test]
    fn words_behind_are_passed_over_and_other_lines_are_none() {
        let read = |text: &str| parse(text.as_bytes()).map(|record| record.client.to_string());
        assert_eq!(read(" AT\tB +1 kiwi +1-1 9 Bona Clark\r").as_deref(), Some("kiwi"));
        let long = format!("AT B +1 kiwi +1-1 9{}", " x".repeat(MAX_EXTRA_WORDS + 1));
        for text in [
            "IAMAT kiwi +1-1 9",
            "AT B +1 kiwi +1-1",
            "AT B! +1 kiwi +1-1 9",
            "AT B soon kiwi +1-1 9",
            "AT B -10 kiwi +1-1 9",
            "AT B +1 kiwi here 9",
            &long,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse(b"AT B +1 \xff +1-1 9"), None);
    }

    proptest! {
        #[test]
        fn no_words_panic(rest in "[ +.0-9a-e-]{0,60}") {
            let _ = parse(format!("AT {rest}").as_bytes());
        }
    }
}
