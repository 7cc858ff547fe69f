//! Broken rules as gRPC errors, and back.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{Violation, Violations};

/// Most violations in one status. They travel in a header, and a header list of more than 8 KiB is
/// dropped by some clients as an error of the transport.
const MAX_VIOLATIONS: usize = 8;

/// INVALID_ARGUMENT with a `google.rpc.BadRequest` that names each field, up to a limit.
pub fn invalid_argument(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    let shown: Violations = violations.iter().take(MAX_VIOLATIONS).cloned().collect();
    for Violation { field, description } in shown.iter() {
        details.add_bad_request_violation(field, description);
    }
    let mut message = shown.to_string();
    let more = violations.iter().count().saturating_sub(MAX_VIOLATIONS);
    if more > 0 {
        message = format!("{message}; and {more} more");
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The violations that a status carries; empty for any other status.
pub fn violations_of(status: &Status) -> Violations {
    let Some(bad_request) = status.get_details_bad_request() else {
        return Violations::default();
    };
    bad_request
        .field_violations
        .into_iter()
        .map(|violation| Violation { field: violation.field, description: violation.description })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_long_violations_still_fit_into_a_header() {
        let mut violations = Violations::default();
        for index in 0..1000 {
            violations.add(&format!("client_ids[{index}]"), "x".repeat(10_000));
        }
        let status = invalid_argument(&violations);
        assert!(status.message().ends_with("and 992 more"));
        assert_eq!(violations_of(&status).iter().count(), 8);
        assert!(status.message().len() + status.details().len() < 6000);
    }

    #[test]
    fn violations_survive_the_wire() {
        let mut violations = Violations::one("position.latitude", "must be between -90 and 90");
        violations.add("client_id", "must not be empty");
        let status = invalid_argument(&violations);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violations_of(&status), violations);
        assert!(violations_of(&Status::internal("x")).is_empty());
    }
}
