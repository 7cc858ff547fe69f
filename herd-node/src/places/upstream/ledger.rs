use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::quota::Used;

/// In the data directory.
const FILE: &str = "places-quota";
const UNFINISHED: &str = "places-quota.tmp";

/// A line takes at most 32 bytes; what is longer is no ledger.
const MAX_BYTES: u64 = 64;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// How many calls a day has seen, in a file of one line such as `2026-11-27 123`, which a person
/// can read and remove.
///
/// It is replaced as a whole and left to the operating system: that survives the process, and a
/// power cut takes back the last seconds at most.
#[derive(Debug)]
pub(super) struct Ledger {
    directory: PathBuf,
    written: Used,
    /// A warning was logged since the last success.
    complained: bool,
}

impl Ledger {
    /// Reads the one in `directory`. One that is not there or not readable counts as empty.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let written = read(&path).unwrap_or_else(|problem| {
            if problem.kind() != io::ErrorKind::NotFound {
                let file = path.display();
                tracing::warn!(%file, %problem, "the day's places requests are counted from 0");
            }
            Used::default()
        });
        Self { directory: directory.into(), written, complained: false }
    }

    /// What the file says.
    pub(super) fn written(&self) -> Used {
        self.written
    }

    /// Replaces what the file says. Blocks.
    pub(super) fn write(&mut self, used: Used) {
        let path = self.directory.join(FILE);
        match replace(&self.directory.join(UNFINISHED), &path, &line(used)) {
            Ok(()) => {
                self.written = used;
                self.complained = false;
            }
            Err(problem) if !self.complained => {
                self.complained = true;
                let file = path.display();
                tracing::warn!(%file, %problem, "a restart would forget the day's places requests");
            }
            Err(_) => {}
        }
    }
}

fn replace(unfinished: &Path, path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
    file.write_all(line.as_bytes())?;
    fs::rename(unfinished, path)
}

fn read(path: &Path) -> io::Result<Used> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other("must be a date and a number"))
}

fn line(used: Used) -> String {
    let seconds = used.day.saturating_mul(SECONDS_A_DAY);
    let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let time = humantime::format_rfc3339_seconds(midnight).to_string();
    let date = time.split('T').next().unwrap_or_default();
    format!("{date} {}\n", used.calls)
}

fn parse(text: &str) -> Option<Used> {
    let (date, calls) = text.strip_suffix('\n')?.split_once(' ')?;
    let midnight = humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).ok()?;
    let since = midnight.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Used { day: since.as_secs() / SECONDS_A_DAY, calls: calls.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_a_line_for_people_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let used = Used { day: 20_784, calls: 123 };
        Ledger::open(folder.path()).write(used);
        let file = folder.path().join(FILE);
        assert_eq!(fs::read_to_string(&file).unwrap(), "2026-11-27 123\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Ledger::open(folder.path()).written(), used);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_is_no_ledger_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("2026-11-27 {}\n", "1".repeat(100));
        for text in ["", "\n", "2026-11-27", "2026-11-27 12", "2026-13-01 1\n", "x 1\n", &long] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(Ledger::open(folder.path()).written(), Used::default(), "{text:?}");
        }
        fs::write(folder.path().join(FILE), [0xff, 0xfe]).unwrap();
        assert_eq!(Ledger::open(folder.path()).written(), Used::default());
    }

    #[test]
    fn one_that_was_half_written_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(UNFINISHED), "20").unwrap();
        let used = Used { day: 1, calls: 2 };
        Ledger::open(folder.path()).write(used);
        assert_eq!(Ledger::open(folder.path()).written(), used);
    }
}
