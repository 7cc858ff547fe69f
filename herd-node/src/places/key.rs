use std::fmt;

/// A provider's API key. It can be used, but neither printed nor serialised.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Longest key, in bytes. Google's have 39.
    pub(super) const MAX_BYTES: usize = 1024;

    /// Takes a key as typed or read from a file; white space around it is dropped.
    pub(super) fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            Err(KeyError::Empty)
        } else if text.len() > Self::MAX_BYTES {
            Err(KeyError::TooLong)
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(KeyError::NotPrintable)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The key itself, for the one place that puts it into a request.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a text is no [`Key`]. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`Key::MAX_BYTES`] bytes.
    #[error("is longer than {} bytes", Key::MAX_BYTES)]
    TooLong,
    /// A byte that is no printable ASCII, or white space in the middle.
    #[error("must be printable ASCII without spaces")]
    NotPrintable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_printed() {
        let key = Key::parse(" s3cret\r\n").unwrap();
        assert_eq!(key.expose(), "s3cret");
        assert_eq!(format!("{key:?} {:#?}", Some(&key)), "[redacted] Some(\n    [redacted],\n)");
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_without_quoting_it() {
        assert_eq!(Key::parse(" \n"), Err(KeyError::Empty));
        assert_eq!(Key::parse("two words"), Err(KeyError::NotPrintable));
        assert_eq!(Key::parse("sch\u{fc}ssel"), Err(KeyError::NotPrintable));
        assert!(Key::parse(&"k".repeat(Key::MAX_BYTES)).is_ok());
        assert_eq!(Key::parse(&"k".repeat(Key::MAX_BYTES + 1)), Err(KeyError::TooLong));
    }
}
