use std::pin::pin;
use std::time::{Duration, Instant};

use herd_cli::{Change, Error, Watch, WatchQuery};
use herd_proto::{Area, Violations, v1};
use serde::Serialize;
use tokio::time::interval;
use tonic::Code;

use super::location::LocationView;
use super::{Target, invalid, point};
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

/// How often it is looked whether anybody still reads.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(
    args: WatchArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut seen = 0;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let client = target.connect().await?;
    let mut query = query(&args)?;
    let mut watch = client.watch(query.clone()).await?;
    let mut superseded = 0;
    loop {
        let end = tokio::select! {
            biased;
            _ = &mut interrupted => Some(ExitCode::Interrupted),
            lost = follow(&mut watch, args.count, &mut seen, output) => match lost? {
                None => Some(ExitCode::Success),
                Some(why) => {
                    output.note(&format!("-- connection lost: {why}; connecting again --"));
                    watch.resume_token().clone_into(&mut query.resume_token);
                    superseded += watch.superseded();
                    tokio::select! {
                        biased;
                        _ = &mut interrupted => Some(ExitCode::Interrupted),
                        again = reopen(&query, &target, why) => {
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
                let superseded = superseded + watch.superseded();
                let more = if superseded == 0 {
                    String::new()
                } else {
                    format!("; {superseded} more were superseded before they could be told")
                };
                output.note(&format!("-- {seen} changes seen in {elapsed}{more} --"));
            }
            return Ok(code);
        }
    }
}

/// What the command line asks for.
fn query(args: &WatchArgs) -> Result<WatchQuery, Failure> {
    let shape = match (&args.near, args.within.as_deref()) {
        (Some(near), _) => {
            let center = Some(point(near)?.into());
            Some(v1::area::Shape::Circle(v1::Circle { center, radius_meters: args.radius }))
        }
        (None, Some(&[south, west, north, east])) => {
            Some(v1::area::Shape::Box(v1::Box { south, west, north, east }))
        }
        (None, Some(_)) => {
            return Err(Failure::Usage("--box needs SOUTH,WEST,NORTH,EAST".into()));
        }
        (None, None) => None,
    };
    let mut wrong = Violations::default();
    let area = shape
        .and_then(|shape| Area::from_request(&mut wrong, "area", &v1::Area { shape: Some(shape) }));
    let (clients, prefixes) = (args.ids.clone(), args.prefix.clone());
    let (include_current, resume_token) = (args.current, String::new());
    let query = WatchQuery { clients, prefixes, area, include_current, resume_token };
    wrong.into_result(Some(query)).map_err(invalid)
}

/// Prints changes until there were enough of them (`None`) or the connection is lost.
async fn follow(
    watch: &mut Watch,
    count: Option<u64>,
    seen: &mut u64,
    output: &mut Output,
) -> Result<Option<Lost>, Failure> {
    let mut looks = interval(LOOK);
    loop {
        let next = tokio::select! {
            next = watch.next() => next,
            // A herd that is quiet gives nothing to write, by which it would show.
            _ = looks.tick() => {
                Output::check_reader()?;
                continue;
            }
        };
        let changes = match next {
            Ok(Some(changes)) => changes,
            Ok(None) => return Ok(Some(Lost::Ended)),
            Err(error) if may_pass(&error) => return Ok(Some(Lost::Failed(error))),
            Err(error) => return Err(error.into()),
        };
        for change in &changes {
            match change {
                Change::Moved(location) => output.element(&Moved(location.into()))?,
                Change::Entered(location) => output.element(&Entered(location.into()))?,
                Change::Left(location) => output.element(&Left(location.into()))?,
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
async fn reopen(query: &WatchQuery, target: &Target, why: Lost) -> Result<Watch, Failure> {
    let mut why = why;
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(delay(attempt)).await;
        let opened = match target.connect().await {
            Ok(client) => client.watch(query.clone()).await.map_err(Into::into),
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

/// A client that moved, inside the area if there is one.
#[derive(Serialize)]
#[serde(transparent)]
struct Moved(LocationView);

impl Answer for Moved {
    const KIND: &'static str = "location";

    fn text(&self) -> String {
        line("", &self.0)
    }
}

/// A client that has come into the area.
#[derive(Serialize)]
#[serde(transparent)]
struct Entered(LocationView);

impl Answer for Entered {
    const KIND: &'static str = "entered";

    fn text(&self) -> String {
        line("  entered", &self.0)
    }
}

/// A client that has left the area.
#[derive(Serialize)]
#[serde(transparent)]
struct Left(LocationView);

impl Answer for Left {
    const KIND: &'static str = "left";

    fn text(&self) -> String {
        line("  left", &self.0)
    }
}

fn line(what: &str, view: &LocationView) -> String {
    let id = printable(&view.client_id);
    let place = &view.position.text;
    format!("{}  {id}  {place}  {} {} s{what}\n", view.time, view.origin, view.difference)
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
        let violations = Violations::one("client_ids", "too many");
        assert!(!may_pass(&Error::Invalid { violations }));
        let (address, after) = ("h:1".into(), LONGEST_DELAY);
        assert!(may_pass(&Error::Deadline { address, rpc: "Locations/Watch", after }));
    }
}
