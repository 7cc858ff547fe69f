//! A list that grows without moving what is in it: adding to it never takes long, and it has room
//! to spare for no more than one chunk.

use std::ops::{Index, IndexMut};

/// Bytes in a chunk: allocated in microseconds. Of this size the programs' allocator puts nine into
/// one of its pages of 512 KiB, which has a head; of 64 KiB it would be seven.
const CHUNK_BYTES: usize = 56 << 10;

/// Values by index, from 0.
#[derive(Debug)]
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    /// Values in a chunk.
    const CHUNK: usize = CHUNK_BYTES / size_of::<T>();

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        match self.0.split_last() {
            Some((last, full)) => full.len() * Self::CHUNK + last.len(),
            None => 0,
        }
    }

    /// Adds a value.
    pub(super) fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(Self::CHUNK);
                chunk.push(value);
                self.0.push(chunk);
            }
        }
    }

    /// The value at an index; `None` past the end.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / Self::CHUNK)?.get(index % Self::CHUNK)
    }

    /// The same, to change.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index / Self::CHUNK)?.get_mut(index % Self::CHUNK)
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.0[index / Self::CHUNK][index % Self::CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.0[index / Self::CHUNK][index % Self::CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_where_they_are_put() {
        const CHUNK: usize = Chunks::<usize>::CHUNK;
        let mut chunks = Chunks::default();
        chunks.push(0);
        let first = std::ptr::from_ref(&chunks[0]);
        for value in 1..=3 * CHUNK {
            assert_eq!((chunks.len(), chunks.get(value)), (value, None));
            chunks.push(value);
            assert_eq!((chunks[value], chunks.get(value)), (value, Some(&value)));
        }
        assert_eq!(std::ptr::from_ref(&chunks[0]), first, "nothing has moved");
        chunks[CHUNK] = 7;
        *chunks.get_mut(CHUNK + 1).unwrap() += 1;
        assert_eq!(
            (chunks[CHUNK - 1], chunks[CHUNK], chunks[CHUNK + 1]),
            (CHUNK - 1, 7, CHUNK + 2)
        );
        assert_eq!(chunks.get_mut(usize::MAX), None);
    }
}
