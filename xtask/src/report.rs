//! Figures as people and programs read them.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Prints a line of the report.
#[expect(clippy::print_stdout, reason = "the report is what the program is for")]
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

/// Writes `figures` to `file`, if one is named.
pub(crate) fn write_json(file: Option<&Path>, figures: &impl Serialize) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
