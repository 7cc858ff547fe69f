//! Files that come to be as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;

/// A file that is written beside its place, and put there when it is whole. What is there already, such as the
/// last backup, stays until then, and for good if this is dropped before.
///
/// Pipes and devices are written to as they are.
#[derive(Debug)]
pub(crate) struct WholeFile {
    to: BufWriter<File>,
    /// Where it is written and where it belongs, until it is there.
    moving: Option<(PathBuf, PathBuf)>,
}

impl WholeFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let there = fs::metadata(path).ok();
        let leads_nowhere = there.is_none() && fs::symlink_metadata(path).is_ok();
        if leads_nowhere || there.as_ref().is_some_and(|there| !there.is_file()) {
            return Self::in_place(path);
        }
        // A link stays one: what it leads to is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut beside = place.clone().into_os_string();
        beside.push(format!(".{}.new", process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if there.is_some() {
            // Nobody may read it who may not read the one before.
            options.mode(0o600);
        }
        let to = match options.open(&beside) {
            Ok(to) => to,
            Err(error) if there.is_some() && error.kind() == ErrorKind::PermissionDenied => {
                return Self::in_place(path);
            }
            Err(error) => return Err(error),
        };
        let file = Self { to: BufWriter::new(to), moving: Some((beside.into(), place)) };
        if let Some(there) = there {
            file.to.get_ref().set_permissions(there.permissions())?;
        }
        Ok(file)
    }

    /// For what is no file, and for a folder in which no other may be made.
    fn in_place(path: &Path) -> io::Result<Self> {
        Ok(Self { to: BufWriter::new(File::create(path)?), moving: None })
    }

    /// Puts the file in its place.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.to.flush()?;
        let Some((beside, place)) = &self.moving else { return Ok(()) };
        self.to.get_ref().sync_all()?;
        fs::rename(beside, place)?;
        self.moving = None;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some((beside, _)) = &self.moving {
            let _ = fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_there_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("herd.csv"), folder.path().join("latest"));
        fs::write(&place, "old").unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o640)).unwrap();
        symlink("herd.csv", &link).unwrap();
        let mut file = WholeFile::create(&link).unwrap();
        file.write_all(b"half").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        drop(file);
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        let mut file = WholeFile::create(&link).unwrap();
        file.write_all(b"new").unwrap();
        file.keep().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn devices_and_links_to_nowhere_are_written_to_as_they_are() {
        let mut file = WholeFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"gone").unwrap();
        file.keep().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        symlink("herd.csv", &nowhere).unwrap();
        WholeFile::create(&nowhere).unwrap().keep().unwrap();
        assert!(folder.path().join("herd.csv").is_file());
        let error = WholeFile::create(Path::new("/no/such/folder/herd.csv")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
