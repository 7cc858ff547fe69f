//! Spans reach a collector: one trace from a text line over the gateway and its node to the friends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod collector;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use collector::{Collector, Span};
use support::processes::Herd;
use support::text::ask;
use support::{NODES, eventually};

/// Longest wait for what comes within milliseconds, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

/// The only span of a kind and name below another one.
fn below<'a>(spans: &'a [Span], parent: &Span, name: &str, kind: i32) -> Option<&'a Span> {
    let mut found = spans
        .iter()
        .filter(|span| span.parent == parent.id && span.trace == parent.trace && span.name == name);
    found.next().filter(|span| span.kind == kind && found.next().is_none())
}

/// The span of a text line, and below it those of the gateway's call and of the node's answer.
fn chain<'a>(spans: &'a [Span], line: &str, method: &str) -> Option<[&'a Span; 3]> {
    let line = spans.iter().find(|span| span.name == line && span.parent.is_empty())?;
    let call = below(spans, line, method, CLIENT)?;
    Some([line, call, below(spans, call, method, SERVER)?])
}

#[test]
fn one_trace_leads_from_a_line_to_each_node_that_learnt_of_it() {
    let (collector, address) = Collector::start();
    let endpoint = format!("http://{address}");
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let herd = Herd::started(["Jaquez", "Bona", "Clark", "Bailey", "Campbell"], &environment);
    let answer = ask(herd.text("Bailey"), "IAMAT kiwi +34.068930-118.445127 1700000000.5\n");
    assert!(answer.starts_with("AT Bailey "), "{answer}");
    eventually(LIMIT, || {
        let spans = collector.spans();
        let method = "herd.v1.Locations/ReportStream";
        let Some([line, _, answer]) = chain(&spans, "IAMAT", method) else { return Err(spans) };
        assert_eq!((line.kind, line.attribute("herd.lines")), (SERVER, "1"));
        assert_eq!(line.attribute("herd.outcome"), "answered");
        assert_eq!(answer.attribute("herd.node"), "Bailey");
        // Each of the others, by whichever friend was first.
        let hops = spans.iter().filter(|span| span.trace == line.trace && span.kind == CONSUMER);
        let learnt = hops.filter(|hop| hop.attribute("herd.applied") == "true");
        let learnt: BTreeSet<_> = learnt
            .map(|hop| {
                let node = hop.attribute("herd.node");
                assert_eq!(hop.instance, format!("{node}-node"), "it comes from its own process");
                let from = hop.attribute("herd.peer");
                let above = spans.iter().find(|span| span.id == hop.parent);
                assert!(above.is_none_or(|above| above.attribute("herd.node") == from));
                node.to_owned()
            })
            .collect();
        let others: BTreeSet<_> = NODES[1..].iter().map(ToString::to_string).collect();
        if learnt == others { Ok(()) } else { Err(spans) }
    });
}

/// A herd whose gateway asks over gRPC, since its nodes want tokens.
struct Guarded {
    process: Child,
    herd: Herd,
    /// Holds the tokens, and the log.
    directory: tempfile::TempDir,
}

impl Guarded {
    fn start(environment: &[(&str, &str)]) -> Self {
        let herd = Herd::planned(&[]);
        let directory = tempfile::tempdir().unwrap();
        let (token, file) = ("admin-0123456789abcdef", directory.path().join("tokens.toml"));
        let entry = format!("[[tokens]]\nname='op'\ntoken='{token}'\nroles=['admin', 'peer']\n");
        fs::write(&file, entry).unwrap();
        let mut command = herd.command();
        command.args(["up", "--only", "Bailey", "--tokens-file"]).arg(&file);
        command.env("HERD_TOKEN", token).envs(environment.iter().copied());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { process: command.spawn().unwrap(), herd, directory }
    }

    /// Asks until the gateway is there and reaches its node.
    fn report(&self) {
        let text = self.herd.text("Bailey");
        eventually(LIMIT, || {
            let there = std::net::TcpStream::connect(text).is_ok();
            let answer =
                if there { ask(text, "IAMAT kiwi +34-118 1700000000.5\n") } else { String::new() };
            if answer.starts_with("AT ") { Ok(()) } else { Err(answer) }
        });
    }

    /// How often it has said that its collector takes nothing.
    fn complaints(&self) -> usize {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        log.matches("traces are lost").count()
    }

    fn terminate(&mut self) -> bool {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap().success()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

#[test]
fn over_grpc_too_and_what_waits_is_sent_when_the_program_ends() {
    let (collector, address) = Collector::start();
    let endpoint = format!("http://{address}");
    // Nothing would be sent before the test is long over.
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let mut guarded = Guarded::start(&environment);
    guarded.report();
    let answer = ask(guarded.herd.text("Bailey"), "WHATSAT kiwi 10 1\n");
    assert!(answer.starts_with("AT Bailey "), "{answer}");
    assert_eq!(collector.spans().len(), 0);
    assert!(guarded.terminate());
    let spans = collector.spans();
    assert!(chain(&spans, "IAMAT", "herd.v1.Locations/ReportStream").is_some(), "{spans:#?}");
    let Some([line, _, answer]) = chain(&spans, "WHATSAT", "herd.v1.Places/Search") else {
        panic!("{spans:#?}")
    };
    // By this name both logs know it.
    assert_eq!(line.attribute("herd.request_id").len(), 16);
    assert_eq!(line.attribute("herd.request_id"), answer.attribute("herd.request_id"));
    assert_eq!(answer.attribute("rpc.grpc.status_code"), "0");
}

#[test]
fn a_collector_that_is_not_there_harms_nothing() {
    let nobody = "http://127.0.0.1:1";
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let mut guarded = Guarded::start(&environment);
    guarded.report();
    let text = guarded.herd.text("Bailey");
    for _ in 0..20 {
        assert!(ask(text, "WHATSAT kiwi 10 1\n").starts_with("AT Bailey "));
    }
    // Then it is sure that some were not taken.
    eventually(LIMIT, || if guarded.complaints() > 0 { Ok(()) } else { Err("none yet") });
    for _ in 0..20 {
        assert!(ask(text, "WHATSAT kiwi 10 1\n").starts_with("AT Bailey "));
    }
    assert!(guarded.terminate());
    assert_eq!(guarded.complaints(), 1, "it is told once, and not of each span");
}
