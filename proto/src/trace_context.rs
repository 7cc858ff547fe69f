use std::fmt;

/// The least length of a `traceparent`, and the only one of version 00.
const TEXT_BYTES: usize = 55;

/// The version that this crate writes, and the one that is none.
const VERSION: u8 = 0;
const NO_VERSION: u8 = 0xff;

/// The flags that have a meaning: sampled, and random trace id. Others must be sent as 0.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// Which trace something belongs to, and which span of it caused it: a [W3C trace context][w3c].
///
/// It is told in `traceparent` and `tracestate` metadata of calls, and goes with the records of
/// traced reports from node to node.
///
/// [w3c]: https://www.w3.org/TR/trace-context/
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    /// What tracing systems add for each other, opaque here.
    state: Option<Box<str>>,
}

impl TraceContext {
    /// The metadata key of the context itself.
    pub const PARENT_KEY: &str = "traceparent";

    /// The metadata key of what tracing systems add.
    pub const STATE_KEY: &str = "tracestate";

    /// Most bytes of `tracestate` that are passed on: as many as W3C wants to be. A longer one is
    /// dropped as a whole, since half of it could mean something else.
    pub const MAX_STATE_BYTES: usize = 512;

    /// A context with these ids, neither of which may be all zero.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Option<Self> {
        let sound = trace_id != [0; 16] && span_id != [0; 8];
        sound.then_some(Self { trace_id, span_id, flags: flags & KNOWN_FLAGS, state: None })
    }

    /// Reads a `traceparent` such as
    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; `None` for what is none, which W3C
    /// wants to be ignored. Of versions to come it reads what they have in common with version 00.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let (known, rest) = bytes.split_at_checked(TEXT_BYTES)?;
        let [dash, other_dash, last_dash] = [known[2], known[35], known[52]];
        if [dash, other_dash, last_dash] != [b'-'; 3] {
            return None;
        }
        let [version] = from_hex(&known[..2])?;
        let continues = match version {
            VERSION => rest.is_empty(),
            NO_VERSION => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !continues {
            return None;
        }
        let [flags] = from_hex(&known[53..])?;
        Self::new(from_hex(&known[3..35])?, from_hex(&known[36..52])?, flags)
    }

    /// The same with a `tracestate`, unless that is empty, too long or no header.
    #[must_use]
    pub fn with_state(self, state: &str) -> Self {
        let sound = (1..=Self::MAX_STATE_BYTES).contains(&state.len())
            && state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        Self { state: sound.then(|| state.into()), ..self }
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span that whatever comes next is a part of.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Sampled and random, as in the header.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// The `tracestate`, if there is one.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether whoever began the trace keeps it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The id of the trace in the form in which logs and tracing systems show it.
    pub fn shown_trace_id(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    /// The `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags, .. } = self;
        write!(f, "{VERSION:02x}-{}-{}-{flags:02x}", Hex(*trace_id), Hex(*span_id))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self}, {:?})", self.state())
    }
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads `N` bytes in lower-case hexadecimal; W3C allows no other.
fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_again() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert!(context.is_sampled());
        assert_eq!(context.shown_trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        let unsampled = TraceContext::parse(&EXAMPLE.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for wrong in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE} "),
            &format!("ff{}", &EXAMPLE[2..]),
            &format!("0x{}", &EXAMPLE[2..]),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace("4bf9", "4BF9"),
            &EXAMPLE.replace("4bf9", "4bg9"),
            &EXAMPLE.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
            "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_a_later_version_what_version_00_knows_is_read() {
        for later in ["cc", "01", "fe"] {
            let same = format!("{later}{}", &EXAMPLE[2..]);
            let longer = format!("{same}-what-the-future-brings");
            for text in [&same, &longer] {
                assert_eq!(TraceContext::parse(text).unwrap().to_string(), EXAMPLE, "{text}");
            }
            assert_eq!(TraceContext::parse(&format!("{same}.what")), None);
        }
    }

    #[test]
    fn flags_without_a_meaning_are_not_passed_on() {
        let context = TraceContext::parse(&EXAMPLE.replace("-01", "-ff")).unwrap();
        assert!(context.to_string().ends_with("-03"), "{context}");
    }

    #[test]
    fn a_tracestate_is_passed_on_as_it_is_or_not_at_all() {
        let with = |state: &str| {
            let context = TraceContext::parse(EXAMPLE).unwrap().with_state(state);
            context.state().map(ToOwned::to_owned)
        };
        assert_eq!(with("rojo=00f067,congo=t61"), Some("rojo=00f067,congo=t61".into()));
        let longest = "x".repeat(TraceContext::MAX_STATE_BYTES);
        assert_eq!(with(&longest), Some(longest.clone()));
        for wrong in ["", "a=ü", "a=\n", &format!("{longest}x")] {
            assert_eq!(with(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not_and_what_is_read_is_written_alike(text in "\\PC{0,80}") {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }

        #[test]
        fn any_ids_come_back(trace: [u8; 16], span: [u8; 8], flags in 0..4_u8) {
            let Some(context) = TraceContext::new(trace, span, flags) else { return Ok(()) };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }
    }
}
