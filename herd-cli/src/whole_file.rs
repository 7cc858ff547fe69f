//! Files that come to be as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
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
        // A link stays one: what it leads to is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&place).is_ok_and(|there| !there.is_file()) {
            return Ok(Self { to: BufWriter::new(File::create(path)?), moving: None });
        }
        let mut beside = place.clone().into_os_string();
        beside.push(format!(".{}.new", process::id()));
        let to = BufWriter::new(File::create(&beside)?);
        Ok(Self { to, moving: Some((beside.into(), place)) })
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
    use super::*;

    #[test]
    fn what_is_there_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("herd.csv"), folder.path().join("latest"));
        fs::write(&place, "old").unwrap();
        std::os::unix::fs::symlink("herd.csv", &link).unwrap();
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
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn devices_are_written_to_as_they_are() {
        let mut file = WholeFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"gone").unwrap();
        file.keep().unwrap();
        let error = WholeFile::create(Path::new("/no/such/folder/herd.csv")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
