//! What a case demands of the answers, apart from their playing.

use std::time::Duration;

use serde_json::Value;

use super::case::{Case, JsonCheck, Tokens, latin1, nanos};
use super::support::google::Asked;

/// What was seen when a case was played.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) reply: Vec<u8>,
    /// Whether the whole answer came while the sending side was open; true where it was not.
    pub(crate) in_time: bool,
    /// Whether the connection ended by itself after the half-close.
    pub(crate) closed: bool,
    /// From the first byte sent to the last one received.
    pub(crate) took: Duration,
    pub(crate) sent_at: i128,
    pub(crate) received_at: i128,
    pub(crate) setup_replies: Vec<Vec<u8>>,
    /// What the stand-in for Google was asked from the start of the case on.
    pub(crate) asked: Vec<Asked>,
    /// One reply a node, where the case asks whether they agree.
    pub(crate) converged: Vec<Vec<u8>>,
    /// Replies to further probes.
    pub(crate) then: Vec<Vec<u8>>,
}

/// All that is wrong.
pub(crate) fn check(case: &Case, tokens: Tokens, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    matches(tokens, &case.expect, &seen.reply, &mut wrong);
    for (probe, reply) in case.then.iter().zip(&seen.then) {
        matches(tokens, &probe.expect, reply, &mut wrong);
    }
    if seen.then.len() != case.then.len() {
        wrong.push("a further probe was not sent".into());
    }
    if !seen.in_time {
        wrong.push("the answer is not there before the half-close".into());
    }
    if !seen.closed {
        wrong.push("the connection stays open after a half-close".into());
    }
    if let Some(limit) = case.within.filter(|limit| seen.took.as_secs_f64() > *limit) {
        wrong.push(format!("took {:?}, more than {limit} s", seen.took));
    }
    if case.diff_check {
        wrong.extend(difference(seen).err());
    }
    if let Some(index) = case.same_at_as_setup {
        let (now, then) = (at_line(&seen.reply), seen.setup_replies.get(index).map(|r| at_line(r)));
        if Some(now) != then {
            wrong.push(format!("AT line {:?} is not {:?}", latin1(now), then.map(latin1)));
        }
    }
    if case.converge.is_some() {
        let mut lines = seen.converged.iter().map(|reply| latin1(at_line(reply)));
        let first = lines.next().unwrap_or_default();
        if seen.converged.len() != 5 || !first.starts_with("AT ") || lines.any(|l| l != first) {
            let replies: Vec<_> = seen.converged.iter().map(|r| latin1(at_line(r))).collect();
            wrong.push(format!("nodes disagree: {replies:?}"));
        }
    }
    if let Some(demand) = &case.json {
        wrong.extend(json(demand, seen).err());
    }
    if let Some(demand) = &case.upstream {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let as_told = |asked: &Asked| {
            near(asked.latitude, demand.lat)
                && near(asked.longitude, demand.lng)
                && near(asked.radius_meters, demand.radius_m)
        };
        if !matches!(&*seen.asked, [one] if as_told(one)) {
            wrong.push(format!("upstream was asked {:?}, not once {demand:?}", seen.asked));
        }
    }
    if case.no_upstream && !seen.asked.is_empty() {
        wrong.push(format!("upstream was asked {:?}", seen.asked));
    }
    wrong
}

fn matches(tokens: Tokens, expect: &str, reply: &[u8], wrong: &mut Vec<String>) {
    let reply = latin1(reply);
    if !tokens.pattern(expect).is_match(&reply) {
        let shown: String = reply.chars().take(400).collect();
        wrong.push(format!("the reply {shown:?} does not match {expect:?}"));
    }
}

/// The first line without its newline.
fn at_line(reply: &[u8]) -> &[u8] {
    reply.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// The clocks of the test and of the node are one, so the node's receive time, which is the
/// client's time plus the difference, lies between sending and receiving.
fn difference(seen: &Seen) -> Result<(), String> {
    let line = latin1(at_line(&seen.reply));
    let words: Vec<_> = line.split(' ').collect();
    let [_, _, difference, _, _, time] = *words else {
        return Err(format!("{line:?} has no difference"));
    };
    if !difference.starts_with(['+', '-']) {
        return Err(format!("{difference:?} has no sign"));
    }
    let (difference, time) = nanos(difference).zip(nanos(time)).ok_or("no numbers")?;
    let received = time + difference;
    if (seen.sent_at..=seen.received_at).contains(&received) {
        Ok(())
    } else {
        Err(format!("{line:?}: {received} is not in {}..={}", seen.sent_at, seen.received_at))
    }
}

fn json(demand: &JsonCheck, seen: &Seen) -> Result<(), String> {
    let reply = std::str::from_utf8(&seen.reply).map_err(|error| error.to_string())?;
    let (_, rest) = reply.split_once('\n').ok_or("no JSON after the AT line")?;
    let body = rest.strip_suffix("\n\n").ok_or("does not end with two newlines")?;
    if body.ends_with('\n') || body.contains("\n\n") {
        return Err("holds a blank line, or ends with more than two newlines".into());
    }
    let parsed: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let results = parsed["results"].as_array().ok_or("results is no list")?;
    if results.len() != demand.results || parsed["status"] != *demand.status {
        return Err(format!("{} results and {}", results.len(), parsed["status"]));
    }
    if !parsed["html_attributions"].is_array() {
        return Err("html_attributions is no list".into());
    }
    let [asked] = &*seen.asked else {
        return Err(format!("upstream was asked {} times", seen.asked.len()));
    };
    let latitude: f64 = demand.upstream_prefix.parse().map_err(|_| "prefix is no number")?;
    if (asked.latitude - latitude).abs() > 1e-9 {
        return Err(format!("upstream was asked around {}", asked.latitude));
    }
    let upstream: Value = serde_json::from_str(&asked.answer).map_err(|error| error.to_string())?;
    let offered = upstream["results"].as_array().ok_or("upstream has no list")?;
    if !offered.starts_with(results) {
        return Err("results are not the first ones of upstream".into());
    }
    if demand.byte_exact && body != squeezed(&asked.answer) {
        return Err(format!("{body:?} is not the upstream text"));
    }
    Ok(())
}

/// Runs of newlines as one, none at the end.
fn squeezed(text: &str) -> String {
    text.split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Each check notices when it is broken.
#[cfg(test)]
mod tests {
    use super::*;

    fn case(fields: &str) -> Case {
        let text = format!(
            r#"{{"name":"n","rule":"r","why":"w","server":"Bailey","input":"","expect":".*",{fields}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn seen() -> Seen {
        let answer = "{\"html_attributions\":[],\n\n\"results\":[1,2],\"status\":\"OK\"}\n";
        let text = "AT Bailey +1.000000000 kiwi +1+2 5\n\
                    {\"html_attributions\":[],\n\"results\":[1,2],\"status\":\"OK\"}\n\n";
        Seen {
            reply: text.into(),
            in_time: true,
            closed: true,
            took: Duration::from_millis(100),
            sent_at: 5_999_999_999,
            received_at: 6_000_000_001,
            setup_replies: vec![b"AT Bailey +1.000000000 kiwi +1+2 5\n".into()],
            asked: vec![Asked {
                latitude: 1.0,
                longitude: 2.0,
                radius_meters: 10.0,
                answer: answer.into(),
            }],
            converged: vec![b"AT x\n{}\n\n".into(); 5],
            then: Vec::new(),
        }
    }

    #[track_caller]
    fn noticed(fields: &str, breakage: fn(&mut Seen)) {
        let (case, tokens, mut seen) = (case(fields), Tokens::now(), seen());
        assert_eq!(check(&case, tokens, &seen), Vec::<String>::new(), "{fields}");
        breakage(&mut seen);
        assert_ne!(check(&case, tokens, &seen), Vec::<String>::new(), "{fields}");
    }

    #[test]
    fn a_wrong_reply_is_noticed() {
        let strict = Case { expect: "AT .*\\}\\n\\n".into(), ..case(r#""within":1"#) };
        let mut cut = seen();
        assert_eq!(check(&strict, Tokens::now(), &cut), Vec::<String>::new());
        cut.reply.pop();
        assert_eq!(check(&strict, Tokens::now(), &cut).len(), 1);
        noticed(r#""within":0.5"#, |seen| seen.took = Duration::from_secs(1));
        noticed(r#""within":0.5"#, |seen| seen.closed = false);
        noticed(r#""half_close":false"#, |seen| seen.in_time = false);
    }

    #[test]
    fn a_wrong_further_reply_is_noticed() {
        let fields = r#""then":[{"server":"Bona","input":"x","expect":"\\? x"}]"#;
        let mut right = seen();
        right.then = vec![b"? x".into()];
        assert_eq!(check(&case(fields), Tokens::now(), &right), Vec::<String>::new());
        right.then = vec![b"? x\n".into()];
        assert_eq!(check(&case(fields), Tokens::now(), &right).len(), 1);
        assert_eq!(check(&case(fields), Tokens::now(), &seen()).len(), 1);
    }

    #[test]
    fn a_wrong_difference_is_noticed() {
        let fields = r#""diff_check":true"#;
        noticed(fields, |seen| seen.sent_at = 6_000_000_001);
        noticed(fields, |seen| seen.received_at = 5_999_999_999);
        noticed(fields, |seen| seen.reply = b"AT Bailey 1.000000000 kiwi +1+2 5\n".into());
        noticed(fields, |seen| seen.reply = b"? x\n".into());
    }

    #[test]
    fn disagreement_is_noticed() {
        noticed(r#""same_at_as_setup":0"#, |seen| seen.setup_replies[0] = b"AT y\n".into());
        noticed(r#""converge":"WHATSAT""#, |seen| seen.converged[3] = b"AT y\n{}\n\n".into());
        noticed(r#""converge":"WHATSAT""#, |seen| seen.converged.truncate(4));
        noticed(r#""converge":"WHATSAT""#, |seen| seen.converged = vec![b"? x\n".into(); 5]);
    }

    #[test]
    fn wrong_json_is_noticed() {
        let fields = r#""json":{"results":2,"status":"OK","upstream_prefix":"1.00"}"#;
        let swap = |seen: &mut Seen, old: &str, new: &str| {
            seen.reply = latin1(&seen.reply).replace(old, new).into_bytes();
        };
        noticed(fields, |seen| seen.reply.truncate(seen.reply.len() - 1));
        noticed(fields, |seen| seen.reply.push(b'\n'));
        noticed(fields, |seen| seen.asked[0].latitude = 1.1);
        noticed(fields, |seen| seen.asked.clear());
        for (old, new) in [
            ("[1,2]", "[2,1]"),
            ("[1,2]", "[1]"),
            ("[1,2]", "[1,2"),
            ("OK", "NO"),
            (",\n", ",\n\n"),
            ("html_attributions", "html"),
        ] {
            let mut seen = seen();
            swap(&mut seen, old, new);
            assert_eq!(check(&case(fields), Tokens::now(), &seen).len(), 1, "{old} {new}");
        }
        let exact = fields.replace('}', r#","byte_exact":true}"#);
        noticed(&exact, |seen| seen.reply = latin1(&seen.reply).replace("[1,", "[ 1,").into());
    }

    #[test]
    fn a_wrong_question_upstream_is_noticed() {
        let fields = r#""upstream":{"lat":1.0,"lng":2.0,"radius_m":10.0}"#;
        noticed(fields, |seen| seen.asked[0].radius_meters = 11.0);
        noticed(fields, |seen| seen.asked[0].longitude = -2.0);
        noticed(fields, |seen| seen.asked[0].latitude = -1.0);
        noticed(fields, |seen| seen.asked.clear());
        noticed(fields, |seen| seen.asked.push(seen.asked[0].clone()));
        let none = case(r#""no_upstream":true"#);
        assert_eq!(check(&none, Tokens::now(), &seen()).len(), 1);
    }
}
