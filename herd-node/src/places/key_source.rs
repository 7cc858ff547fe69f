use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::key::Key;

/// How often the file is looked at, at most: one `stat` a second costs nothing, and a new key is
/// in use a second after it was written.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where the key comes from. Clones share what was read.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    /// The provider needs none.
    None,
    /// From the environment.
    Fixed(Key),
    /// From a file, which may be written anew at any time.
    File(Arc<KeyFile>),
}

/// A key, and whether it differs from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) key: Option<Key>,
    pub(super) is_new: bool,
}

impl KeySource {
    /// The key in the file at `path`.
    ///
    /// # Errors
    /// The problem, for a person to read. The file's content is never quoted.
    pub(super) fn file(path: &Path) -> Result<Self, String> {
        let stamp = Stamp::of(path).ok();
        let key = read(path)?;
        let read = ReadKey { key, stamp, looked_at: None, complained: false };
        Ok(Self::File(Arc::new(KeyFile { path: path.into(), read: Mutex::new(read) })))
    }

    /// Whether there is a key at all.
    pub(super) fn has_key(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The key of this moment. A file that changed is read again; if it cannot be read or holds
    /// no key, the one before stays in use.
    pub(super) fn current(&self) -> Current {
        match self {
            Self::None => Current { key: None, is_new: false },
            Self::Fixed(key) => Current { key: Some(key.clone()), is_new: false },
            Self::File(file) => file.current(),
        }
    }
}

/// The key of a file, and the file as it was when it was read.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    read: Mutex<ReadKey>,
}

#[derive(Debug)]
struct ReadKey {
    key: Key,
    stamp: Option<Stamp>,
    looked_at: Option<Instant>,
    /// A warning was logged about the file as it is now.
    complained: bool,
}

/// What changes when a file is written, or another takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified().ok();
        Ok(Self { modified, bytes: metadata.len(), inode: metadata.ino() })
    }
}

impl KeyFile {
    fn current(&self) -> Current {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = read.looked_at.is_none_or(|then| now - then >= LOOK_INTERVAL);
        let is_new = is_due && self.look(&mut read);
        if is_due {
            read.looked_at = Some(now);
        }
        Current { key: Some(read.key.clone()), is_new }
    }

    /// Whether the key is another now.
    fn look(&self, kept: &mut ReadKey) -> bool {
        let stamp = Stamp::of(&self.path).ok();
        if stamp == kept.stamp {
            return false;
        }
        match read(&self.path) {
            Ok(key) => {
                let is_new = key != kept.key;
                if is_new {
                    tracing::info!(file = %self.path.display(), "the places key was read anew");
                }
                *kept = ReadKey { key, stamp, looked_at: kept.looked_at, complained: false };
                is_new
            }
            // Not the stamp: the file may be half written, and is read again at the next look.
            Err(problem) => {
                if !kept.complained {
                    tracing::warn!(%problem, "the places key stays as it was");
                }
                kept.complained = true;
                false
            }
        }
    }
}

/// Reads no more than a key can have, so that a wrong path such as a device cannot block or
/// fill the memory.
fn read(path: &Path) -> Result<Key, String> {
    let problem =
        |what: &dyn std::fmt::Display| format!("places key: file {} {what}", path.display());
    let read = || -> io::Result<String> {
        let mut text = String::new();
        // Room for white space around the longest key.
        File::open(path)?.take(2 * Key::MAX_BYTES as u64).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| problem(&format_args!("cannot be read: {error}")))?;
    Key::parse(&text).map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::parse(text).ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changed_is_read_again_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "first").unwrap();
        let source = KeySource::file(&path).unwrap();
        assert_eq!(source.current(), Current { key: key("first"), is_new: false });
        fs::write(&path, "a-longer-second").unwrap();
        assert_eq!(source.current().key, key("first"), "not looked at yet");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(source.current(), Current { key: key("a-longer-second"), is_new: true });
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(source.current(), Current { key: key("a-longer-second"), is_new: false });
    }

    /// As Kubernetes does with a secret: the name points at another file.
    #[tokio::test(start_paused = true)]
    async fn a_link_that_points_elsewhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for name in ["one", "two"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("one", &path).unwrap();
        let source = KeySource::file(&path).unwrap();
        assert_eq!(source.current().key, key("one"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("two", &path).unwrap();
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(source.current(), Current { key: key("two"), is_new: true });
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_or_empty_for_a_while_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "first").unwrap();
        let source = KeySource::file(&path).unwrap();
        for is_gone in [true, false] {
            if is_gone { fs::remove_file(&path) } else { fs::write(&path, "") }.unwrap();
            tokio::time::advance(LOOK_INTERVAL).await;
            assert_eq!(source.current(), Current { key: key("first"), is_new: false });
        }
        fs::write(&path, "second").unwrap();
        tokio::time::advance(LOOK_INTERVAL).await;
        assert_eq!(source.current(), Current { key: key("second"), is_new: true });
    }
}
