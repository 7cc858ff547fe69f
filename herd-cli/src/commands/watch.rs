use std::pin::pin;
use std::time::{Duration, Instant};

use herd_cli::{Change, Error, Watch};
use serde::Serialize;
use tonic::Code;

use super::Target;
use super::location::LocationView;
use crate::args::WatchArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable};

/// The wait before the first attempt to connect again; each later one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest wait between two attempts: a person who looks on sees that it still tries.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// How often to try before giving up: about five minutes, in which a machine restarts.
const ATTEMPTS: u32 = 64;

pub(super) async fn run(
    args: WatchArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut seen = 0;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let client = target.connect().await?;
    let mut watch = client.watch(&args.ids, args.current).await?;
    loop {
        let end = tokio::select! {
            biased;
            _ = &mut interrupted => Some(ExitCode::Interrupted),
            lost = follow(&mut watch, args.count, &mut seen, output) => match lost? {
                None => Some(ExitCode::Success),
                Some(why) => {
                    output.note(&format!("-- connection lost: {why}; connecting again --"));
                    tokio::select! {
                        biased;
                        _ = &mut interrupted => Some(ExitCode::Interrupted),
                        again = reopen(&args, &target, why) => {
                            watch = again?;
                            output.note("-- connected again --");
                            None
                        }
                    }
                }
            },
        };
        if let Some(code) = end {
            output.flush()?;
            if code == ExitCode::Interrupted {
                let elapsed = Duration::from_secs(started.elapsed().as_secs());
                let elapsed = humantime::format_duration(elapsed);
                output.note(&format!("-- {seen} changes seen in {elapsed} --"));
            }
            return Ok(code);
        }
    }
}

/// Prints changes until there were enough of them (`None`) or the connection is lost.
async fn follow(
    watch: &mut Watch,
    count: Option<u64>,
    seen: &mut u64,
    output: &mut Output,
) -> Result<Option<Lost>, Failure> {
    loop {
        let changes = match watch.next().await {
            Ok(Some(changes)) => changes,
            Ok(None) => return Ok(Some(Lost::Ended)),
            Err(error) if may_pass(&error) => return Ok(Some(Lost::Failed(error))),
            Err(error) => return Err(error.into()),
        };
        for change in &changes {
            match change {
                Change::Moved(location) => output.element(&Moved(location.into()))?,
                Change::Forgotten(id) => {
                    output.element(&Forgotten { client_id: id.to_string() })?;
                }
            }
            *seen += 1;
            if count == Some(*seen) {
                return Ok(None);
            }
        }
        output.flush()?;
    }
}

/// Why there is nothing to follow any more.
#[derive(Debug, Clone, thiserror::Error)]
enum Lost {
    #[error("the node ended it")]
    Ended,
    #[error(transparent)]
    Failed(Error),
}

/// Connects again, with growing pauses; the last failure where it never comes up.
async fn reopen(args: &WatchArgs, target: &Target, why: Lost) -> Result<Watch, Failure> {
    let mut why = why;
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(delay(attempt)).await;
        let opened = match target.connect().await {
            Ok(client) => client.watch(&args.ids, args.current).await.map_err(Into::into),
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(watch) => return Ok(watch),
            Err(Failure::Client(error)) if may_pass(&error) => why = Lost::Failed(error),
            Err(failure) => return Err(failure),
        }
    }
    Err(match why {
        Lost::Failed(error) => error.into(),
        Lost::Ended => Failure::Other(anyhow::anyhow!("the node ended the stream")),
    })
}

fn delay(attempt: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << attempt.min(16)).min(LONGEST_DELAY)
}

/// Whether the same call may succeed later.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Deadline { .. } => true,
        Error::Refused { code, .. } => {
            matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Cancelled)
        }
        _ => false,
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Moved(LocationView);

impl Answer for Moved {
    const KIND: &'static str = "location";

    fn text(&self) -> String {
        let Self(view) = self;
        let id = printable(&view.client_id);
        let place = &view.position.text;
        format!("{}  {id}  {place}  {} {} s\n", view.time, view.origin, view.difference)
    }
}

#[derive(Serialize)]
struct Forgotten {
    client_id: String,
}

impl Answer for Forgotten {
    const KIND: &'static str = "forgotten";

    fn text(&self) -> String {
        format!("forgotten  {}\n", printable(&self.client_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_after_about_five_minutes() {
        let delays: Vec<_> = (0..ATTEMPTS).map(delay).collect();
        assert!(delays.is_sorted());
        assert_eq!(delays.last(), Some(&LONGEST_DELAY));
        let sum: Duration = delays.iter().sum();
        assert!((240..360).contains(&sum.as_secs()), "{sum:?}");
    }

    #[test]
    fn a_broken_rule_is_not_tried_again() {
        let violations = herd_proto::Violations::one("client_ids", "too many");
        assert!(!may_pass(&Error::Invalid { violations }));
        let (address, after) = ("h:1".into(), LONGEST_DELAY);
        assert!(may_pass(&Error::Deadline { address, rpc: "Locations/Watch", after }));
    }
}
