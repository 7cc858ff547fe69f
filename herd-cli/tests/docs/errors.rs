//! `docs/errors.md` is written by hand, and leaves nothing out.

use std::fs;
use std::path::Path;
use std::process::Command;

use herd_proto::v1::Reason;

use crate::docs;
use crate::exposition::expositions;

fn page() -> String {
    fs::read_to_string(docs("errors.md")).unwrap()
}

/// The second argument of the functions that make a status with a reason, as the code has it.
fn reasons_in(folder: &Path, found: &mut Vec<String>) {
    let reason =
        regex::Regex::new(r#"(?:unauthenticated|denied|with_error_info)\(\s*"([A-Z_]+)""#).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            reasons_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(reason.captures_iter(&text).map(|captures| captures[1].to_owned()));
        }
    }
}

#[test]
fn every_reason_of_a_status_is_on_the_page() {
    let (page, mut reasons) = (page(), Vec::new());
    reasons_in(&docs("../herd-node/src"), &mut reasons);
    assert!(reasons.len() >= 7, "some were not found: {reasons:?}");
    for reason in reasons {
        assert!(page.contains(&format!("| `{reason}` |")), "{reason} is missing");
    }
}

#[test]
fn every_reason_of_a_goodbye_is_on_the_page() {
    let page = page();
    let reasons = (1..).map_while(|number| Reason::try_from(number).ok());
    let names: Vec<_> = reasons.map(|reason| reason.as_str_name()).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is missing");
    }
}

#[test]
fn every_exit_code_of_the_help_is_on_the_page_in_its_words() {
    let help = Command::new(env!("CARGO_BIN_EXE_herd-cli")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let (page, mut count) = (page(), 0);
    for line in codes.lines().filter(|line| !line.trim().is_empty()) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(page.contains(&row), "{row} is missing");
        count += 1;
    }
    assert!(count > 9, "{count} exit codes: some were not found");
}

#[tokio::test]
async fn every_reason_of_a_refusal_is_on_the_page() {
    let (page, reason) = (page(), regex::Regex::new(r#"refusals_total\{reason="(\w+)""#).unwrap());
    for (_, text) in expositions().await {
        for captures in reason.captures_iter(&text) {
            assert!(page.contains(&format!("`{}`", &captures[1])), "{} is missing", &captures[1]);
        }
    }
}
