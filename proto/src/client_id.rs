use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

/// The six bytes that separate words in the text protocol: space, tab, LF, vertical tab, form
/// feed and CR.
pub const WHITE_SPACE: [u8; 6] = *b" \t\n\x0b\x0c\r";

/// Whether a byte is one of [`WHITE_SPACE`].
pub const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A client's own name for itself: 1 to [`ClientId::MAX_BYTES`] bytes of UTF-8 with none of the
/// six [`WHITE_SPACE`] bytes.
///
/// Names of up to 24 bytes are kept without an allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(CompactString);

impl ClientId {
    /// Longest client id, in bytes. The text protocol names no limit; this one is four times
    /// the longest DNS name, which is what clients usually call themselves.
    pub const MAX_BYTES: usize = 1024;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        if text.is_empty() {
            return Err(ClientIdError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(ClientIdError::TooLong { bytes: text.len() });
        }
        if let Some(at) = text.bytes().position(is_white_space) {
            return Err(ClientIdError::WhiteSpace { at });
        }
        Ok(Self(CompactString::new(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Why a text is no [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdError {
    /// No text at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`ClientId::MAX_BYTES`] bytes.
    #[error("must be at most {} bytes, got {bytes}", ClientId::MAX_BYTES)]
    TooLong {
        /// The length that was given.
        bytes: usize,
    },
    /// White space inside.
    #[error("must not contain white space, found it at byte {at}")]
    WhiteSpace {
        /// Offset of the first white-space byte.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_punctuation_are_ids() {
        for text in ["kiwi", "?", "+1.0-2.0", "WHATSAT", "\"a,b;c\\d\"?", "café", "\0", "\u{a0}"] {
            assert_eq!(ClientId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_limit_is_1024_bytes() {
        assert!(ClientId::parse(&"x".repeat(1024)).is_ok());
        assert_eq!(ClientId::parse(&"x".repeat(1025)), Err(ClientIdError::TooLong { bytes: 1025 }));
        assert_eq!(ClientId::parse(""), Err(ClientIdError::Empty));
    }

    #[test]
    fn the_six_white_space_bytes_and_no_others_are_white_space() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_white_space(byte), WHITE_SPACE.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn each_of_the_six_white_space_bytes_is_refused() {
        for byte in WHITE_SPACE {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(ClientId::parse(&text), Err(ClientIdError::WhiteSpace { at: 1 }));
        }
    }
}
