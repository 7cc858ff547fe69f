//! What the store asks of a file system, so that tests can stand in one that fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::lock::DirectoryLock;

/// Locations are personal: nobody but the owner reads them.
pub(super) const FILE_MODE: u32 = 0o600;

/// One directory. File names are plain names inside it.
pub(super) trait Disk: Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// The ordinary files, with their lengths in bytes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Opens a file to be read from its start.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read>>;
    /// Makes an empty file; an error if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Makes what a file contains survive a power cut.
    fn sync_file(&self, name: &str) -> io::Result<()>;
    /// Renames, replacing whatever had the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals survive a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// One file that is being written.
pub(super) trait DiskFile: Send {
    /// Writes at an offset. After an error any part of it may have been written.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes the contents survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the operating system's, held for as long as anything may write to it.
pub(super) struct RealDisk {
    pub(super) directory: PathBuf,
    pub(super) _lock: DirectoryLock,
}

impl Disk for RealDisk {
    fn path(&self) -> &Path {
        &self.directory
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // None of the store's names needs more than ASCII.
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What vanished meanwhile or cannot be looked at is as good as not there.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.directory.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        Ok(Box::new(file))
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        File::open(self.directory.join(name))?.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
