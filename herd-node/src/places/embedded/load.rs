//! Reads a table from an operator's file, which may be large, wrong, or no file at all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use super::row::{Ledger, Row};
use super::{csv, geonames};

/// Most rows of a table: about a gigabyte of memory.
const MAX_ROWS: usize = 5_000_000;

/// Longest line, in bytes. GeoNames' alternate names take up to 10,000 characters.
const MAX_LINE: usize = 64 << 10;

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) form: Form,
}

/// The form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The project's own.
    Csv,
    /// 19 columns parted by tabs.
    GeoNames,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is no regular file")]
    NoFile,
    #[error("line {line} {problem}")]
    Row { line: usize, problem: &'static str },
    #[error("has more than {0} rows")]
    TooMany(usize),
    #[error("has no rows")]
    Empty,
}

/// Reads a whole file. It blocks, for seconds where there are millions of rows.
pub(super) fn from_file(path: &Path) -> Result<Table, LoadError> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(LoadError::NoFile);
    }
    read(BufReader::new(File::open(path)?), MAX_ROWS)
}

/// Reads rows; the first one tells their form. All of a table is good, or none.
pub(super) fn read(mut source: impl BufRead, max_rows: usize) -> Result<Table, LoadError> {
    let (mut rows, mut ledger, mut form) = (Vec::new(), Ledger::default(), None);
    let mut bytes = Vec::new();
    for number in 1.. {
        let wrong = |problem| LoadError::Row { line: number, problem };
        bytes.clear();
        let limit = MAX_LINE as u64 + 2;
        if source.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8"))?;
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.len() > MAX_LINE {
            return Err(wrong("is longer than 64 KiB"));
        }
        if csv::is_blank(line) {
            continue;
        }
        let detect = || if geonames::is_row(line) { Form::GeoNames } else { Form::Csv };
        let row = match *form.get_or_insert_with(detect) {
            Form::Csv => csv::read(line, &mut ledger),
            Form::GeoNames => geonames::read(line, &mut ledger),
        };
        if rows.len() >= max_rows {
            return Err(LoadError::TooMany(max_rows));
        }
        rows.push(row.map_err(wrong)?);
    }
    match form {
        Some(form) => Ok(Table { rows, form }),
        None => Err(LoadError::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "A,1,2,3,museum,T,FJ";

    fn load(text: impl AsRef<[u8]>) -> Result<Table, String> {
        read(text.as_ref(), 3).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_row_tells_the_form() {
        let csv = load(format!(
            "\u{feff}# note\r\n\r\nname,lat,lng,rank,types,vicinity,country\r\n{ROW}\r\n{ROW}"
        ));
        let csv = csv.unwrap();
        assert_eq!((csv.form, csv.rows.len()), (Form::Csv, 2));
        assert_ne!(csv.rows[0].id, csv.rows[1].id);
        let geonames = load("1\tA\tA\t\t1\t2\tP\tPPL\tFJ\t\t\t\t\t\t\t\t\t\t2025-01-01\n").unwrap();
        assert_eq!((geonames.form, geonames.rows.len()), (Form::GeoNames, 1));
    }

    #[test]
    fn a_table_that_is_wrong_anywhere_is_refused_with_the_line() {
        let wrong = |text: &[u8]| load(text).unwrap_err();
        assert_eq!(wrong(b""), "has no rows");
        assert_eq!(wrong(b"# nothing\n"), "has no rows");
        let second = format!("#\n{ROW}\nB,91,2,3,museum,T,FJ\n");
        assert_eq!(wrong(second.as_bytes()), "line 3 must have degrees in range");
        assert_eq!(wrong(b"A\xff,1,2,3,museum,T,FJ"), "line 1 is not UTF-8");
        let long = format!("{ROW}\n{}", "x".repeat(MAX_LINE + 1));
        assert_eq!(wrong(long.as_bytes()), "line 2 is longer than 64 KiB");
        assert!(wrong("x".repeat(MAX_LINE).as_bytes()).contains("seven fields"));
        let many = format!("{ROW}\n").repeat(4);
        assert_eq!(wrong(many.as_bytes()), "has more than 3 rows");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let told = |path: &str| from_file(Path::new(path)).unwrap_err().to_string();
        assert_eq!(told("/dev/zero"), "is no regular file");
        assert_eq!(told("/"), "is no regular file");
        assert!(told("/nonexistent/places.csv").starts_with("cannot be read:"));
    }
}
