//! Guards the hot path: counts the instructions of each of its steps under callgrind and compares
//! them with the committed ones. Instructions, unlike times, are the same on a busy machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use herd_bench::hot::{BATCH, STEPS};

/// Rounds of the shorter of the two runs whose difference counts; so what comes before and after
/// the rounds counts nothing.
const ROUNDS: u32 = 20;

/// How much more than the committed count passes, in percent. The crates of the hot path are compiled
/// in one piece, so that a change elsewhere moves little.
const MORE_PERCENT: u64 = 3;

/// How much less passes. A step that became cheaper than this is to be committed, or the guard
/// would let it go back unnoticed.
const LESS_PERCENT: u64 = 10;

/// In place of both, where the compiler is another one than that of the committed counts.
const OTHER_COMPILER_PERCENT: u64 = 40;

/// Counts the instructions of the hot path's steps.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Compares with the committed counts
    Check(Valgrind),
    /// Writes the counts to be committed
    Commit(Valgrind),
    /// Only does the work of a step: what the other two count
    Run {
        /// Which step
        step: String,
        /// How often
        rounds: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Valgrind {
    /// The program to count with
    #[arg(long = "valgrind", default_value = "valgrind", value_name = "PROGRAM")]
    program: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().task {
        Task::Run { step, rounds } => {
            let step = STEPS.iter().find(|other| other.name == step).context("no such step")?;
            let mut round = step.prepare();
            for _ in 0..rounds {
                round();
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Commit(valgrind) => {
            std::fs::write(committed(), Counts::of_this_build(&valgrind)?.text()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Check(valgrind) => {
            let file = std::fs::read_to_string(committed()).context("no committed counts")?;
            let committed = Counts::parse(&file)?;
            let counted = Counts::of_this_build(&valgrind)?;
            let (table, passes) = counted.compare(&committed);
            say(&table);
            Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program's own words")]
fn say(text: &str) {
    print!("{text}");
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}

/// Instructions for each report, by step, and who compiled them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counts {
    compiler: String,
    steps: BTreeMap<String, u64>,
}

impl Counts {
    fn of_this_build(valgrind: &Valgrind) -> anyhow::Result<Self> {
        let said = Command::new("rustc").arg("--version").output().context("no rustc")?;
        let compiler = String::from_utf8(said.stdout)?.trim().to_owned();
        let mut steps = BTreeMap::new();
        for step in STEPS {
            let (less, more) =
                (valgrind.count(step.name, ROUNDS)?, valgrind.count(step.name, 2 * ROUNDS)?);
            let reports = u64::from(ROUNDS * BATCH);
            steps.insert(step.name.to_owned(), more.saturating_sub(less) / reports);
        }
        Ok(Self { compiler, steps })
    }

    fn text(&self) -> anyhow::Result<String> {
        let mut text = format!("{}\n", self.compiler);
        for (step, count) in &self.steps {
            writeln!(text, "{step} {count}")?;
        }
        Ok(text)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let compiler = lines.next().context("empty")?.to_owned();
        let read = |line: &str| {
            let (step, count) = line.split_once(' ').context("a step and its count")?;
            Ok((step.to_owned(), count.parse()?))
        };
        let steps = lines.map(read).collect::<anyhow::Result<_>>()?;
        Ok(Self { compiler, steps })
    }

    /// A table, and whether all steps are within their tolerance.
    fn compare(&self, committed: &Self) -> (String, bool) {
        let mut table = String::new();
        let mut passes = true;
        let same = self.compiler == committed.compiler;
        let (more, less) = if same {
            (MORE_PERCENT, LESS_PERCENT)
        } else {
            let _ = writeln!(table, "{} counted, {} committed", self.compiler, committed.compiler);
            (OTHER_COMPILER_PERCENT, OTHER_COMPILER_PERCENT)
        };
        for (step, count) in &self.steps {
            let verdict = match committed.steps.get(step) {
                None => "not committed: cargo run --release -p herd-bench --bin counts commit",
                // One instruction is rounding.
                Some(known) if *count > known + known * more / 100 + 1 => "MORE than allowed",
                Some(known) if *count + known * less / 100 + 1 < *known => {
                    "less: commit it, so that it stays"
                }
                Some(_) => "",
            };
            passes &= verdict.is_empty();
            let known = committed.steps.get(step).copied().unwrap_or(0);
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "{step:<16} {count:>6} instructions, {known:>6} committed  {verdict}"
            );
        }
        (table, passes)
    }
}

impl Valgrind {
    /// Instructions of a whole run.
    fn count(&self, step: &str, rounds: u32) -> anyhow::Result<u64> {
        let this = std::env::current_exe()?;
        let mut valgrind = Command::new(&self.program);
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let run = valgrind.arg(this).args(["run", step, &rounds.to_string()]).output();
        let run = run.with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&run.stderr);
        ensure!(run.status.success(), "{step} failed under valgrind: {said}");
        let Some((_, rest)) = said.split_once("Collected :") else {
            bail!("callgrind does not tell what it counted: {said}");
        };
        Ok(rest.split_whitespace().next().context("no count")?.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, steps: &[(&str, u64)]) -> Counts {
        let steps = steps.iter().map(|(step, count)| ((*step).to_owned(), *count)).collect();
        Counts { compiler: compiler.into(), steps }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let counts = counts("rustc 1", &[("a-step", 100), ("b-step", 7)]);
        assert_eq!(Counts::parse(&counts.text().unwrap()).unwrap(), counts);
        assert!(Counts::parse("rustc 1\na-step many\n").is_err());
    }

    #[test]
    fn a_little_more_fails_and_so_does_a_gain_that_is_not_committed() {
        let committed = counts("rustc 1", &[("step", 1000)]);
        for (count, passes) in
            [(1000, true), (1030, true), (1032, false), (900, true), (898, false)]
        {
            let (table, passed) = counts("rustc 1", &[("step", count)]).compare(&committed);
            assert_eq!(passed, passes, "{table}");
        }
    }

    #[test]
    fn another_compiler_is_given_more_room_and_a_new_step_none() {
        let committed = counts("rustc 1", &[("step", 1000)]);
        assert!(counts("rustc 2", &[("step", 1400)]).compare(&committed).1);
        assert!(!counts("rustc 2", &[("step", 1500)]).compare(&committed).1);
        assert!(!counts("rustc 1", &[("step", 1000), ("new", 1)]).compare(&committed).1);
    }

    #[test]
    fn every_step_is_committed_and_no_other() {
        let committed = Counts::parse(&std::fs::read_to_string(committed()).unwrap()).unwrap();
        let mut steps: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        steps.sort_unstable();
        assert_eq!(committed.steps.keys().collect::<Vec<_>>(), steps);
    }
}
