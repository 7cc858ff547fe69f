//! What operators apply, against the programs: settings, ports, probes, times, metrics.
//!
//! Whatever needs no tool is checked here; `.ci/deploy` renders the rest and asks the tools.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/exposition.rs"]
mod exposition;
mod files;
mod images;
mod metrics;
mod settings;
mod shutdown;
