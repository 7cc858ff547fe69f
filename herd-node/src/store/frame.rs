//! The frames that every file consists of.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | marker: `ff c0 fe` and the [`Kind`] |
//! | 4 | length of the payload, little-endian |
//! | 4 | CRC-32 (ISO-HDLC) of the payload |
//! | 4 | CRC-32 of the frame's offset in its file (8 bytes) and the twelve bytes before |
//! | … | payload |
//!
//! The header has a checksum of its own so that a search for the next whole frame costs a few
//! bytes for each place that looks like one, not a payload. Its offset is in there so that
//! neither a copied page nor a payload can pretend to hold frames. The marker is not UTF-8, so
//! no text that a client sends contains it.

use std::io;

use herd_proto::{LocationRecord, Record};
use prost::Message as _;

use super::disk::DiskFile;

/// Bytes of a frame before its payload.
pub(super) const HEADER_BYTES: usize = 16;

/// Longest frame that is read. A longer one is damage: nothing here writes it, and the reader
/// must hold a frame in memory to check it.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;

/// A frame of records is closed when it reaches this many bytes. Damage costs whole frames, so
/// they are small; 64 KiB still make the header and the checksums' start-up cost vanish.
const FRAME_BYTES: usize = 64 * 1024;

/// Encoded bytes are handed to the file when there are this many: a large batch must not be in
/// memory twice.
const WRITE_BYTES: usize = 1 << 20;

/// First three bytes of a marker.
pub(super) const MARKER: [u8; 3] = [0xff, 0xc0, 0xfe];

/// What a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first of each file: a [`FileHeader`](super::format::FileHeader).
    Header = b'H',
    /// Records, each an encoded `herd.v1.Record` after its length as a varint.
    Records = b'R',
    /// The last of a snapshot: a [`Footer`](super::format::Footer).
    Footer = b'F',
    /// Who the directory is: an [`Identity`](super::identity::Identity).
    Identity = b'I',
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Records, Self::Footer, Self::Identity]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: Kind,
    pub(super) payload_bytes: usize,
    checksum: u32,
}

impl FrameHeader {
    fn encode(kind: Kind, payload: &[u8], offset: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..3].copy_from_slice(&MARKER);
        bytes[3] = kind as u8;
        bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let checksum = header_checksum(&bytes, offset);
        bytes[12..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, which stand at `offset` of their file; `None` where
    /// there is none.
    pub(super) fn decode(bytes: &[u8], offset: u64) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..3] != MARKER || word(bytes, 12) != header_checksum(bytes, offset) {
            return None;
        }
        let payload_bytes = word(bytes, 4) as usize;
        let kind = Kind::from_byte(bytes[3])?;
        (payload_bytes <= MAX_FRAME_BYTES - HEADER_BYTES).then_some(Self {
            kind,
            payload_bytes,
            checksum: word(bytes, 8),
        })
    }

    /// Whether the payload is the one that was written.
    pub(super) fn matches(self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes && crc32fast::hash(payload) == self.checksum
    }
}

fn header_checksum(bytes: &[u8; HEADER_BYTES], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&bytes[..12]);
    hasher.finalize()
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Encodes frames into one reused buffer, and hands them to a file.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    bytes: Vec<u8>,
    /// Where in the file `bytes` begin.
    offset: u64,
    /// Where in `bytes` the unfinished frame of records begins.
    unfinished: Option<usize>,
}

impl FrameWriter {
    /// Forgets what was not written; what comes now will stand at `offset`.
    pub(super) fn restart(&mut self, offset: u64) {
        self.bytes.clear();
        self.unfinished = None;
        self.offset = offset;
    }

    /// Adds a frame.
    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8]) {
        self.finish_records();
        let header = FrameHeader::encode(kind, payload, self.offset + self.bytes.len() as u64);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
    }

    /// Adds records, and writes whenever enough have come together. Returns how many they were.
    pub(super) fn records(
        &mut self,
        records: &mut dyn Iterator<Item = &LocationRecord>,
        file: &mut dyn DiskFile,
    ) -> io::Result<u64> {
        let mut count = 0;
        for record in records {
            self.record(record);
            count += 1;
            if self.bytes.len() >= WRITE_BYTES {
                self.write(file)?;
            }
        }
        Ok(count)
    }

    fn record(&mut self, record: &LocationRecord) {
        let start = *self.unfinished.get_or_insert_with(|| {
            self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
            self.bytes.len() - HEADER_BYTES
        });
        let record = Record::from(record);
        prost::encoding::encode_varint(record.encoded_len() as u64, &mut self.bytes);
        record.encode_raw(&mut self.bytes);
        if self.bytes.len() - start >= FRAME_BYTES {
            self.finish_records();
        }
    }

    fn finish_records(&mut self) {
        if let Some(start) = self.unfinished.take() {
            let (before, payload) = self.bytes.split_at_mut(start + HEADER_BYTES);
            let header = FrameHeader::encode(Kind::Records, payload, self.offset + start as u64);
            before[start..].copy_from_slice(&header);
        }
    }

    /// Hands everything to the file and returns the offset after it. After an error nothing
    /// counts as written.
    pub(super) fn write(&mut self, file: &mut dyn DiskFile) -> io::Result<u64> {
        self.finish_records();
        if !self.bytes.is_empty() {
            file.write_all_at(&self.bytes, self.offset)?;
            let end = self.offset + self.bytes.len() as u64;
            self.restart(end);
        }
        Ok(self.offset)
    }
}
