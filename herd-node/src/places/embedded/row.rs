use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use herd_proto::Position;

/// One place of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: PlaceId,
    pub(super) name: Box<str>,
    pub(super) position: Position,
    /// How well known, 0 to 100.
    pub(super) rank: u8,
    /// In Google's vocabulary, most specific first, the general ones included. Rows of a kind
    /// share theirs.
    pub(super) types: Arc<[Box<str>]>,
    /// The town, or the region where there is none; may be empty.
    pub(super) vicinity: Box<str>,
    /// Two letters of ISO 3166; spaces where no country is.
    pub(super) country: [u8; 2],
}

/// A row's stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum PlaceId {
    /// A hash of what people call the place.
    Named(u64),
    /// Its number in GeoNames.
    GeoNames(u64),
}

impl fmt::Display for PlaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(hash) => write!(f, "{}:{:012x}", super::NAME, hash >> 16),
            Self::GeoNames(number) => write!(f, "geonames:{number}"),
        }
    }
}

/// Gives out ids and types while a table is read.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    ids: HashSet<PlaceId>,
    types: HashMap<String, Arc<[Box<str>]>>,
}

impl Ledger {
    /// Made of what people call the place, so that it outlives a correction of its position;
    /// only a namesake in the same country is told apart by where it is.
    pub(super) fn id(&mut self, name: &str, country: &str, at: Position) -> PlaceId {
        let id = named(&format!("{country}/{name}"));
        if self.ids.insert(id) {
            return id;
        }
        let id = named(&format!("{country}/{name}/{at}"));
        self.ids.insert(id);
        id
    }

    /// The types of a kind, such as `museum|park`, with the general ones that go with it. `None`
    /// where a word is not in the form of Google's.
    pub(super) fn types(&mut self, kinds: &str) -> Option<Arc<[Box<str>]>> {
        if let Some(known) = self.types.get(kinds) {
            return Some(Arc::clone(known));
        }
        let types: Arc<[_]> = read_types(kinds)?.into_iter().map(Box::from).collect();
        self.types.insert(kinds.into(), Arc::clone(&types));
        Some(types)
    }
}

/// Fowler, Noll and Vo's hash, which is the same on every node and in every version.
fn named(text: &str) -> PlaceId {
    PlaceId::Named(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// Longest word for a kind, in bytes.
const MAX_KIND: usize = 60;

/// Reads kinds parted by `|` and adds the general types that go with the first.
fn read_types(kinds: &str) -> Option<Vec<&str>> {
    let is_kind = |kind: &str| {
        kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind.len() <= MAX_KIND
            && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut types: Vec<_> = kinds.split('|').collect();
    if !types.iter().all(|kind| is_kind(kind)) {
        return None;
    }
    let general: &[_] = match types.first() {
        Some(&("locality" | "neighborhood" | "country")) => &["political"],
        Some(first) if first.starts_with("administrative_area") => &["political"],
        Some(&("route" | "natural_feature")) => &["point_of_interest"],
        Some(&"hospital") => &["health", "point_of_interest", "establishment"],
        Some(&("church" | "mosque" | "synagogue" | "hindu_temple")) => {
            &["place_of_worship", "point_of_interest", "establishment"]
        }
        _ => &["point_of_interest", "establishment"],
    };
    for kind in general {
        if !types.contains(kind) {
            types.push(kind);
        }
    }
    Some(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_types_follow_the_specific_ones() {
        assert_eq!(read_types("locality").unwrap(), ["locality", "political"]);
        let museum = ["museum", "park", "point_of_interest", "establishment"];
        assert_eq!(read_types("museum|park").unwrap(), museum);
        for wrong in ["", "museum|", "Museum", "1st", "a b", &"a".repeat(61)] {
            assert_eq!(read_types(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ids_never_change_and_namesakes_have_their_own() {
        assert_eq!(named("foobar"), PlaceId::Named(0x8594_4171_f739_67e8));
        let mut ledger = Ledger::default();
        let at = |degrees| Position::from_degrees(degrees, 0.0).unwrap();
        let first = ledger.id("Springfield", "US", at(1.0));
        assert_eq!(first, Ledger::default().id("Springfield", "US", at(9.0)));
        assert_ne!(first, ledger.id("Springfield", "US", at(2.0)));
        assert_ne!(first, ledger.id("Springfield", "CA", at(1.0)));
        assert_eq!(PlaceId::GeoNames(5).to_string(), "geonames:5");
    }
}
