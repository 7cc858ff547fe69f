//! What operators and people who try it out type, and what comes back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::eventually;
use support::processes::{Herd, herd_cli};

/// Longest that anything may take.
const LIMIT: Duration = Duration::from_secs(10);

fn herd() -> Herd {
    let mut herd = Herd::planned(&[]);
    herd.start_in_one_process();
    herd
}

fn run(herd: &Herd, args: &[&str]) -> Output {
    let mut command = herd.command();
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn alone(args: &[&str]) -> Output {
    herd_cli().args(args).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}{}", out(output));
    out(output)
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_sound_herd_is_drawn_checked_and_found_well() {
    let herd = herd();
    eventually(LIMIT, || {
        let check = run(&herd, &["status", "--check"]);
        if check.status.code() == Some(0) { Ok(()) } else { Err(out(&check)) }
    });
    let check = ends(&run(&herd, &["status", "--check"]), 0);
    assert!(check.starts_with("HERD OK - 5 nodes up, all hold the same | nodes_up=5"), "{check}");
    let tree = ends(&run(&herd, &["topology", "--as", "tree"]), 0);
    assert!(tree.starts_with("Bailey\n") && tree.lines().count() == 5, "{tree}");
    let dot = ends(&run(&herd, &["topology", "--as", "dot"]), 0);
    assert!(dot.contains("\"Bailey\" -- \"C"), "{dot}");
    assert!(ends(&run(&herd, &["topology", "--as", "mermaid"]), 0).starts_with("graph LR\n"));
    let topology = json(&ends(&run(&herd, &["topology", "-o", "json"]), 0));
    assert!(topology["links"].as_array().unwrap().iter().all(|link| link["state"] == "up"));
    let doctor = ends(&run(&herd, &["doctor"]), 0);
    assert_eq!(doctor, "all is well\n");
    let versions = json(&ends(&run(&herd, &["version", "-o", "json"]), 0));
    assert_eq!(versions["nodes"][4]["version"], versions["client"]);
    let top = json(&ends(&run(&herd, &["top", "--once", "--interval", "200ms", "-o", "json"]), 0));
    assert_eq!((&top["up"], &top["digests_equal"]), (&5.into(), &true.into()));
}

#[test]
fn a_herd_that_is_not_there_is_critical_and_says_what_to_do() {
    let herd = Herd::planned(&[]);
    let check = ends(&run(&herd, &["status", "--check"]), 2);
    assert!(check.starts_with("HERD CRITICAL - 5 of 5 nodes down: Bailey"), "{check}");
    let doctor = ends(&run(&herd, &["doctor"]), 2);
    assert!(doctor.contains("-> start them: `herd-cli up`"), "{doctor}");
    let missing = ends(&alone(&["--herd-file", "gone.toml", "doctor"]), 2);
    assert!(
        missing.contains("gone.toml: No such file") && missing.contains("-> name"),
        "{missing}"
    );
    ends(&run(&herd, &["version"]), 5);
    ends(&run(&herd, &["topology"]), 5);
    ends(&run(&herd, &["trace", "kiwi"]), 5);
}

#[test]
fn a_location_is_traced_through_the_herd() {
    let herd = herd();
    ends(&run(&herd, &["report", "kiwi", "1,2"]), 0);
    eventually(LIMIT, || {
        let trace = run(&herd, &["trace", "kiwi"]);
        if trace.status.code() == Some(0) { Ok(()) } else { Err(out(&trace)) }
    });
    let trace = json(&ends(&run(&herd, &["trace", "kiwi", "-o", "json"]), 0));
    let nodes = trace["nodes"].as_array().unwrap();
    assert_eq!((&nodes[0]["name"], &nodes[0]["hops"]), (&"Bailey".into(), &0.into()));
    assert!(nodes[1..].iter().all(|node| node["hops"].as_u64() > Some(0)), "{trace}");
    assert!(nodes.iter().all(|node| node["after_seconds"].as_f64() >= Some(0.0)), "{trace}");
    let table = ends(&run(&herd, &["trace", "kiwi"]), 0);
    assert!(table.contains("└─ "), "{table}");
    ends(&run(&herd, &["trace", "ghost"]), 3);
}

#[test]
fn what_is_exported_is_imported_into_another_herd() {
    let (here, there) = (herd(), herd());
    let folder = tempfile::tempdir().unwrap();
    ends(&run(&here, &["report", "kiwi", "+34.07-118.44", "--time", "1700000000.50"]), 0);
    ends(&run(&here, &["report", "emu", "-33.87,151.21"]), 0);
    for form in ["csv", "jsonl", "gpx", "geojson"] {
        let path = folder.path().join(format!("herd.{form}"));
        let path = path.to_str().unwrap();
        let said = ends(&run(&here, &["export", path]), 0);
        assert!(said.starts_with("2 locations written to "), "{said}");
        let said = ends(&run(&there, &["import", path]), 0);
        assert!(said.starts_with("2 locations reported"), "{form}: {said}");
    }
    let got = json(&ends(&run(&there, &["get", "kiwi", "-o", "json"]), 0));
    assert_eq!(got["position"]["latitude"], 34.07);
    assert_eq!(got["time"], "2023-11-14T22:13:20.500000000Z");
    // To standard output, and from standard input.
    let lines = ends(&run(&here, &["export"]), 0);
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("\"at\":\"+34.07-118.44\""), "{lines}");
    let bad = folder.path().join("bad.csv");
    fs::write(&bad, "id,lat,lon\nkiwi,91,0\nmoa,1,2\n").unwrap();
    let refused = run(&there, &["import", bad.to_str().unwrap()]);
    ends(&refused, 8);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("location 1: position.latitude"));
    let skipped = ends(&run(&there, &["import", bad.to_str().unwrap(), "--skip", "1"]), 0);
    assert!(skipped.starts_with("1 locations reported"), "{skipped}");
    ends(&run(&there, &["import", "herd.xyz"]), 2);
}

#[test]
fn simulated_clients_move_and_are_forgotten_if_that_is_asked() {
    let herd = herd();
    let words = ["simulate", "--clients", "40", "--every", "100ms", "--for", "2s"];
    let said = json(&ends(&run(&herd, &[&words[..], &["-o", "json"]].concat()), 0));
    assert!(said["reports"].as_u64() >= Some(40) && said["refused"] == 0, "{said}");
    let near = ["near", "0,0", "--radius", "20037km", "-o", "json"];
    let found = json(&ends(&run(&herd, &near), 0));
    assert!(!found["neighbors"].as_array().unwrap().is_empty());
    ends(&run(&herd, &[&words[..], &["--forget"]].concat()), 0);
    let found = json(&ends(&run(&herd, &near), 0));
    assert_eq!(found["neighbors"], Value::Array(Vec::new()));
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let commands = ["up", "near", "watch", "trace", "doctor", "import", "simulate"];
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = ends(&alone(&["completions", shell]), 0);
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    let page = ends(&alone(&["man"]), 0);
    assert!(page.starts_with(".ie \\n(.g") && page.contains(".TH "), "{page}");
    let folder = tempfile::tempdir().unwrap();
    ends(&alone(&["man", "--dir", folder.path().to_str().unwrap()]), 0);
    for command in commands {
        let page = fs::read_to_string(folder.path().join(format!("herd-cli-{command}.1"))).unwrap();
        assert!(page.contains("EXTRA") && page.contains("Examples"), "{command}: {page}");
    }
}

#[test]
fn a_context_says_which_herd_and_flags_beat_it() {
    let herd = herd();
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = herd_cli();
        command.args(args).env("XDG_CONFIG_HOME", home.path()).stdin(Stdio::null());
        command.output().unwrap()
    };
    let file = herd.file();
    let file = file.to_str().unwrap();
    ends(&run(&["context", "set", "here", "--herd-file", file, "--node", "Clark"]), 0);
    ends(&run(&["context", "set", "nowhere", "--node", "127.0.0.1:1"]), 0);
    let report = ["--context", "here", "report", "kiwi", "1,2", "-o", "json"];
    assert_eq!(json(&ends(&run(&report), 0))["location"]["origin"], "Clark");
    ends(&run(&["context", "use", "nowhere"]), 0);
    ends(&run(&["get", "kiwi"]), 5);
    ends(&run(&["context", "use", "here"]), 0);
    ends(&run(&["get", "kiwi"]), 0);
    ends(&run(&["--node", "127.0.0.1:1", "get", "kiwi"]), 5);
    let list = json(&ends(&run(&["context", "ls", "-o", "json"]), 0));
    assert_eq!(list["contexts"][0]["current"], true, "{list}");
    ends(&run(&["context", "rm", "here"]), 0);
    ends(&run(&["context", "use", "here"]), 2);
    let list = ends(&run(&["context", "ls"]), 0);
    assert!(list.contains("nowhere") && !list.contains('*'), "{list}");
}
