use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use compact_str::CompactString;

/// A node's name: 1 to 63 ASCII letters, digits, dots, dashes and underscores, so that it can be
/// a DNS label, a file name and a word of the text protocol.
///
/// A name is a pointer, since each record has one and a herd has few: names that a thread reads again
/// and again are the same one in memory, and to clone one allocates nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<CompactString>);

/// Names that a thread has read lately, by a hash. Two that fall on one place take turns, which costs
/// memory and nothing else.
type Recent = [Option<NodeName>; 256];

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new([const { None }; 256]) };
}

impl NodeName {
    /// Longest name, in bytes: that of a DNS label.
    pub const MAX_BYTES: usize = 63;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, NodeNameError> {
        let hash = text.bytes().fold(0_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
        let look = |recent: &RefCell<Recent>| {
            let place = &mut recent.borrow_mut()[usize::from(hash)];
            match place {
                Some(known) if known.as_str() == text => Ok(known.clone()),
                _ => Self::read(text).inspect(|name| *place = Some(name.clone())),
            }
        };
        // A thread that is ending has no such names any more.
        RECENT.try_with(look).unwrap_or_else(|_| Self::read(text))
    }

    fn read(text: &str) -> Result<Self, NodeNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(Arc::new(CompactString::new(text))))
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
    fn a_name_that_is_read_again_is_the_same_one_in_memory() {
        let names: Vec<_> = (0..1000).map(|n| NodeName::parse(&format!("node-{n}"))).collect();
        let first = NodeName::parse("Bailey").unwrap();
        assert!(Arc::ptr_eq(&first.0, &NodeName::parse("Bailey").unwrap().0));
        assert_eq!(size_of::<NodeName>(), 8);
        // More than are remembered are told apart all the same.
        for (n, name) in (0..).zip(names) {
            assert_eq!(name.unwrap().as_str(), format!("node-{n}"));
        }
    }

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
