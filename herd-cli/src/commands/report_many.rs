//! Many reports, from a file or from standard input, over one stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;
use herd_cli::{MAX_BATCH_BYTES, MAX_BATCH_REPORTS, ReportStream};
use herd_proto::{Report, Violations, WHITE_SPACE};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Target, report};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, ViolationView};
use crate::output::{Answer, Output, printable};

/// Longest line, in bytes: a client id, the operands and JSON around them, several times over.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Lines read ahead of the node: one batch is on its way while the next fills.
const READ_AHEAD: usize = MAX_BATCH_REPORTS;

/// Most bytes that one report takes in a batch: id, two texts, and room for their framing.
const MAX_REPORT_BYTES: usize = 1024 + 2 * 128 + 64;

/// Most reports of a batch of ordinary reports: as many as fit even if each is of the largest
/// size, so that a batch never outgrows a message.
const BATCH: usize = if MAX_BATCH_BYTES / MAX_REPORT_BYTES < MAX_BATCH_REPORTS {
    MAX_BATCH_BYTES / MAX_REPORT_BYTES
} else {
    MAX_BATCH_REPORTS
};

pub(super) async fn run(
    file: Option<&Path>,
    min_peers: u32,
    target: &Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let reader: Box<dyn io::Read + Send> = match file {
        Some(path) if path != Path::new("-") => {
            let opened = File::open(path).with_context(|| path.display().to_string());
            Box::new(opened.map_err(|error| Failure::Usage(format!("{error:#}")))?)
        }
        _ => Box::new(io::stdin()),
    };
    let client = target.connect().await?.with_min_peers(min_peers);
    let mut stream = client.report_stream().await?;
    let (lines, mut queue) = mpsc::channel(READ_AHEAD);
    // Reading blocks, so it has a thread of its own; it ends with the input or with the queue.
    let mut reading = JoinSet::new();
    reading.spawn_blocking(move || read_lines(BufReader::new(reader), &lines));

    let mut total = Total::default();
    let mut lines = Vec::with_capacity(BATCH);
    // Takes what is there, so that a slow source is passed on at once.
    while queue.recv_many(&mut lines, BATCH).await > 0 {
        let sent = send(&mut stream, lines.drain(..), &mut total).await;
        let mut failures = sent.inspect_err(|_| {
            output.note(&format!("-- {} reports were taken before this --", total.taken));
        })?;
        failures.sort_by_key(|failure| failure.line);
        total.failed += failures.len() as u64;
        for failure in &failures {
            output.complaint(failure);
        }
    }
    if let Some(Ok(Err(error))) = reading.join_next().await {
        return Err(Failure::Other(anyhow::Error::new(error).context("cannot read the reports")));
    }
    output.answer(&total)?;
    Ok(if total.failed == 0 { ExitCode::Success } else { ExitCode::Partial })
}

/// One line of the input, or why there is none.
struct Line {
    number: u64,
    text: Result<String, String>,
}

/// Sends one batch and gathers what was wrong, here or there.
async fn send(
    stream: &mut ReportStream,
    lines: impl Iterator<Item = Line>,
    total: &mut Total,
) -> Result<Vec<FailedLine>, Failure> {
    let (mut numbers, mut reports, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for Line { number, text } in lines {
        let parsed = text
            .map_err(|problem| Violations::one("line", problem))
            .and_then(|text| parse_line(&text));
        match parsed {
            Ok(None) => {}
            Ok(Some(report)) => {
                numbers.push(number);
                reports.push(report);
            }
            Err(violations) => failures.push(FailedLine::new(number, &violations)),
        }
    }
    if reports.is_empty() {
        return Ok(failures);
    }
    let taken = stream.send(reports).await?;
    total.taken += (numbers.len().saturating_sub(taken.refused.len())) as u64;
    total.applied += u64::from(taken.applied);
    let refused = taken.refused.iter().filter_map(|refused| {
        Some(FailedLine::new(*numbers.get(refused.index)?, &refused.violations))
    });
    failures.extend(refused);
    Ok(failures)
}

/// A report as a JSON line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    id: String,
    /// In any notation that the command line takes.
    at: String,
    time: Option<String>,
}

/// Reads `ID COORDS [TIME]` or a JSON object; nothing in a blank line.
fn parse_line(text: &str) -> Result<Option<Report>, Violations> {
    let text = text.trim_matches(separates);
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') {
        let line: JsonLine =
            serde_json::from_str(text).map_err(|error| Violations::one("line", error))?;
        return report::parse(&line.id, &line.at, line.time.as_deref()).map(Some);
    }
    let words: Vec<_> = text.split(separates).filter(|word| !word.is_empty()).collect();
    let (id, at, time) = match *words {
        [id, at] => (id, at, None),
        [id, at, time] => (id, at, Some(time)),
        _ => return Err(Violations::one("line", "must be: ID COORDS [TIME]")),
    };
    report::parse(id, at, time).map(Some)
}

/// The white space of the text protocol; any other may be part of a client id.
fn separates(c: char) -> bool {
    u8::try_from(c).is_ok_and(|byte| WHITE_SPACE.contains(&byte))
}

/// Passes lines on until the input ends or nobody takes them.
fn read_lines(mut reader: impl BufRead, lines: &mpsc::Sender<Line>) -> io::Result<()> {
    for number in 1.. {
        let mut bytes = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = if bytes.len() > MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
            skip_line(&mut reader)?;
            Err(format!("must be at most {MAX_LINE_BYTES} bytes"))
        } else {
            String::from_utf8(bytes).map_err(|_| "must be UTF-8".into())
        };
        if lines.blocking_send(Line { number, text }).is_err() {
            break;
        }
    }
    Ok(())
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// What came of all lines.
#[derive(Debug, Default, Serialize)]
struct Total {
    /// Reports that the node took.
    taken: u64,
    /// Of these, the ones that were the newest of their clients.
    applied: u64,
    /// Lines that were refused, each told on standard error.
    failed: u64,
}

impl Answer for Total {
    const KIND: &'static str = "reports";

    fn text(&self) -> String {
        let Self { taken, applied, failed } = self;
        format!("{taken} reports taken, {applied} of them newest; {failed} failed\n")
    }
}

/// A line that was refused.
#[derive(Debug, Serialize)]
struct FailedLine {
    /// Counted from 1.
    line: u64,
    violations: Vec<ViolationView>,
}

impl FailedLine {
    fn new(line: u64, violations: &Violations) -> Self {
        Self { line, violations: violations.iter().map(Into::into).collect() }
    }
}

impl Answer for FailedLine {
    const KIND: &'static str = "failed_line";

    fn text(&self) -> String {
        let rules = self.violations.iter().map(|rule| {
            format!(
                "line {}: {}: {}\n",
                self.line,
                printable(&rule.field),
                printable(&rule.description)
            )
        });
        rules.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8]) -> Vec<Result<String, String>> {
        let (sender, mut receiver) = mpsc::channel(READ_AHEAD);
        read_lines(input, &sender).unwrap();
        drop(sender);
        std::iter::from_fn(|| receiver.try_recv().ok()).map(|line| line.text).collect()
    }

    #[test]
    fn words_and_json_say_the_same() {
        let words = parse_line("kiwi +34.07-118.44 1700000000.5\r\n").unwrap();
        let json = r#"{"id":"kiwi","at":"+34.07-118.44","time":"1700000000.5"}"#;
        assert!(words.is_some());
        assert_eq!(parse_line(json).unwrap(), words);
        assert_eq!(parse_line(" \t\n").unwrap(), None);
    }

    #[test]
    fn a_line_of_another_form_is_refused() {
        for text in ["kiwi", "kiwi 1,2 3 4", "{", r#"{"id":"a","at":"1,2","tiem":"3"}"#] {
            assert!(parse_line(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let mut input = vec![b'x'; MAX_LINE_BYTES];
        input.extend(b"\n");
        input.extend(vec![b'y'; MAX_LINE_BYTES * 3]);
        input.extend(b"\n\xff\nlast");
        let lines = lines_of(&input);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].is_ok());
        assert!(lines[1].as_ref().unwrap_err().contains("at most 16384 bytes"));
        assert!(lines[2].is_err());
        assert_eq!(lines[3].as_deref(), Ok("last"));
    }

    #[test]
    fn a_full_batch_of_the_largest_reports_fits_into_a_message() {
        use prost::Message as _;
        let digits = "0".repeat(120);
        let report = Report::from_operands(
            &"x".repeat(1024),
            &format!("+1.{}-1.{}", &digits[..60], &digits[..60]),
            &format!("1.{digits}"),
        );
        let reports = vec![report.unwrap().into_request(); BATCH];
        let size =
            herd_proto::v1::ReportStreamRequest { reports, ..Default::default() }.encoded_len();
        assert!(size <= MAX_BATCH_BYTES, "{size}");
    }
}
