//! What is printed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use super::contenders::Contender;
use super::scenarios::{Run, Scenario};

/// Foreign load beyond this makes a comparison worth little.
const FOREIGN_CORES_MAX: f64 = 0.1;

/// Where and of what a run was.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    commit: String,
    rustc: String,
    versions: BTreeMap<&'static str, String>,
}

impl Machine {
    pub(crate) fn of_this_run() -> anyhow::Result<Self> {
        let info = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = model.map_or("unknown", |line| line.trim_start_matches([':', '\t', ' ']));
        let versions = [
            ("python", said("python3", &["--version"])),
            ("node", said("node", &["--version"])),
            ("redis", said("redis-server", &["--version"])),
        ];
        Ok(Self {
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: said("uname", &["-sr"]).context("no uname")?,
            commit: said("git", &["describe", "--always", "--dirty"]).unwrap_or_default(),
            rustc: said("rustc", &["--version"]).unwrap_or_default(),
            versions: versions.into_iter().filter_map(|(key, said)| Some((key, said?))).collect(),
        })
    }
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cores of {}, {}", self.cores, self.processor, self.kernel)?;
        writeln!(f, "commit {}, {}", self.commit, self.rustc)?;
        let versions: Vec<_> = self.versions.values().map(String::as_str).collect();
        write!(f, "{}", versions.join("; "))
    }
}

/// Prints what the program is for.
#[expect(clippy::print_stdout, reason = "a program's own words")]
pub(crate) fn say(text: impl fmt::Display) {
    println!("{text}");
}

/// A scenario's table: medians of all rounds, and the rate as a share of the first contender's of
/// the same round.
pub(crate) fn of(scenario: Scenario, runs: &BTreeMap<Contender, Vec<Run>>) -> String {
    let mut text = format!("\n## {}\n\n", scenario.name());
    let memory = scenario == Scenario::Memory;
    text += if memory {
        "| who | bytes a client | peak / end | filled in s | x first |\n|---|---:|---:|---:|---:|\n"
    } else {
        "| who | a second | x first | p50 us | p99 us | server cores | load cores | foreign |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n"
    };
    let first = scenario.contenders().iter().find_map(|first| runs.get(first));
    for (contender, own) in
        scenario.contenders().iter().filter_map(|contender| runs.get_key_value(contender))
    {
        let of = |value: fn(&Run) -> f64| median(own.iter().map(value).collect());
        let ratio = |value: fn(&Run) -> f64| {
            let pairs = own.iter().zip(first.into_iter().flatten());
            median(pairs.map(|(own, first)| value(own) / value(first)).collect())
        };
        let bytes = |run: &Run| {
            let taken = run.memory.0.saturating_sub(run.memory_empty);
            taken as f64 / run.measured.operations as f64
        };
        let name = contender.name();
        // Writing to a string does not fail.
        let _ = if memory {
            let peak = of(|run| run.memory.1 as f64 / run.memory.0 as f64);
            let (bytes_each, seconds) = (of(bytes), of(|run| run.measured.seconds));
            let ratio = ratio(bytes);
            writeln!(text, "| {name} | {bytes_each:.0} | {peak:.2} | {seconds:.2} | {ratio:.2} |")
        } else {
            let bound = own.iter().filter(|run| run.was_bound_by_load()).count() * 2 > own.len();
            let ratio = if bound {
                "the load was the limit".to_owned()
            } else {
                format!("{:.2}", ratio(|run| run.measured.rate))
            };
            writeln!(
                text,
                "| {name} | {:.0} | {ratio} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                of(|run| run.measured.rate),
                of(|run| run.measured.latency.p50),
                of(|run| run.measured.latency.p99),
                of(|run| run.server_cores),
                of(|run| run.measured.load_cores),
                of(|run| run.foreign_cores),
            )
        };
    }
    let foreign = runs.values().flatten().map(|run| run.foreign_cores).collect();
    let foreign = median(foreign);
    if foreign > FOREIGN_CORES_MAX {
        let _ = writeln!(text, "\nOthers used {foreign:.2} cores meanwhile: do not publish this.");
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, values[middle - 1]),
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert!((median(vec![3.0, 1.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 9.0, 3.0]) - 3.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
