//! Reports on their way into the state, and what a refusal of one is called.

use std::sync::Arc;
use std::time::Duration;

use herd_edge::{Reason, Refusals};
use herd_proto::{ClientId, Report, invalid_argument};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::durability::Durability;
use crate::front::Caller;
use crate::herd::state::NotTaken;
use crate::shared::Shared;

/// When a client or connection that reports too often may try again: bursts last a second.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A client for whom the caller's token may not report.
#[derive(Debug, thiserror::Error)]
#[error("this token may not report for {0}")]
pub(super) struct NotFor(ClientId);

/// Where reports go.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The state that takes them.
    pub shared: Arc<Shared>,
    /// What answers wait for.
    pub durability: Durability,
    /// Counts those that a limit refused.
    pub refusals: Arc<Refusals>,
}

impl Intake {
    /// Counts a report that a limit refused.
    pub(super) fn count(&self, error: &NotTaken) {
        match error {
            NotTaken::Invalid(_) => {}
            NotTaken::TableFull => self.refusals.count(Reason::Clients),
            NotTaken::TooOften => self.refusals.count(Reason::ClientRate),
        }
    }

    /// The status of a call whose report was not taken.
    pub(super) fn not_taken(&self, error: &NotTaken) -> Status {
        self.count(error);
        match error {
            NotTaken::Invalid(violations) => invalid_argument(violations),
            NotTaken::TableFull => Status::resource_exhausted(error.to_string()),
            NotTaken::TooOften => too_often(&error.to_string()),
        }
    }

    /// A report of a client for whom the caller may report; others are counted.
    ///
    /// # Errors
    /// The client is not among those of the caller's token.
    pub(super) fn allowed(&self, caller: &Caller, report: Report) -> Result<Report, NotFor> {
        if caller.may_report_for(&report.client) {
            return Ok(report);
        }
        self.refusals.count(Reason::PermissionDenied);
        Err(NotFor(report.client))
    }

    /// Counts a report of a connection that brings too many, and refuses it.
    pub(super) fn too_fast(&self) -> Status {
        self.shared.with(|state, _| state.count_refused());
        self.refusals.count(Reason::ConnectionRate);
        too_often("this connection brings more reports than it may")
    }
}

fn too_often(message: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}
