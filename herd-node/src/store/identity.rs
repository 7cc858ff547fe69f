//! Which store this is, and how often it was opened.

use std::io;

use super::disk::Disk;
use super::format::{FileHeader, pair, unpair};
use super::frame::{FrameWriter, Kind};
use super::scan::{Piece, Scan};

pub(super) const FILE: &str = "ID";
const UNFINISHED: &str = "ID.tmp";

/// Names a store and a run of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Random, never 0.
    pub(super) store: u64,
    /// Counted from 1.
    pub(super) boot: u64,
}

impl Identity {
    /// A store nobody has seen.
    pub(super) fn fresh() -> Self {
        Self { store: rand::random::<u64>().max(1), boot: 1 }
    }

    /// What the directory says, if it can be read.
    pub(super) fn read(disk: &dyn Disk) -> Option<Self> {
        let mut scan = Scan::new(disk.read(FILE).ok()?);
        while let Some(piece) = scan.next() {
            if let Piece::Frame(Kind::Identity, payload) = piece {
                let (store, boot) = unpair(payload)?;
                return (store != 0).then_some(Self { store, boot });
            }
        }
        None
    }

    /// Replaces what the directory says.
    pub(super) fn write(self, disk: &dyn Disk, cluster: &str) -> io::Result<()> {
        Self::remove_unfinished(disk)?;
        let mut file = disk.create(UNFINISHED)?;
        let mut frames = FrameWriter::default();
        let header = FileHeader { cluster: cluster.to_owned(), previous: 0 };
        frames.frame(Kind::Header, &header.encode());
        frames.frame(Kind::Identity, &pair(self.store, self.boot));
        frames.write(&mut *file)?;
        file.sync()?;
        disk.rename(UNFINISHED, FILE)?;
        disk.sync()
    }

    fn remove_unfinished(disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
