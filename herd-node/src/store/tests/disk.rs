//! A disk in memory that runs full, fails, loses power, and can be spoilt.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::disk::{Disk, DiskFile};

#[derive(Clone, Default)]
pub(super) struct TestDisk(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    /// What processes see.
    files: BTreeMap<String, Content>,
    /// What a power cut leaves for certain.
    synced: BTreeMap<String, Content>,
    /// Bytes that may still be written before the disk is full.
    pub(super) room: Option<usize>,
    /// Changes that may still be made; then the process is dead.
    pub(super) steps: Option<u64>,
    /// Changes made.
    pub(super) taken: u64,
    /// Where in each file the disk cannot be read.
    pub(super) reads_break_at: Option<usize>,
    pub(super) cannot_cut: bool,
    pub(super) cannot_sync: bool,
    /// Faults that struck: a test of faults in which none did proves nothing.
    pub(super) struck: u64,
}

type Content = Arc<Mutex<Bytes>>;

#[derive(Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl State {
    /// Counts a change. From the fatal one on, each fails.
    fn step(&mut self) -> io::Result<()> {
        self.taken += 1;
        match &mut self.steps {
            Some(0) => {
                self.struck += 1;
                Err(io::Error::other("killed"))
            }
            steps => {
                *steps = steps.map(|left| left - 1);
                Ok(())
            }
        }
    }
}

impl TestDisk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    pub(super) fn contents(&self, name: &str) -> Vec<u8> {
        self.state().files[name].lock().unwrap().now.clone()
    }

    /// Makes or replaces a file, as durably as can be.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Bytes { now: bytes.clone(), synced: bytes };
        let content = Arc::new(Mutex::new(content));
        let mut state = self.state();
        state.files.insert(name.to_owned(), Arc::clone(&content));
        state.synced.insert(name.to_owned(), content);
    }

    /// What the next process finds after this one was killed. What was not synced still is not.
    pub(super) fn after_kill(&self) -> Self {
        let state = self.state();
        // A file may have one name now and another after a power cut.
        let mut copies: Vec<(*const Mutex<Bytes>, Content)> = Vec::new();
        let mut copy_of = |content: &Content| {
            let original = Arc::as_ptr(content);
            if let Some((_, copy)) = copies.iter().find(|(known, _)| *known == original) {
                return Arc::clone(copy);
            }
            let copy = Arc::new(Mutex::new(content.lock().unwrap().clone()));
            copies.push((original, Arc::clone(&copy)));
            copy
        };
        let mut entries = |entries: &BTreeMap<String, Content>| {
            entries.iter().map(|(name, content)| (name.clone(), copy_of(content))).collect()
        };
        let (files, synced) = (entries(&state.files), entries(&state.synced));
        Self(Arc::new(Mutex::new(State { files, synced, ..State::default() })))
    }

    /// What the next process finds after a power cut: of everything that was not synced, any
    /// part may be there, each independent of the others.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (state, next) = (self.state(), Self::default());
        let names: BTreeSet<_> = state.files.keys().chain(state.synced.keys()).collect();
        for name in names {
            let entries = [state.files.get(name), state.synced.get(name)];
            let Some(content) = entries[random.random_range(0..2)] else { continue };
            let Bytes { now, synced } = &*content.lock().unwrap();
            let (shorter, longer) =
                if now.len() < synced.len() { (now, synced) } else { (synced, now) };
            let len = random.random_range(shorter.len()..=longer.len());
            next.put(name, longer[..len].to_vec());
        }
        next
    }
}

impl Disk for TestDisk {
    fn path(&self) -> &Path {
        Path::new("disk")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let len = |content: &Content| content.lock().unwrap().now.len() as u64;
        Ok(self.state().files.iter().map(|(name, content)| (name.clone(), len(content))).collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        let state = self.state();
        let content = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = content.lock().unwrap().now.clone();
        let Some(at) = state.reads_break_at.filter(|at| *at <= bytes.len()) else {
            return Ok(Box::new(Cursor::new(bytes)));
        };
        Ok(Box::new(Cursor::new(bytes[..at].to_vec()).chain(Broken)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Content::default();
        state.files.insert(name.to_owned(), Arc::clone(&content));
        Ok(Box::new(TestFile { disk: self.clone(), content }))
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let content = self.state().files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        TestFile { disk: self.clone(), content }.sync()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.files.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.synced = state.files.clone();
        Ok(())
    }
}

/// A place that cannot be read.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("cannot read"))
    }
}

struct TestFile {
    disk: TestDisk,
    content: Content,
}

impl DiskFile for TestFile {
    /// A write that is cut off by a full disk or by death leaves a part.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let (fits, result) = match (state.step(), state.room) {
            (Err(error), _) => (bytes.len() / 2, Err(error)),
            (Ok(()), Some(room)) if room < bytes.len() => {
                state.struck += 1;
                (room, Err(io::ErrorKind::StorageFull.into()))
            }
            (Ok(()), _) => (bytes.len(), Ok(())),
        };
        // The dead write no more, but for the one write they died in.
        let fits = if state.steps == Some(0) && state.struck > 1 { 0 } else { fits };
        state.room = state.room.map(|room| room - fits.min(room));
        let now = &mut self.content.lock().unwrap().now;
        let (start, end) = (offset as usize, offset as usize + fits);
        now.resize(now.len().max(end), 0);
        now[start..end].copy_from_slice(&bytes[..fits]);
        result
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if state.cannot_cut {
            state.struck += 1;
            return Err(io::Error::other("cannot cut"));
        }
        let now = &mut self.content.lock().unwrap().now;
        let freed = now.len() - bytes as usize;
        now.truncate(bytes as usize);
        state.room = state.room.map(|room| room + freed);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if state.cannot_sync {
            state.struck += 1;
            return Err(io::Error::other("cannot sync"));
        }
        let mut content = self.content.lock().unwrap();
        content.synced = content.now.clone();
        Ok(())
    }
}
