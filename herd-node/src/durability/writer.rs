//! Writes what changed, behind the answers or before them, in groups that grow under load.

use std::sync::Arc;
use std::time::Duration;

use herd_proto::LocationRecord;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{AckLevel, DataConfig, Progress, Trouble, snapshot};
use crate::herd::state::{ConsumerId, Interest};
use crate::herd::table::Slot;
use crate::shared::{Shared, Waker};
use crate::store::Storage;

/// Most records in one write. More would hold their copies in memory, and the state's lock, for
/// longer.
const GROUP: usize = 4096;

/// How long to wait after the disk failed before it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long to wait after a snapshot failed before the next.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(30);

/// The consumer of changes that writes them down.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    waker: Waker,
    consumer: ConsumerId,
    /// `None` while a blocking thread has it.
    storage: Option<Box<dyn Storage>>,
    progress: watch::Sender<Progress>,
    syncs_each_group: bool,
    sync_interval: Duration,
    /// When what was written is to be forced to the disk; `None` when all of it is.
    sync_due: Option<Instant>,
    snapshot: Option<JoinHandle<std::io::Result<()>>>,
    next_snapshot: Instant,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: &DataConfig,
        storage: Box<dyn Storage>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let waker = shared.waker();
        let consumer =
            shared.with(|state, _| state.subscribe(Interest::Everything, Some(waker.token())));
        Self {
            shared,
            waker,
            consumer,
            storage: Some(storage),
            progress,
            syncs_each_group: config.ack_level == AckLevel::Disk,
            sync_interval: config.sync_interval,
            sync_due: None,
            snapshot: None,
            next_snapshot: Instant::now(),
        }
    }

    /// Writes until `stop` is cancelled and all that had changed by then is on the disk.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopping = stop.is_cancelled();
            let written = self.write_all().await;
            let behind = written && self.is_behind();
            if stopping && !behind {
                self.sync().await;
                return;
            }
            // Under load there is always more to write: what is due does not wait until there is none.
            if written && self.sync_due.is_some_and(|due| due <= Instant::now()) {
                self.sync().await;
            }
            if !stopping {
                self.snapshot_if_due().await;
            }
            if behind {
                continue; // what came meanwhile found the outbox not empty, and woke nobody
            }
            let retry = (!written).then(|| Instant::now() + RETRY);
            let never = Instant::now() + Duration::from_hours(24);
            tokio::select! {
                () = self.waker.woken(), if written => {}
                () = sleep_until(self.sync_due.unwrap_or(never)), if written => self.sync().await,
                () = sleep_until(retry.unwrap_or(never)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Writes all that has changed until now. Returns whether the disk took it.
    async fn write_all(&mut self) -> bool {
        // Only what waits now: under load more comes all the time, and answers wait for this.
        let (change, mut waiting) =
            self.shared.with(|state, _| (state.changes(), state.pending(self.consumer)));
        while waiting > 0 {
            let group = self.take(waiting.min(GROUP));
            if group.is_empty() {
                break;
            }
            waiting -= group.len();
            if !self.append(group).await {
                return false;
            }
        }
        self.progress.send_if_modified(|progress| {
            let moved = progress.written < change;
            progress.written = change;
            moved
        });
        self.mended(Trouble::Write);
        if self.syncs_each_group && self.progress.borrow().synced < change {
            self.sync().await;
        }
        true
    }

    fn is_behind(&self) -> bool {
        self.shared.with(|state, _| state.pending(self.consumer) > 0)
    }

    fn take(&self, count: usize) -> Vec<(Slot, LocationRecord)> {
        self.shared.with(|state, _| {
            let mut next = || state.pop(self.consumer).map(|(slot, record)| (slot, record.clone()));
            std::iter::from_fn(&mut next).take(count).collect()
        })
    }

    async fn append(&mut self, group: Vec<(Slot, LocationRecord)>) -> bool {
        let Some(mut storage) = self.storage.take() else {
            self.fail(Trouble::Lost, "lost its files in a panic, restart the node");
            return false;
        };
        let written = spawn_blocking(move || {
            let result = storage.append(&mut group.iter().map(|(_, record)| record));
            (storage, group, result)
        });
        let Ok((storage, group, result)) = written.await else {
            self.fail(Trouble::Lost, "panicked while writing, restart the node");
            return false;
        };
        self.storage = Some(storage);
        match result {
            Ok(_) => {
                self.sync_due.get_or_insert_with(|| Instant::now() + self.sync_interval);
                true
            }
            Err(error) => {
                let slots = group.into_iter().map(|(slot, _)| slot);
                self.shared.with(|state, _| state.mark_again(self.consumer, slots));
                self.fail(Trouble::Write, &format!("cannot write: {error}"));
                false
            }
        }
    }

    /// Forces what was written to the disk.
    async fn sync(&mut self) {
        self.sync_due = None;
        let written = self.progress.borrow().written;
        let Some(mut storage) = self.storage.take() else { return };
        let synced = spawn_blocking(move || {
            let result = storage.sync();
            (storage, result)
        });
        let Ok((storage, result)) = synced.await else {
            self.fail(Trouble::Lost, "panicked while syncing, restart the node");
            return;
        };
        self.storage = Some(storage);
        match result {
            Ok(()) => {
                self.progress.send_modify(|progress| progress.synced = written);
                self.mended(Trouble::Sync);
            }
            Err(error) => {
                // It keeps failing until a snapshot is finished, which is due at once.
                self.sync_due = Some(Instant::now() + RETRY);
                self.fail(Trouble::Sync, &format!("cannot sync: {error}"));
            }
        }
    }

    fn fail(&self, trouble: Trouble, why: &str) {
        let is_news = self.progress.send_if_modified(|progress| {
            progress.troubles.insert(trouble, why.into()).as_deref() != Some(why)
        });
        if is_news {
            warn!(why, "the disk fails: reports are taken and told to friends all the same");
        }
    }

    fn mended(&self, trouble: Trouble) {
        let mended =
            self.progress.send_if_modified(|progress| progress.troubles.remove(&trouble).is_some());
        if mended {
            let still = self.progress.borrow().failure().cloned();
            info!(?trouble, ?still, "the disk has mended");
        }
    }

    /// Begins a snapshot in the background when the storage wants one.
    async fn snapshot_if_due(&mut self) {
        if self.snapshot.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        self.snapshot = None;
        let due = self.storage.as_ref().is_some_and(|storage| storage.snapshot_due());
        if !due || Instant::now() < self.next_snapshot {
            return;
        }
        self.next_snapshot = Instant::now() + SNAPSHOT_RETRY;
        let Some(mut storage) = self.storage.take() else { return };
        // The log goes on in a new file, and the old one is synced first.
        let begun = spawn_blocking(move || {
            let result = storage.begin_snapshot();
            (storage, result)
        });
        let Ok((storage, result)) = begun.await else {
            self.fail(Trouble::Lost, "panicked while beginning a snapshot, restart the node");
            return;
        };
        self.storage = Some(storage);
        match result {
            Ok(writer) => {
                let shared = Arc::clone(&self.shared);
                self.snapshot = Some(spawn_blocking(move || snapshot::write(&shared, writer)));
                self.mended(Trouble::Snapshot);
            }
            Err(error) => {
                self.fail(Trouble::Snapshot, &format!("cannot begin a snapshot: {error}"));
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.with(|state, _| state.unsubscribe(self.consumer));
    }
}
