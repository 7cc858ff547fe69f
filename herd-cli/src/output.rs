//! The only place that prints: data on standard output, everything else on standard error.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use anstream::AutoStream;
use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// The name of the form of all JSON objects. Fields may be added to it; a change of any other
/// kind changes the name.
const SCHEMA: &str = "herd.cli/v1";

const HEADING: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document; streams print one object a line.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// What a command has to say.
pub(crate) trait Answer: Serialize {
    /// What kind of object it is in JSON.
    const KIND: &'static str;

    /// For people; each line ends with a newline.
    fn text(&self) -> String;

    /// Its parts with their kinds, where it is a list; `jsonl` prints them, a line each, in
    /// place of the whole.
    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        None
    }
}

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    schema: &'static str,
    kind: &'a str,
    #[serde(flatten)]
    content: T,
}

/// Standard output and standard error, with colours where somebody looks at them.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<AutoStream<io::Stdout>>,
    err: AutoStream<io::Stderr>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let out = BufWriter::new(AutoStream::auto(io::stdout()));
        Self { format, out, err: AutoStream::auto(io::stderr()) }
    }

    /// The form of the output.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether somebody looks at the output, and can be shown a table that changes.
    pub(crate) fn is_terminal(&self) -> bool {
        self.format == Format::Table && io::stdout().is_terminal()
    }

    /// Shows something in passing where somebody looks: it takes the place of what was shown so
    /// before.
    pub(crate) fn passing(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            let _ = write!(self.err, "\r\u{1b}[K{}", printable(text));
        }
    }

    /// Prints the whole answer of a command.
    pub(crate) fn answer<A: Answer>(&mut self, answer: &A) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.raw(&answer.text()),
            Format::Json => {
                let envelope = Envelope { schema: SCHEMA, kind: A::KIND, content: answer };
                serde_json::to_writer_pretty(&mut self.out, &envelope)
                    .map_err(io::Error::from)
                    .and_then(|()| self.out.write_all(b"\n"))
                    .map_err(Failure::writing)
            }
            Format::Jsonl => match answer.parts() {
                None => self.object(A::KIND, answer),
                Some(parts) => parts.iter().try_for_each(|(kind, part)| self.object(kind, part)),
            },
        }
    }

    /// Prints one element of a stream; it leaves with the next `flush`.
    pub(crate) fn element<A: Answer>(&mut self, element: &A) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.raw(&element.text()),
            Format::Json | Format::Jsonl => self.object(A::KIND, element),
        }
    }

    /// Prints text as it is.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).map_err(Failure::writing)
    }

    fn object(&mut self, kind: &str, content: &impl Serialize) -> Result<(), Failure> {
        self.raw(&one_line(kind, content))
    }

    /// Hands everything over. A full disk shows here, if not before.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::writing)
    }

    /// Checks whether whoever read standard output has gone, as `head` does once it has enough.
    pub(crate) fn check_reader() -> Result<(), Failure> {
        let out = io::stdout();
        let mut asked = [PollFd::new(&out, PollFlags::empty())];
        let gone = PollFlags::ERR | PollFlags::HUP;
        match poll(&mut asked, Some(&Timespec::default())) {
            Ok(_) if asked[0].revents().intersects(gone) => Err(Failure::OutputClosed),
            // Who cannot be asked is found to be gone by what is written.
            _ => Ok(()),
        }
    }

    /// Tells people something that is no data. Who has closed standard error does not listen.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", printable(text));
    }

    /// Tells of a part that failed while the command goes on.
    pub(crate) fn complaint<A: Answer>(&mut self, part: &A) {
        let text = match self.format {
            Format::Table => part.text(),
            Format::Json | Format::Jsonl => one_line(A::KIND, part),
        };
        let _ = self.err.write_all(text.as_bytes());
    }

    /// Tells why the command came to nothing.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let view = failure.view();
        let text = if self.format == Format::Table {
            let mut text = format!("{ERROR}error:{ERROR:#} {}\n", lines(&view.message));
            for rule in &view.violations {
                let _ = writeln!(
                    text,
                    "  field  {}: {}",
                    printable(&rule.field),
                    printable(&rule.description)
                );
            }
            if let Some(hint) = &view.hint {
                let _ = writeln!(text, "  hint   {hint}");
            }
            text
        } else {
            one_line("error", &view)
        };
        let _ = self.err.write_all(text.as_bytes());
    }
}

fn one_line(kind: &str, content: &impl Serialize) -> String {
    let envelope = Envelope { schema: SCHEMA, kind, content };
    // Fails for maps with keys that are no text only, and there are none.
    serde_json::to_string(&envelope).map(|text| text + "\n").unwrap_or_default()
}

/// Rows under a heading, in aligned columns without a frame, so that it pastes well.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = format!("{HEADING}{}{HEADING:#}\n", line(heading));
    for row in rows {
        text += &line(row.each_ref().map(String::as_str));
        text.push('\n');
    }
    text
}

/// Text from elsewhere, with control characters written out: a name must not be able to steer
/// a terminal.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["kiwi".into(), "1".into()], ["é".into(), String::new()]];
        let plain = anstream::adapter::strip_str(&table(["ID", "N"], &rows)).to_string();
        assert_eq!(plain, "ID    N\nkiwi  1\né\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\rd é"), "a\\u{1b}[2Jb\\u{9b}c\\rd é");
    }
}
