//! Plays `line-cases.json` against a herd of five processes, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

#[path = "line_cases/case.rs"]
mod case;
#[path = "line_cases/checks.rs"]
mod checks;
#[path = "line_cases/play.rs"]
mod play;

use support::NODES;
use support::google::Google;
use support::processes::Herd;

use case::Case;

#[test]
fn every_conversation_goes_as_written_down() {
    let google = Google::start();
    let url = google.url();
    let mut herd = Herd::started(
        NODES,
        &[
            ("HERD_PLACES_PROVIDER", "google-legacy"),
            ("HERD_PLACES_URL", &url),
            ("HERD_PLACES_KEY", "not-a-real-key"),
        ],
    );
    let cases = Case::all();
    assert_eq!(cases.len(), 120);
    let only = std::env::var("LINE_CASE").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        for problem in play::play(case, &mut herd, &google) {
            let choice = if case.ambiguous { "; our choice" } else { "" };
            let Case { name, rule, why, .. } = case;
            failures.push(format!("{name} ({rule}: {why}{choice}): {problem}"));
        }
    }
    assert!(failures.is_empty(), "{} problems:\n{}", failures.len(), failures.join("\n"));
}
