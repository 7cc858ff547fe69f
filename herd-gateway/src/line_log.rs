//! A file with every text line that came in and went out.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Longest part of a line that is logged; the rest of a line that long tells nothing.
const LOGGED_BYTES_MAX: usize = 4 * 1024;

/// Most entries that wait for the disk. Nothing is dropped: when the disk does not keep up,
/// clients wait.
const QUEUE_ENTRIES: usize = 8 * 1024;

/// Which way a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
    /// Not a line; something about the connection.
    Note,
}

/// The log of one port, written by a thread of its own.
#[derive(Debug)]
pub(crate) struct LineLog {
    port: String,
    writer: NonBlocking,
    _flushes_when_dropped: WorkerGuard,
}

impl LineLog {
    /// Appends to `<directory>/<port>.log`; both are created if missing.
    pub(crate) fn open(directory: &Path, port: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{port}.log"));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(false)
            .buffered_lines_limit(QUEUE_ENTRIES)
            .thread_name("line-log")
            .finish(file);
        Ok(Self { port: port.into(), writer, _flushes_when_dropped: guard })
    }

    pub(crate) fn record(&self, connection: u64, direction: Direction, line: &[u8]) {
        let entry = entry(SystemTime::now(), &self.port, connection, direction, line);
        // Fails only when the writing thread is gone, and then there is nowhere to tell.
        let _ = self.writer.clone().write_all(entry.as_bytes());
    }
}

/// `2026-01-31T12:00:00.000000Z Bailey 7 < IAMAT ...`
fn entry(now: SystemTime, port: &str, id: u64, direction: Direction, line: &[u8]) -> String {
    let arrow = match direction {
        Direction::In => '<',
        Direction::Out => '>',
        Direction::Note => '-',
    };
    let (shown, cut) = line.split_at(line.len().min(LOGGED_BYTES_MAX));
    let mut entry = format!("{} {port} {id} {arrow} ", humantime::format_rfc3339_micros(now));
    escape(&mut entry, shown);
    if !cut.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(entry, " [{} more bytes]", cut.len());
    }
    entry.push('\n');
    entry
}

/// One line of readable text, from which the bytes can be told.
fn escape(entry: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                entry.extend(character.escape_default());
            } else {
                entry.push(character);
            }
        }
        let _ = write!(entry, "{}", chunk.invalid().escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(direction: Direction, line: &[u8]) -> String {
        entry(SystemTime::UNIX_EPOCH, "Bailey", 7, direction, line)
    }

    #[test]
    fn an_entry_tells_when_where_who_which_way_and_what() {
        assert_eq!(
            shown(Direction::In, "IAMAT caf\u{e9}".as_bytes()),
            "1970-01-01T00:00:00.000000Z Bailey 7 < IAMAT caf\u{e9}\n"
        );
    }

    #[test]
    fn whatever_the_bytes_the_entry_is_one_line_of_text() {
        assert!(
            shown(Direction::Out, b"a\nb\t\\ \xff\0").ends_with("> a\\nb\\t\\\\ \\xff\\u{0}\n")
        );
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let entry = shown(Direction::In, &[b'z'; LOGGED_BYTES_MAX + 5]);
        assert!(entry.ends_with("zz [5 more bytes]\n"));
        assert!(entry.len() < LOGGED_BYTES_MAX + 100);
    }
}
