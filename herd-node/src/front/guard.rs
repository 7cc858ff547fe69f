//! What is decided about a call before its service hears of it.

use std::sync::Arc;
use std::time::Duration;

use herd_edge::{Reason, Refusals};
use http::Request;
use http::header::AUTHORIZATION;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::access::{Access, Caller};
use super::calls::Calls;
use super::connection::Remote;

/// When a caller that was shed may try again: calls take milliseconds, so that any later is for
/// spreading the load.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Lets calls through.
#[derive(Debug)]
pub(crate) struct Guard {
    access: Access,
    in_flight: Arc<Semaphore>,
    max_in_flight: usize,
    pub(super) refusals: Arc<Refusals>,
    pub(super) calls: Arc<Calls>,
}

/// A call that was let through.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// Held until the call is answered, or its stream of answers begins. Streams have limits of
    /// their own.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Guard {
    pub(crate) fn new(
        access: Access,
        max_in_flight: usize,
        refusals: Arc<Refusals>,
        calls: Arc<Calls>,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(max_in_flight));
        Self { access, in_flight, max_in_flight, refusals, calls }
    }

    /// Decides about one call.
    pub(crate) fn admit(&self, request: &Request<Body>) -> Result<Admitted, Status> {
        let path = request.uri().path();
        let remote = request.extensions().get::<Remote>();
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
        let caller = self.access.check(path, remote, authorization).inspect_err(|status| {
            self.refusals.count(match status.code() {
                Code::Unauthenticated => Reason::Unauthenticated,
                _ => Reason::PermissionDenied,
            });
        })?;
        Ok(Admitted { caller, permit: self.permit(path)? })
    }

    /// Counts an error with which an admitted call ends, if it is a limit's.
    pub(crate) fn count(&self, status: &Status) {
        // Nothing but messages that are too long is answered with this.
        if status.code() == Code::OutOfRange {
            self.refusals.count(Reason::MessageBytes);
        }
    }

    /// Probes must be answered and peers be heard just when there is too much to do.
    fn permit(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if path.starts_with("/grpc.health.") || path.starts_with("/herd.v1.Gossip/") {
            return Ok(None);
        }
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            self.refusals.count(Reason::InFlight);
            let message = format!("{} calls are being answered already", self.max_in_flight);
            let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
            Status::with_error_details(Code::ResourceExhausted, message, details)
        })?;
        Ok(Some(permit))
    }
}
