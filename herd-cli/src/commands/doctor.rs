use std::fmt::Write as _;
use std::time::{Duration, Instant};

use herd_cli::Client;
use herd_proto::v1;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::Target;
use super::survey::{Asked, ask_all, meant};
use crate::args::DoctorArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable};

mod checks;

/// How long nodes may take to agree before their difference is taken for a fault: a look at running
/// nodes takes place each ten seconds, a record takes milliseconds.
const AGREEMENT: Duration = Duration::from_secs(5);

/// How often they are asked meanwhile.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(
    args: DoctorArgs,
    target: Result<Target, Failure>,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let findings = match target {
        Ok(target) => examine(&target).await?,
        Err(failure) => checks::unusable(&failure),
    };
    let report = Report::new(findings, args.all);
    output.answer(&report)?;
    Ok(match report.worst {
        Level::Ok => ExitCode::Success,
        Level::Warning => ExitCode::Failure,
        Level::Critical => ExitCode::Usage,
    })
}

async fn examine(target: &Target) -> Result<Vec<Finding>, Failure> {
    let started = Instant::now();
    let ask = |client: Client| async move { client.status().await };
    let nodes = meant(target, true)?;
    let mut asked = ask_all(nodes.clone(), target, ask).await;
    let mut agreed = agree(&asked);
    while !agreed && started.elapsed() < AGREEMENT {
        sleep(AGAIN).await;
        asked = ask_all(nodes.clone(), target, ask).await;
        agreed = agree(&asked);
    }
    Ok(checks::nodes(&target.topology, &asked, agreed))
}

/// Whether all nodes that answered hold the same.
fn agree(asked: &[Asked<v1::GetStatusResponse>]) -> bool {
    let mut digests = asked.iter().filter_map(|node| Some(node.answer.as_ref().ok()?.digest));
    let first = digests.next();
    digests.all(|digest| Some(digest) == first)
}

/// How bad something is, in the words of Nagios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Critical,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at, such as clocks.
    check: &'static str,
    /// The node or the pair of nodes; empty for the herd.
    subject: String,
    /// What is so.
    problem: String,
    /// What to do.
    hint: String,
}

#[derive(Serialize)]
struct Report {
    worst: Level,
    findings: Vec<Finding>,
}

impl Report {
    fn new(mut findings: Vec<Finding>, all: bool) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        findings.retain(|finding| all || finding.level > Level::Ok);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Self { worst, findings }
    }
}

impl Answer for Report {
    const KIND: &'static str = "doctor";

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let word = match finding.level {
                Level::Ok => "ok        ",
                Level::Warning => "warning   ",
                Level::Critical => "critical  ",
            };
            let whose = if finding.subject.is_empty() {
                String::new()
            } else {
                format!("{}: ", printable(&finding.subject))
            };
            let _ = writeln!(text, "{word}{whose}{}", printable(&finding.problem));
            if !finding.hint.is_empty() {
                let _ = writeln!(text, "          -> {}", printable(&finding.hint));
            }
        }
        text + match self.worst {
            Level::Ok => "all is well\n",
            Level::Warning => "the herd works; see the warnings above\n",
            Level::Critical => "something is wrong; see above what to do\n",
        }
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let parts = self.findings.iter().filter_map(|part| serde_json::to_value(part).ok());
        Some(parts.map(|part| ("finding", part)).collect())
    }
}
