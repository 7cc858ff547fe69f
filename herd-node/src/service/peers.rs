//! Answers that wait until enough friends have applied what was reported.

use std::sync::Arc;
use std::time::Duration;

use herd_proto::{ClientId, LocationRecord, Report};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::herd::Now;
use crate::herd::state::{Found, NotTaken, State, WaitId};
use crate::shared::{Shared, Waker};

/// Longest wait for friends. One that is up acknowledges within milliseconds; one that is not may
/// stay away for days.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of one message is to be waited for, gathered while it is taken.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `None` where no report asks to wait, which then costs nothing. Takes the state's lock when
    /// it is dropped, so not to be dropped under it.
    waker: Option<Waker>,
    records: Vec<(ClientId, u32)>,
}

impl Wanted {
    /// Prepares for a message whose reports ask for `min_peers` at most.
    pub(super) fn new(shared: &Arc<Shared>, min_peers: u32) -> Self {
        Self { waker: (min_peers > 0).then(|| shared.waker()), records: Vec::new() }
    }

    /// Takes a report, whose answer is to wait for `min_peers` friends.
    ///
    /// # Errors
    /// As [`State::report`], and more friends than there are.
    pub(super) fn report(
        &mut self,
        state: &mut State,
        now: Now,
        report: Report,
        min_peers: u32,
    ) -> Result<(LocationRecord, bool), NotTaken> {
        let checked = state.check_min_peers(min_peers);
        checked.inspect_err(|_| state.count_refused()).map_err(NotTaken::Invalid)?;
        let taken = state.report(now, report)?;
        self.add(&taken.0.client, min_peers);
        Ok(taken)
    }

    /// As [`Wanted::report`], for who needs to know no more than whether it is the newest.
    pub(super) fn apply(
        &mut self,
        state: &mut State,
        now: Now,
        report: Report,
        found: Found,
        min_peers: u32,
    ) -> Result<bool, NotTaken> {
        if min_peers > 0 {
            return self.report(state, now, report, min_peers).map(|(_, newest)| newest);
        }
        state.apply(now, report, found)
    }

    /// Adds a client whose record of now `min_peers` friends must have applied.
    pub(super) fn add(&mut self, client: &ClientId, min_peers: u32) {
        if min_peers > 0 {
            self.records.push((client.clone(), min_peers));
        }
    }

    /// Begins to wait, under the lock under which the reports were taken. The caller lets go of
    /// the lock before it goes on with [`Wanted::wait`].
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when too many wait already.
    pub(super) fn begin(&self, state: &mut State) -> Result<Option<WaitId>, Status> {
        let Some(waker) = self.waker.as_ref().filter(|_| !self.records.is_empty()) else {
            return Ok(None);
        };
        let begun = state.await_peers(&self.records, waker.token());
        begun.map(Some).map_err(|error| {
            Status::resource_exhausted(format!("{error}; the reports are recorded here"))
        })
    }

    /// The wait that was begun.
    pub(super) fn wait(self, shared: &Arc<Shared>, begun: Option<WaitId>) -> Option<Wait> {
        Some(Wait { id: begun?, waker: self.waker?, shared: Arc::clone(shared) })
    }
}

/// A wait under way; ended when it is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    shared: Arc<Shared>,
    waker: Waker,
    id: WaitId,
}

impl Wait {
    /// Waits until enough friends have applied all of it.
    ///
    /// # Errors
    /// UNAVAILABLE when they have not in time.
    pub(super) async fn applied(self) -> Result<(), Status> {
        let all = async {
            while !self.shared.with(|state, _| state.is_witnessed(self.id)) {
                self.waker.woken().await;
            }
        };
        timeout(PATIENCE, all).await.map_err(|_| not_reached())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.shared.with(|state, _| state.end_wait(self.id));
    }
}

fn not_reached() -> Status {
    let message = format!(
        "fewer than min_peers friends have applied this within {} s; it is recorded here, and \
         repeating it is safe",
        PATIENCE.as_secs()
    );
    let details = ErrorDetails::with_error_info(
        "MIN_PEERS_NOT_REACHED",
        "herd.v1",
        [("recorded".to_owned(), "true".to_owned())],
    );
    Status::with_error_details(Code::Unavailable, message, details)
}
