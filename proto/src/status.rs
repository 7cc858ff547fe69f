//! Broken rules as gRPC errors, and back.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{Violation, Violations};

/// INVALID_ARGUMENT with a `google.rpc.BadRequest` that names each field.
pub fn invalid_argument(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    for Violation { field, description } in violations.iter() {
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(Code::InvalidArgument, violations.to_string(), details)
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
    fn violations_survive_the_wire() {
        let mut violations = Violations::one("position.latitude", "must be between -90 and 90");
        violations.add("client_id", "must not be empty");
        let status = invalid_argument(&violations);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(violations_of(&status), violations);
        assert!(violations_of(&Status::internal("x")).is_empty());
    }
}
