//! Takes credentials out of what a provider says: some quote the request that they refuse.

use std::borrow::Cow;

use super::key::Key;

const REDACTED: &str = "[redacted]";

/// A shorter key may well stand in an answer by chance. Google's have 39 bytes.
const MIN_TELLING_KEY: usize = 20;

/// How Google's keys begin, and how many letters, digits, `-` and `_` follow.
const GOOGLE_PREFIX: &str = "AIza";
const GOOGLE_REST: usize = 35;

/// Without the key itself. All else is kept to the byte.
pub(super) fn without_key<'a>(text: &'a str, key: Option<&Key>) -> Cow<'a, str> {
    match key.map(Key::expose).filter(|key| key.len() >= MIN_TELLING_KEY) {
        Some(key) if text.contains(key) => text.replace(key, REDACTED).into(),
        _ => text.into(),
    }
}

/// Without anything that looks like a key. For refusals only: an answer with results may hold
/// such a run of letters by chance.
pub(super) fn without_keys(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, length)) = next_key(rest) {
        out.extend([&rest[..at], REDACTED]);
        rest = &rest[at + length..];
    }
    if out.is_empty() { text.into() } else { (out + rest).into() }
}

/// Where the next one stands, and how long it is.
fn next_key(text: &str) -> Option<(usize, usize)> {
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let run = |at: usize| text.as_bytes()[at..].iter().take_while(|byte| is_key(byte)).count();
    let google = text
        .match_indices(GOOGLE_PREFIX)
        .map(|(at, _)| (at, run(at)))
        .find(|(_, length)| *length >= GOOGLE_PREFIX.len() + GOOGLE_REST);
    let parameter = text
        .match_indices("key=")
        .map(|(at, name)| (at + name.len(), value_length(&text[at + name.len()..])))
        .find(|&(at, length)| length > 0 && !text[at..].starts_with(REDACTED));
    google.into_iter().chain(parameter).min()
}

/// A parameter of a query ends where another begins, or the URL does.
fn value_length(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "&\"'\\<>#,;)".contains(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &str = "AIzaSyA-0123456789_0123456789abcdefghij";

    #[test]
    fn the_key_goes_and_all_else_stays() {
        let key = Key::parse(GOOGLE).unwrap();
        let text = format!("a {GOOGLE}{GOOGLE} b");
        assert_eq!(without_key(&text, Some(&key)), "a [redacted][redacted] b");
        assert_eq!(without_key(&text, None), text);
        let short = Key::parse("cafe").unwrap();
        assert_eq!(without_key("cafe", Some(&short)), "cafe");
    }

    #[test]
    fn whatever_looks_like_a_key_goes() {
        for (text, expected) in [
            (format!("bad {GOOGLE}."), "bad [redacted]."),
            ("https://h/?key=abc&x=1".into(), "https://h/?key=[redacted]&x=1"),
            ("{\"m\":\"?key=%2Babc\"}".into(), "{\"m\":\"?key=[redacted]\"}"),
            (format!("key={GOOGLE} {GOOGLE}"), "key=[redacted] [redacted]"),
            ("key=[redacted]".into(), "key=[redacted]"),
            ("key= AIzaShort \u{e9}".into(), "key= AIzaShort \u{e9}"),
        ] {
            assert_eq!(without_keys(&text), expected, "{text}");
        }
    }
}
