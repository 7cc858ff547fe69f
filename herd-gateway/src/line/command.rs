use std::ops::Range;
use std::str;

use bytes::Bytes;
use herd_proto::{ClientId, MAX_RADIUS_METERS, MAX_RESULTS, Report, Timestamp, is_white_space};

/// What one line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Nothing but white space: not a command, and not answered.
    Blank,
    /// A client tells where it is.
    Iamat(Iamat),
    /// Somebody asks what is near a client.
    Whatsat(Whatsat),
    /// Anything else; answered by a copy.
    Invalid,
}

/// `IAMAT <client> <position> <time>`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iamat {
    /// What is reported.
    pub report: Report,
    /// What its answer repeats.
    pub echo: Echo,
}

/// What of an IAMAT line its answer repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// The client's clock.
    pub time: Timestamp,
    line: Bytes,
    /// Where the operands stand in the line.
    operands: [Range<u32>; 3],
}

/// `WHATSAT <client> <radius> <bound>`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Whatsat {
    /// Around whom.
    pub client: ClientId,
    /// How far, in metres, 0 to 50,000.
    pub radius_meters: f64,
    /// How many places at most, 0 to 20.
    pub bound: u32,
}

impl Echo {
    /// The line.
    pub fn line(&self) -> &Bytes {
        &self.line
    }

    /// The three operands, byte for byte as the client wrote them.
    pub fn operands(&self) -> [&[u8]; 3] {
        self.operands.each_ref().map(|at| &self.line[at.start as usize..at.end as usize])
    }
}

impl Command {
    /// Reads a line, given without its line end. Words are separated by one or more of the six
    /// white-space bytes, which may also lead and trail.
    pub fn parse(line: &Bytes) -> Self {
        let mut words = Words { line, at: 0 };
        let Some(verb) = words.next() else { return Self::Blank };
        let operands = [words.next(), words.next(), words.next(), words.next()];
        let [Some(first), Some(second), Some(third), None] = operands else {
            return Self::Invalid;
        };
        let command = match &line[verb] {
            b"IAMAT" => iamat(line, [first, second, third]),
            b"WHATSAT" => whatsat([&line[first], &line[second], &line[third]]),
            _ => None,
        };
        command.unwrap_or(Self::Invalid)
    }
}

/// Where the words of a line stand.
struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.pass(is_white_space);
        let end = self.pass(|byte| !is_white_space(byte));
        (start < end).then_some(start..end)
    }
}

impl Words<'_> {
    /// Passes over the bytes that are `wanted`; returns where the first other one stands.
    fn pass(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        while self.line.get(self.at).is_some_and(|byte| wanted(*byte)) {
            self.at += 1;
        }
        self.at
    }
}

fn iamat(line: &Bytes, operands: [Range<usize>; 3]) -> Option<Command> {
    // Words are whole characters: white space is ASCII.
    let text = str::from_utf8(line).ok()?;
    let [client, position, time] = operands.each_ref().map(|at| &text[at.clone()]);
    let report = Report::from_operands(client, position, time).ok()?;
    let time = report.time?;
    let operands = operands.map(|at| at.start as u32..at.end as u32);
    let echo = Echo { time, line: line.clone(), operands };
    Some(Command::Iamat(Iamat { report, echo }))
}

fn whatsat(operands: [&[u8]; 3]) -> Option<Command> {
    let [client, radius, bound] = texts(operands)?;
    Some(Command::Whatsat(Whatsat {
        client: ClientId::parse(client).ok()?,
        radius_meters: meters(radius)?,
        bound: count(bound)?,
    }))
}

fn texts(operands: [&[u8]; 3]) -> Option<[&str; 3]> {
    let [first, second, third] = operands.map(str::from_utf8);
    Some([first.ok()?, second.ok()?, third.ok()?])
}

/// Reads kilometres: an optional plus sign, digits, and perhaps a point with more digits.
fn meters(text: &str) -> Option<f64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, "0"),
    };
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    // Moving the point in the text, not multiplying by 1,000, rounds once and not twice.
    let meters: f64 = format!("{whole}.{fraction}e3").parse().ok()?;
    // The nearest double of a hair more than the limit is the limit itself.
    let beyond =
        whole.trim_start_matches('0') == "50" && fraction.bytes().any(|digit| digit != b'0');
    (meters <= MAX_RADIUS_METERS && !beyond).then_some(meters)
}

/// Reads a count: digits with an optional plus sign.
fn count(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    // The sign was taken off above, and `parse` would take a second one.
    let count = all_digits(digits).then(|| digits.parse().ok())??;
    (count <= MAX_RESULTS).then_some(count)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &[u8]) -> Command {
        Command::parse(&Bytes::copy_from_slice(line))
    }

    fn near(line: &str) -> Option<(f64, u32)> {
        match parse(line.as_bytes()) {
            Command::Whatsat(query) => Some((query.radius_meters, query.bound)),
            _ => None,
        }
    }

    #[test]
    fn a_report_keeps_its_operands_to_the_byte() {
        let Command::Iamat(iamat) = parse(b" \tIAMAT\x0b caf\xc3\xa9\r+12-118\x0c0 ") else {
            panic!("not read");
        };
        assert_eq!(iamat.echo.operands(), [&b"caf\xc3\xa9"[..], b"+12-118", b"0"]);
        assert_eq!(iamat.echo.time, Timestamp::EPOCH);
    }

    #[test]
    fn only_white_space_is_blank() {
        for line in ["", " ", "\t\r\x0b\x0c "] {
            assert_eq!(parse(line.as_bytes()), Command::Blank);
        }
    }

    #[test]
    fn everything_else_is_invalid() {
        for line in [
            &b"HELLO"[..],
            b"?",
            b"iamat kiwi +1-1 1",
            b"IAMATkiwi +1-1 1 2",
            b"IAMAT",
            b"IAMAT kiwi +1-1",
            b"IAMAT kiwi +1-1 1 2",
            b"IAMAT kiwi 1-1 1",
            b"IAMAT kiwi +1-1 noon",
            b"IAMAT caf\xe9 +1-1 1",
            b"AT Bailey +0.1 kiwi +1-1 1",
            b"WHATSAT kiwi 10",
            b"WHATSAT kiwi 10 5 7",
            b"WHATSAT \xff 10 5",
        ] {
            assert_eq!(parse(line), Command::Invalid, "{}", line.escape_ascii());
        }
        let id = "x".repeat(ClientId::MAX_BYTES + 1);
        assert_eq!(parse(format!("WHATSAT {id} 1 1").as_bytes()), Command::Invalid);
    }

    #[test]
    fn the_radius_is_in_kilometres_up_to_50() {
        for (text, meters) in [
            ("10", 10_000.0),
            ("+10", 10_000.0),
            ("0", 0.0),
            ("2.5", 2_500.0),
            ("10.5871263", 10_587.126_3),
            ("0.001", 1.0),
            ("050.000", 50_000.0),
        ] {
            assert_eq!(near(&format!("WHATSAT kiwi {text} 5")), Some((meters, 5)), "{text}");
        }
        for text in [
            "51",
            "50.00000000000000000001",
            "-1",
            "-0",
            "ten",
            "nan",
            "inf",
            "1e1",
            "++1",
            "+",
            "1.",
            ".5",
            "1.5.5",
            "0x1",
            "99999999999999999999",
        ] {
            assert_eq!(near(&format!("WHATSAT kiwi {text} 5")), None, "{text}");
        }
    }

    #[test]
    fn the_bound_is_a_count_up_to_20() {
        for (text, bound) in [("0", 0), ("20", 20), ("+7", 7), ("007", 7)] {
            assert_eq!(near(&format!("WHATSAT kiwi 1 {text}")), Some((1_000.0, bound)), "{text}");
        }
        for text in ["21", "-5", "5.5", "five", "+", "++5", "99999999999999999999"] {
            assert_eq!(near(&format!("WHATSAT kiwi 1 {text}")), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_operands_panic(verb in "IAMAT|WHATSAT", rest in "[ \t+.0-9a-zé-]{0,60}") {
            let _ = parse(format!("{verb} {rest}").as_bytes());
        }
    }
}
