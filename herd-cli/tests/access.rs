//! A herd that wants tokens or TLS, and what callers without are told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use herd_edge::testing::TestCa;
use support::eventually;
use support::processes::Herd;

/// Longest wait for a start, and for a file to be read again, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

const ADMIN: (&str, &str) = ("HERD_TOKEN", "admin-0123456789abcdef");
const READER: (&str, &str) = ("HERD_TOKEN", "reader-0123456789abcdef");

fn entry(name: &str, token: &str, role: &str) -> String {
    format!("[[tokens]]\nname='{name}'\ntoken='{token}'\nroles=['{role}']\n")
}

/// A running `up`, killed at the end.
struct Up(Child);

impl Up {
    fn start(herd: &Herd, args: &[&str]) -> Self {
        let mut command = herd.command();
        command.args(["up", "--only", "Bailey,Bona"]).args(args);
        // The gateway's own; nodes need none.
        command.env(ADMIN.0, ADMIN.1).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// What the program answers: its exit code, and all that it says.
fn said(herd: &Herd, args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let mut command: Command = herd.command();
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code().unwrap(), text)
}

#[track_caller]
fn soon(herd: &Herd, args: &[&str], env: &[(&str, &str)], code: i32, parts: &[&str]) {
    eventually(LIMIT, || {
        let said = said(herd, args, env);
        let right = said.0 == code && parts.iter().all(|part| said.1.contains(part));
        if right { Ok(()) } else { Err(said) }
    });
}

#[test]
fn tokens_that_are_missing_unknown_too_weak_or_revoked_are_told_apart() {
    let herd = Herd::planned(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens.toml");
    let admin = entry("op", ADMIN.1, "admin");
    fs::write(&file, format!("{admin}{}", entry("map", READER.1, "read"))).unwrap();
    let _up = Up::start(&herd, &["--tokens-file", file.to_str().unwrap()]);

    // The others of the herd file are down.
    soon(&herd, &["status"], &[ADMIN], 8, &["ready", "hold the same; 3 down"]);
    let refused = [
        "Bailey    refused",
        "Clark     down",
        "hint: give a token of the herd",
        "nothing is told: 2 of 5 nodes refuse this caller",
    ];
    soon(&herd, &["status"], &[], 7, &refused);
    // What is there is not called down to those who are called at night.
    let check =
        ["HERD CRITICAL - 3 of 5 nodes down: ", "; 2 of 5 nodes that refuse to tell: Bailey, Bona"];
    soon(&herd, &["status", "--check"], &[], 2, &check);
    soon(&herd, &["get", "kiwi"], &[], 7, &["this herd wants a token"]);
    let unknown = ("HERD_TOKEN", "nobody-0123456789abcdef");
    soon(&herd, &["get", "kiwi"], &[unknown], 7, &["not one of this herd's"]);
    soon(&herd, &["report", "kiwi", "1,2"], &[READER], 7, &["\"map\" lacks the role report"]);
    soon(&herd, &["report", "kiwi", "1,2"], &[ADMIN], 0, &["newest    yes"]);
    soon(&herd, &["get", "kiwi"], &[READER], 0, &["kiwi"]);
    soon(&herd, &["forget", "kiwi"], &[READER], 7, &["lacks the role admin"]);

    fs::write(&file, admin).unwrap();
    soon(&herd, &["get", "kiwi"], &[READER], 7, &["or no longer"]);
    soon(&herd, &["get", "kiwi"], &[ADMIN], 0, &["kiwi"]);
}

fn with_tls(herd: &Herd, directory: &Path) -> Up {
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (file("{name}.pem"), file("{name}.key"), file("ca.pem"));
    Up::start(herd, &["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca])
}

#[test]
fn a_node_that_wants_tls_is_no_node_that_is_down() {
    let (herd, ca, other) = (Herd::planned(&[]), TestCa::new("herd"), TestCa::new("other"));
    ca.files("Bailey", &["Bailey"]);
    ca.expired("Bona", &["Bona"]);
    let _up = with_tls(&herd, ca.directory());
    let (ours, theirs) = (ca.ca(), other.ca());
    let [ours, theirs] = [&ours, &theirs].map(|path| ("HERD_TLS_CA", path.to_str().unwrap()));

    let expired = ["Bailey    ready", "Bona      refused", "certificate expired"];
    soon(&herd, &["status"], &[ours], 8, &expired);
    let plain = [
        "Bailey    refused",
        "it speaks TLS only",
        "hint: give the file of the herd's CA",
        "nothing is told: 2 of 5 nodes refuse this caller",
    ];
    soon(&herd, &["status"], &[], 7, &plain);
    soon(&herd, &["get", "kiwi"], &[], 5, &["it speaks TLS only", "--ca"]);
    soon(&herd, &["status"], &[theirs], 7, &["Bailey    refused", "UnknownIssuer"]);
}

#[test]
fn a_caller_that_wants_tls_of_a_herd_in_plain_text_is_told() {
    let (herd, ca) = (Herd::planned(&[]), TestCa::new("herd"));
    let _up = Up::start(&herd, &[]);
    soon(&herd, &["status"], &[], 8, &["Bailey    ready"]);
    let path = ca.ca();
    let trusting = ("HERD_TLS_CA", path.to_str().unwrap());
    let told = ["Bailey    refused", "a herd in plain text wants none of them"];
    soon(&herd, &["status"], &[trusting], 7, &told);
}
