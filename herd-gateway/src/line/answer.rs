//! What is written back. Each function appends to the output and ends the line.

use std::fmt::{self, Write as _};

use herd_proto::{Difference, LocationRecord};

use super::Echo;

/// What stands before the copy of a line that was not understood or could not be served.
pub const REFUSED: &[u8] = b"? ";

/// `? ` and a copy of the line.
pub fn refused(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(REFUSED);
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// The AT line that answers a report, from the operands the client itself wrote.
pub fn recorded(out: &mut Vec<u8>, origin: &str, difference: Difference, echo: &Echo) {
    out.extend_from_slice(b"AT ");
    out.extend_from_slice(origin.as_bytes());
    out.push(b' ');
    difference.put(out);
    for operand in echo.operands() {
        out.push(b' ');
        out.extend_from_slice(operand);
    }
    out.push(b'\n');
}

/// The AT line of a known location and the places around it, with the empty line that ends them.
pub fn places(out: &mut Vec<u8>, location: &LocationRecord, json: &str) {
    let LocationRecord { client, origin, .. } = location;
    let (difference, position, time) =
        (location.difference(), location.position_text(), location.time_text());
    put(out, format_args!("AT {origin} {difference} {client} {position} {time}\n{json}\n\n"));
}

/// Why there are no places, in the words of Google's Nearby Search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacesFailure {
    /// The provider could not be asked.
    Unreachable,
    /// The provider was asked, and did not answer in time.
    TimedOut,
    /// The provider refused the herd's credentials.
    Denied,
    /// The herd asked, or was asked, too often.
    OverLimit,
}

impl PlacesFailure {
    /// The body that the provider itself might have sent: same layout, keys in order.
    pub fn json(self) -> String {
        let (status, message) = match self {
            Self::Unreachable => ("UNKNOWN_ERROR", "The places provider could not be asked."),
            Self::TimedOut => ("UNKNOWN_ERROR", "The places provider did not answer in time."),
            Self::Denied => ("REQUEST_DENIED", "The places provider refused the credentials."),
            Self::OverLimit => ("OVER_QUERY_LIMIT", "Too many questions about places."),
        };
        format!(
            "{{\n   \"error_message\" : \"{message}\",\n   \"html_attributions\" : [],\n   \
             \"results\" : [],\n   \"status\" : \"{status}\"\n}}"
        )
    }
}

/// Appends text without an intermediate string.
fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Utf8<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Utf8<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A Vec takes everything, and the values above format without failing.
    let _ = Utf8(out).write_fmt(text);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use herd_proto::{NodeName, Report, Timestamp};

    use super::super::Command;
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answered_report_repeats_the_operands_and_not_their_values() {
        let Command::Iamat(iamat) =
            Command::parse(&Bytes::from_static(b"IAMAT kiwi +012.50-0118 0100.5"))
        else {
            panic!("not read");
        };
        let difference = Timestamp::parse("100").unwrap().since(iamat.echo.time);
        assert_eq!(
            written(|out| recorded(out, "Bailey", difference, &iamat.echo)),
            "AT Bailey -0.500000000 kiwi +012.50-0118 0100.5\n"
        );
    }

    #[test]
    fn a_query_is_answered_with_the_stored_difference_and_two_newlines() {
        let report = Report::from_operands("kiwi", "+12-118", "1.5").unwrap();
        let record = report.into_record(
            NodeName::parse("Bona").unwrap(),
            Timestamp::parse("1.750000001").unwrap(),
            0,
        );
        assert_eq!(
            written(|out| places(out, &record, "{}")),
            "AT Bona +0.250000001 kiwi +12-118 1.5\n{}\n\n"
        );
    }

    #[test]
    fn a_failure_of_the_provider_is_laid_out_as_its_own() {
        assert_eq!(
            PlacesFailure::Denied.json(),
            "{\n   \"error_message\" : \"The places provider refused the credentials.\",\n   \
             \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"REQUEST_DENIED\"\n}"
        );
    }
}
