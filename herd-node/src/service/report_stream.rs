//! `Locations.ReportStream`: one answer for each message, in order.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use herd_proto::{MAX_BATCH, Report, Violations, invalid_argument, v1};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::draining;
use crate::shared::Shared;

/// Most bytes of words about refused reports in one answer, which must stay well below the limit
/// of a message. What is refused beyond that is still named, by index and first field.
const MAX_WORDS: usize = 256 << 10;

/// The answers of one stream.
pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<v1::ReportStreamResponse, Status>> + Send>>;

/// Answers each request as it is read. The next request is read only when the transport asks for
/// the next answer, so a caller that does not read is not read from either.
pub(super) fn answers(
    shared: Arc<Shared>,
    requests: Streaming<v1::ReportStreamRequest>,
    stop: CancellationToken,
) -> Answers {
    let start = Some((shared, requests, stop));
    Box::pin(unfold(start, async |position| {
        let (shared, mut requests, stop) = position?;
        let request = tokio::select! {
            biased; // a busy stream must not put off the end
            () = stop.cancelled() => return Some((Err(draining()), None)),
            request = requests.message() => request,
        };
        match request {
            Ok(Some(request)) => match answer(&shared, &request) {
                Ok(response) => Some((Ok(response), Some((shared, requests, stop)))),
                Err(status) => Some((Err(status), None)),
            },
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

/// Takes one message: all its reports under one lock and with one receive time.
fn answer(
    shared: &Shared,
    request: &v1::ReportStreamRequest,
) -> Result<v1::ReportStreamResponse, Status> {
    let count = request.reports.len();
    if count > MAX_BATCH {
        let rule = format!("must be at most {MAX_BATCH} reports, got {count}");
        return Err(invalid_argument(&Violations::one("reports", rule)));
    }
    // Checked before the lock is taken.
    let reports: Vec<_> = request.reports.iter().map(Report::from_request).collect();
    Ok(shared.with(|state, now| {
        let (mut applied, mut failures, mut budget) = (0, Vec::new(), MAX_WORDS);
        for (index, report) in reports.into_iter().enumerate() {
            let taken = match report {
                Ok(report) => state.report(now, report),
                Err(violations) => {
                    state.count_refused();
                    Err(violations)
                }
            };
            match taken {
                Ok((_, newest)) => applied += u32::from(newest),
                Err(violations) => failures.push(failure(index as u32, violations, &mut budget)),
            }
        }
        let origin = state.identity().name.to_string();
        v1::ReportStreamResponse { receive_time: Some(now.wall.into()), origin, applied, failures }
    }))
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
