//! `Locations.ReportStream`: one answer for each message, in order.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use std::future::ready;

use futures_util::{Stream, StreamExt as _, stream};
use herd_edge::{Reason, Refusals};
use herd_proto::{ClientId, MAX_BATCH, Report, TraceContext, Violations, invalid_argument, v1};
use herd_trace::{Kind, Span};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::draining;
use super::intake::Intake;
use super::peers::{Wait, Wanted};
use crate::front::{Caller, ConnectionPace};
use crate::herd::state::NotTaken;

/// Most bytes of words about refused reports in one answer, which must stay well below the limit
/// of a message. What is refused beyond that is still named, by index and first field.
const MAX_WORDS: usize = 256 << 10;

/// The answers of one stream.
pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<v1::ReportStreamResponse, Status>> + Send>>;

/// Messages that may be applied and wait for the disk before the first of them is answered, so
/// that one write covers several.
const AHEAD: usize = 8;

/// Answers each request, in order. Requests are read only as the transport takes answers, so a
/// caller that does not read is soon not read from either.
pub(super) fn answers(
    intake: Intake,
    caller: Caller,
    requests: impl Stream<Item = Result<v1::ReportStreamRequest, Status>> + Send + 'static,
    stop: CancellationToken,
) -> Answers {
    let until_stop = requests.take_until(stop.clone().cancelled_owned());
    let applied = until_stop.map(move |request| {
        let applied = request.and_then(|request| answer(&intake, &caller, &request));
        let durability = intake.durability.clone();
        async move {
            // What is traced lasts until it is answered.
            let (response, change, wait, _spans) = applied?;
            durability.wait(change).await;
            if let Some(wait) = wait {
                wait.applied().await?;
            }
            Ok(response)
        }
    });
    let ending = stream::once(async move { stop.is_cancelled().then(|| Err(draining())) });
    Box::pin(applied.buffered(AHEAD).chain(ending.filter_map(ready)))
}

/// Holds messages back for as long as their connection has brought too many reports.
pub(super) fn paced(
    requests: Streaming<v1::ReportStreamRequest>,
    pace: ConnectionPace,
    refusals: Arc<Refusals>,
) -> impl Stream<Item = Result<v1::ReportStreamRequest, Status>> {
    requests.then(move |request| {
        // A message of more is refused, and that at once: however little it took to send, it is much to hold
        // meanwhile.
        let reports = request.as_ref().map_or(0, |request| request.reports.len());
        let pause = if reports > MAX_BATCH { None } else { pace.came(reports as u32) };
        if pause.is_some() {
            refusals.count(Reason::ConnectionRate);
        }
        async move {
            if let Some(pause) = pause {
                sleep_until(pause).await;
            }
            request
        }
    })
}

/// Takes one message: all its reports under one lock and with one receive time. With the answer
/// comes the change that must be kept before it is given, and what of it friends must have applied.
fn answer(
    intake: &Intake,
    caller: &Caller,
    request: &v1::ReportStreamRequest,
) -> Result<(v1::ReportStreamResponse, u64, Option<Wait>, Spans), Status> {
    let count = request.reports.len();
    if count > MAX_BATCH {
        let rule = format!("must be at most {MAX_BATCH} reports, got {count}");
        return Err(invalid_argument(&Violations::one("reports", rule)));
    }
    // Checked before the lock is taken.
    let checked = |request| {
        let allowed = intake.allowed(caller, Report::from_request(request)?);
        allowed.map_err(|error| Violations::one("client_id", error))
    };
    let reports: Vec<_> = request.reports.iter().map(checked).collect();
    let min_peers = request.reports.iter().map(|report| report.min_peers);
    let most = min_peers.clone().max().unwrap_or(0);
    let mut spans = Spans::begin(v1::ItemTrace::read(&request.traces, count));
    let reports = reports.into_iter().zip(min_peers).collect();
    let (response, change, wait) = take(intake, reports, most, &spans)?;
    spans.tell(&response, count);
    Ok((response, change, wait, spans))
}

/// The parts that a message has in traces: one for each report that a trace was told of.
#[derive(Debug)]
pub(super) struct Spans(Vec<(usize, Span)>);

impl Spans {
    /// Begins them, for reports by their index.
    pub(super) fn begin(traces: impl Iterator<Item = (usize, TraceContext)>) -> Self {
        let begin =
            |trace| Span::call(Kind::Server, Some(trace), "herd.v1.Locations", "ReportStream");
        Self(traces.map(|(index, trace)| (index, begin(trace))).collect())
    }

    /// The clients that are told of in traces, by the index of their reports.
    fn reports(
        &self,
        reports: &[(Result<Report, Violations>, u32)],
    ) -> BTreeMap<usize, (ClientId, &TraceContext)> {
        let traced = self.0.iter().filter_map(|(index, span)| {
            let (report, _) = reports.get(*index)?;
            Some((*index, (report.as_ref().ok()?.client.clone(), span.context()?)))
        });
        traced.collect()
    }

    /// Says what came of the message.
    pub(super) fn tell(&mut self, response: &v1::ReportStreamResponse, reports: usize) {
        for (_, span) in self.0.iter_mut().filter(|(_, span)| span.is_recorded()) {
            span.set("herd.node", response.origin.clone());
            span.set("herd.reports", reports as i64);
            span.set("herd.applied", i64::from(response.applied));
        }
    }
}

/// Takes checked reports, each with the `min_peers` that it asks for, `most` of them at most; the
/// others count as refused.
pub(super) fn take(
    intake: &Intake,
    reports: Vec<(Result<Report, Violations>, u32)>,
    most: u32,
    spans: &Spans,
) -> Result<(v1::ReportStreamResponse, u64, Option<Wait>), Status> {
    let mut wanted = Wanted::new(&intake.shared, most);
    let mut traced = spans.reports(&reports);
    let (response, change, begun) = intake.shared.with(|state, now| {
        let (mut applied, mut failures, mut budget) = (0, Vec::new(), MAX_WORDS);
        let sound = reports.iter().map(|(report, _)| report.as_ref().ok());
        let found = state.find_all(sound.map(|report| report.map(|report| &report.client)));
        for (index, ((report, min_peers), found)) in reports.into_iter().zip(found).enumerate() {
            let taken = match report {
                Ok(report) => wanted.apply(state, now, report, found, min_peers).map_err(|error| {
                    intake.count(&error);
                    match error {
                        NotTaken::Invalid(violations) => violations,
                        limit => Violations::one("client_id", limit),
                    }
                }),
                Err(violations) => {
                    state.count_refused();
                    Err(violations)
                }
            };
            match taken {
                Ok(newest) => {
                    applied += u32::from(newest);
                    if let Some((client, trace)) = traced.remove(&index).filter(|_| newest) {
                        state.note_trace(now, &client, trace);
                    }
                }
                Err(violations) => failures.push(failure(index as u32, violations, &mut budget)),
            }
        }
        let origin = state.identity().name.to_string();
        let receive_time = Some(now.wall.into());
        let response = v1::ReportStreamResponse { receive_time, origin, applied, failures };
        let begun = wanted.begin(state)?;
        Ok::<_, Status>((response, state.changes(), begun))
    })?;
    Ok((response, change, wanted.wait(&intake.shared, begun)))
}

/// Describes why a report was refused, within what is left of the budget of its message.
fn failure(index: u32, violations: Violations, budget: &mut usize) -> v1::ReportFailure {
    let mut violations: Vec<_> = violations
        .into_iter()
        .map(|violation| v1::ReportViolation {
            field: violation.field,
            description: violation.description,
        })
        .collect();
    let bytes =
        |violation: &v1::ReportViolation| violation.field.len() + violation.description.len();
    let total = violations.iter().map(bytes).sum();
    if let Some(left) = budget.checked_sub(total) {
        *budget = left;
    } else {
        violations.truncate(1);
        for violation in &mut violations {
            violation.description = "breaks a rule".into();
        }
    }
    v1::ReportFailure { index, violations }
}
