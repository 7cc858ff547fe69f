//! Pages that are made from the programs: written by these tests when asked to, compared otherwise.
//!
//! ```sh
//! HERD_WRITE_DOCS=1 cargo test -p herd-cli --test docs
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod configuration;
mod errors;
#[path = "../support/exposition.rs"]
mod exposition;
mod metrics;

use std::path::PathBuf;
use std::{env, fs};

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Compares a page with the one that is kept, or keeps it.
#[track_caller]
fn is_kept(name: &str, page: &str) {
    if env::var_os("HERD_WRITE_DOCS").is_some() {
        fs::write(docs(name), page).unwrap();
    }
    let kept = fs::read_to_string(docs(name)).unwrap_or_default();
    assert!(kept == page, "docs/{name} is out of date: run these tests with HERD_WRITE_DOCS=1");
}

#[test]
fn the_page_of_the_configuration_is_what_the_programs_say() {
    is_kept("configuration.md", &configuration::page());
}

#[tokio::test]
async fn the_page_of_the_metrics_is_what_nodes_and_gateways_tell() {
    is_kept("metrics.md", &metrics::page(&exposition::expositions().await));
}
