//! The cases as they are written down.

use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Which part of the protocol it is about.
    pub(crate) rule: String,
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) setup: Vec<Step>,
    pub(crate) server: String,
    pub(crate) input: Option<String>,
    pub(crate) chunks: Option<Vec<String>>,
    pub(crate) half_close: Option<bool>,
    pub(crate) concurrent: Option<Send>,
    #[serde(default)]
    pub(crate) then: Vec<Probe>,
    pub(crate) expect: String,
    pub(crate) within: Option<f64>,
    #[serde(default)]
    pub(crate) diff_check: bool,
    pub(crate) same_at_as_setup: Option<usize>,
    pub(crate) converge: Option<String>,
    pub(crate) json: Option<JsonCheck>,
    pub(crate) upstream: Option<UpstreamCheck>,
    #[serde(default)]
    pub(crate) no_upstream: bool,
    /// Whether what is expected is our choice among what the original's text allows.
    #[serde(default)]
    pub(crate) ambiguous: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Step {
    Send(Send),
    Stop { stop: String },
    Start { start: String },
    Wait { wait: f64 },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    pub(crate) server: String,
    pub(crate) send: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    pub(crate) server: String,
    pub(crate) input: String,
    pub(crate) expect: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonCheck {
    pub(crate) results: usize,
    pub(crate) status: String,
    pub(crate) upstream_prefix: String,
    #[serde(default)]
    pub(crate) byte_exact: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamCheck {
    pub(crate) lat: f64,
    pub(crate) lng: f64,
    pub(crate) radius_m: f64,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        #[derive(Deserialize)]
        struct File {
            cases: Vec<Case>,
        }
        serde_json::from_str::<File>(include_str!("../line-cases.json")).unwrap().cases
    }
}

/// Fills in the tokens; the moment is fixed when a case starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    start_nanos: i128,
}

impl Tokens {
    pub(crate) fn now() -> Self {
        Self { start_nanos: unix_nanos() }
    }

    /// Bytes to send.
    pub(crate) fn bytes(self, text: &str) -> Vec<u8> {
        self.fill(text, str::to_owned).chars().map(|c| u8::try_from(c).unwrap()).collect()
    }

    /// A pattern for a whole reply.
    pub(crate) fn pattern(self, text: &str) -> Regex {
        let filled = self.fill(text, regex::escape);
        Regex::new(&format!(r"(?s)\A(?:{filled})\z")).unwrap()
    }

    fn fill(self, text: &str, quote: impl Fn(&str) -> String) -> String {
        let token = Regex::new(r"\{(?:T([+-]\d+)?|([A-Z])\*(\d+))\}").unwrap();
        let value = |captures: &regex::Captures| {
            if let (Some(letter), Some(count)) = (captures.get(2), captures.get(3)) {
                return letter.as_str().repeat(count.as_str().parse().unwrap());
            }
            let shift: i128 = captures.get(1).map_or(0, |shift| shift.as_str().parse().unwrap());
            let nanos = self.start_nanos + shift * 1_000_000_000;
            quote(&format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000))
        };
        token.replace_all(text, value).into_owned()
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i128::try_from(since.as_nanos()).unwrap()
}

/// Reads POSIX seconds, or a difference, to the nanosecond.
pub(crate) fn nanos(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(sign * (seconds.parse::<i128>().ok()? * 1_000_000_000 + fraction))
}

/// A byte a character.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
