use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

/// A node's name: 1 to 63 ASCII letters, digits, dots, dashes and underscores, so that it can be
/// a DNS label, a file name and a word of the text protocol.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(CompactString);

impl NodeName {
    /// Longest name, in bytes: that of a DNS label.
    pub const MAX_BYTES: usize = 63;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, NodeNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(CompactString::new(text)))
        } else {
            Err(NodeNameError)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        Self::parse(text)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The text is no [`NodeName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 letters, digits, dots, dashes or underscores")]
pub struct NodeNameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_the_like() {
        for text in ["Bailey", "herd-node-0", "a.b_c", &"x".repeat(63)] {
            assert_eq!(NodeName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a/b", "é", "a\n", &"x".repeat(64)] {
            assert_eq!(NodeName::parse(text), Err(NodeNameError), "{text:?}");
        }
    }
}
