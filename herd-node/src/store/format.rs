//! Names of files, and the payloads that are not records.

/// The version of the format. A file of a later one is refused; its header frame must keep
/// beginning with the version for that.
pub(super) const VERSION: u32 = 1;

/// Greatest number of a file. Greater ones are nobody's here, and leave no room to count on.
const MAX_NUMBER: u64 = u64::MAX / 2;

/// A data file, by its name. Segments and snapshots are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DataFile {
    /// A segment of the log.
    Log(u64),
    /// Everything that the segments of smaller numbers say.
    Snapshot(u64),
    /// A snapshot that is being written.
    Unfinished(u64),
}

impl DataFile {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&number| digits && number <= MAX_NUMBER)
        };
        if let Some(rest) = name.strip_prefix("log-") {
            return number(rest.strip_suffix(".herd")?).map(Self::Log);
        }
        let rest = name.strip_prefix("snapshot-")?;
        match rest.strip_suffix(".herd") {
            Some(text) => number(text).map(Self::Snapshot),
            None => number(rest.strip_suffix(".tmp")?).map(Self::Unfinished),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Log(number) => format!("log-{number:020}.herd"),
            Self::Snapshot(number) => format!("snapshot-{number:020}.herd"),
            Self::Unfinished(number) => format!("snapshot-{number:020}.tmp"),
        }
    }

    pub(super) fn number(self) -> u64 {
        match self {
            Self::Log(number) | Self::Snapshot(number) | Self::Unfinished(number) => number,
        }
    }
}

/// The payload of the first frame of each file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The herd whose records these are.
    pub(super) cluster: String,
    /// In a segment: the number of the segment before it, so that a lost one is missed. 0 where
    /// there was none.
    pub(super) previous: u64,
}

/// What a header's payload turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadHeader {
    Known(FileHeader),
    Newer(u32),
}

impl FileHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(self.cluster.as_bytes());
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<ReadHeader> {
        let (version, rest) = payload.split_first_chunk()?;
        let version = u32::from_le_bytes(*version);
        if version > VERSION {
            return Some(ReadHeader::Newer(version));
        }
        let (previous, cluster) = rest.split_first_chunk()?;
        let cluster = str::from_utf8(cluster).ok()?.to_owned();
        Some(ReadHeader::Known(Self { cluster, previous: u64::from_le_bytes(*previous) }))
    }
}

/// The payload of the last frame of a snapshot: without it, there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    /// The snapshot's number, so that a misnamed one does not stand for segments it never saw.
    pub(super) number: u64,
    /// How many records it holds.
    pub(super) records: u64,
}

impl Footer {
    pub(super) fn encode(self) -> [u8; 16] {
        pair(self.number, self.records)
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (number, records) = unpair(payload)?;
        Some(Self { number, records })
    }
}

/// Two numbers, little-endian.
pub(super) fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// The two numbers of [`pair`]; `None` for any other length.
pub(super) fn unpair(bytes: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*<&[u8; 8]>::try_from(second).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_sort_by_number() {
        for file in [DataFile::Log(7), DataFile::Snapshot(0), DataFile::Unfinished(MAX_NUMBER)] {
            assert_eq!(DataFile::parse(&file.name()), Some(file));
        }
        assert!(DataFile::Log(9).name() < DataFile::Log(10).name());
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in [
            "LOCK",
            "ID",
            "log-7.herd",
            "log-0000000000000000000x.herd",
            "log-+0000000000000000007.herd",
            "log-00000000000000000007.tmp",
            "log-18446744073709551615.herd", // no number could follow
            "snapshot-00000000000000000007.herd.bak",
            "notes.tmp",
        ] {
            assert_eq!(DataFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_header_of_a_later_version_is_known_by_its_first_bytes() {
        assert_eq!(FileHeader::decode(&[2, 0, 0, 0, 0xff]), Some(ReadHeader::Newer(2)));
        assert_eq!(FileHeader::decode(&[1, 0, 0]), None);
        let header = FileHeader { cluster: "herd".into(), previous: 3 };
        assert_eq!(FileHeader::decode(&header.encode()), Some(ReadHeader::Known(header)));
    }
}
