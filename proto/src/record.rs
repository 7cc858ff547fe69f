use std::fmt;

use compact_str::CompactString;

use crate::{ClientId, Difference, NodeName, Position, Timestamp};

/// What is known of one client: its newest report as one node took it, or the mark that it was
/// forgotten.
///
/// The client's own spelling of position and time is kept where the canonical one would differ,
/// so that every node can echo the operands byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationRecord {
    /// Whose location it is.
    pub client: ClientId,
    /// Where the client was.
    pub position: Position,
    /// The client's clock when it reported.
    pub time: Timestamp,
    /// The origin's clock when it took the report.
    pub receive_time: Timestamp,
    /// The node that took the report.
    pub origin: NodeName,
    /// How often the client was forgotten before.
    pub generation: u32,
    /// Whether this is a mark that the client was forgotten.
    pub forgotten: bool,
    /// Boxed because ordinary records have none.
    pub(crate) extras: Option<Box<Extras>>,
}

/// The parts of a record that most do without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Extras {
    /// Empty where canonical.
    pub(crate) position_text: CompactString,
    /// Empty where canonical.
    pub(crate) time_text: CompactString,
    /// Encoded fields that only newer nodes know.
    pub(crate) unknown: Vec<u8>,
}

impl Extras {
    /// Boxes what is not empty.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl LocationRecord {
    /// Longest operand text, in bytes: three times what nanoseconds and nanodegrees need.
    pub const MAX_TEXT_BYTES: usize = 128;

    /// A record whose operands are spelled canonically.
    pub fn new(
        client: ClientId,
        position: Position,
        time: Timestamp,
        receive_time: Timestamp,
        origin: NodeName,
    ) -> Self {
        let (generation, forgotten, extras) = (0, false, None);
        Self { client, position, time, receive_time, origin, generation, forgotten, extras }
    }

    /// The position as the client wrote it.
    pub fn position_text(&self) -> impl fmt::Display {
        Operand { original: self.original_position_text(), canonical: &self.position }
    }

    /// The time as the client wrote it.
    pub fn time_text(&self) -> impl fmt::Display {
        Operand { original: self.original_time_text(), canonical: &self.time }
    }

    /// The origin's receive time minus the client's time.
    pub fn difference(&self) -> Difference {
        self.receive_time.since(self.time)
    }

    /// The position text where it is not canonical, else empty.
    pub(crate) fn original_position_text(&self) -> &str {
        self.extras.as_ref().map_or("", |extras| &extras.position_text)
    }

    /// The time text where it is not canonical, else empty.
    pub(crate) fn original_time_text(&self) -> &str {
        self.extras.as_ref().map_or("", |extras| &extras.time_text)
    }

    /// All that the total order compares last: a fixed order over whatever can still differ
    /// between two records of one client with the same generation, kind and times.
    pub fn content_key(&self) -> impl Ord + '_ {
        (&self.origin, self.position, self.extras.as_deref())
    }
}

struct Operand<'a, T> {
    original: &'a str,
    canonical: &'a T,
}

impl<T: fmt::Display> fmt::Display for Operand<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.original.is_empty() { self.canonical.fmt(f) } else { f.write_str(self.original) }
    }
}
