//! The writer against disks that fail, stall and heal.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herd_proto::{LocationRecord, NodeName, Report};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AckLevel, DataConfig, Durability, Progress, Writer};
use crate::herd::state::Identity;
use crate::shared::Shared;
use crate::store::{Recovery, SnapshotWriter, Storage};

/// A disk in memory that fails when told to.
#[derive(Debug, Clone, Default)]
struct FakeDisk(Arc<FakeState>);

#[derive(Debug, Default)]
struct FakeState {
    full: AtomicBool,
    cannot_sync: AtomicBool,
    wants_snapshot: AtomicBool,
    /// Told of another client with each write, so that the writer is never done.
    busy: Mutex<Option<Arc<Shared>>>,
    kept: Mutex<BTreeMap<String, LocationRecord>>,
    /// Held by a test to keep a write under way.
    gate: Mutex<()>,
    waits: AtomicUsize,
    appends: AtomicUsize,
    syncs: AtomicUsize,
    snapshots: AtomicUsize,
}

impl Storage for FakeDisk {
    fn append(&mut self, records: &mut dyn Iterator<Item = &LocationRecord>) -> io::Result<usize> {
        self.0.waits.fetch_add(1, Ordering::Relaxed);
        let _passed = self.0.gate.lock().unwrap();
        if self.0.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let appends = self.0.appends.fetch_add(1, Ordering::Relaxed);
        if let Some(shared) = &*self.0.busy.lock().unwrap() {
            report(shared, &format!("busy-{appends}"));
        }
        let mut kept = self.0.kept.lock().unwrap();
        kept.extend(records.map(|record| (record.client.to_string(), record.clone())));
        Ok(1)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        if self.0.cannot_sync.load(Ordering::Relaxed) {
            return Err(io::Error::other("bad block"));
        }
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        self.0.wants_snapshot.load(Ordering::Relaxed)
    }

    fn begin_snapshot(&mut self) -> io::Result<Box<dyn SnapshotWriter>> {
        self.0.snapshots.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reports, and tells the change that it made.
fn report(shared: &Shared, client: &str) -> u64 {
    let report = Report::from_operands(client, "+1-1", "1").unwrap();
    shared.with(|state, now| {
        state.report(now, report).unwrap();
        state.changes()
    })
}

struct Bench {
    shared: Arc<Shared>,
    disk: FakeDisk,
    durability: Durability,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Bench {
    fn start(level: AckLevel) -> Self {
        Self::start_syncing(level, Duration::from_secs(1))
    }

    fn start_syncing(level: AckLevel, sync_interval: Duration) -> Self {
        let shared = Shared::new(Identity {
            name: NodeName::parse("Bailey").unwrap(),
            cluster: "test".into(),
            instance: 1,
            index_key: (1, 2),
            max_future: Duration::ZERO,
        });
        let config = DataConfig { directory: "unused".into(), ack_level: level, sync_interval };
        let (sender, receiver) = watch::channel(Progress::default());
        let disk = FakeDisk::default();
        let writer = Writer::new(Arc::clone(&shared), &config, Box::new(disk.clone()), sender);
        let durability =
            Durability { level, progress: Some(receiver), recovery: Recovery::default() };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(writer.run(stop.clone()));
        Self { shared, disk, durability, stop, tasks }
    }

    /// Reports and waits for the answer.
    async fn report(&self, client: &str) {
        self.durability.wait(report(&self.shared, client)).await;
    }

    fn keeps(&self, client: &str) -> bool {
        self.disk.0.kept.lock().unwrap().contains_key(client)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn an_answer_comes_after_the_write_that_covers_it() {
    let bench = Bench::start(AckLevel::Process);
    for number in 0..100 {
        bench.report(&format!("c{number}")).await;
        assert!(bench.keeps(&format!("c{number}")));
    }
    assert_eq!(bench.disk.0.syncs.load(Ordering::Relaxed), 0, "no answer waits for the disk");
    let disk = bench.disk.clone();
    bench.stop().await;
    assert_eq!(disk.0.syncs.load(Ordering::Relaxed), 1, "but the end does");
}

#[tokio::test]
async fn one_write_covers_all_answers_that_wait() {
    let bench = Bench::start(AckLevel::Disk);
    let reports = (0..500).map(|number| format!("c{number}"));
    let reports = reports.map(|client| {
        let bench = &bench;
        async move { bench.report(&client).await }
    });
    futures_util::future::join_all(reports).await;
    assert_eq!(bench.disk.0.kept.lock().unwrap().len(), 500);
    let appends = bench.disk.0.appends.load(Ordering::Relaxed);
    assert!(appends < 50, "{appends} writes for 500 reports at once");
    assert!(bench.disk.0.syncs.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn what_comes_while_a_write_is_under_way_is_written_next() {
    let bench = Bench::start(AckLevel::Process);
    let disk = bench.disk.clone();
    let gate = disk.0.gate.lock().unwrap();
    let first = bench.report("first");
    let second = async {
        while bench.disk.0.waits.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        // Both come while the first is being written; the second of them wakes nobody.
        let more = futures_util::future::join(bench.report("second"), bench.report("third"));
        let release = async { drop(gate) };
        futures_util::future::join(more, release).await;
    };
    futures_util::future::join(first, second).await;
    assert!(bench.keeps("second") && bench.keeps("third"));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_up_nobody_is_said_and_heals_with_nothing_missing() {
    let bench = Bench::start(AckLevel::Process);
    bench.report("before").await;
    bench.disk.0.full.store(true, Ordering::Relaxed);
    bench.report("meanwhile").await;
    assert!(!bench.keeps("meanwhile"));
    let status = bench.durability.status();
    assert!(!status.healthy);
    assert!(status.last_error.contains("cannot write"), "{}", status.last_error);
    bench.disk.0.full.store(false, Ordering::Relaxed);
    while !bench.durability.status().healthy {
        tokio::time::sleep(Duration::from_millis(100)).await; // virtual
    }
    assert!(bench.keeps("meanwhile"), "written when there was room again");
    bench.report("after").await;
    assert!(bench.keeps("after"));
}

#[tokio::test(start_paused = true)]
async fn what_answers_do_not_wait_for_is_on_the_disk_within_the_interval() {
    let bench = Bench::start(AckLevel::Memory);
    bench.report("kiwi").await;
    while bench.disk.0.syncs.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await; // virtual
    }
    assert!(bench.keeps("kiwi"));
}

#[tokio::test]
async fn a_writer_that_is_never_done_syncs_and_begins_snapshots_all_the_same() {
    let bench = Bench::start_syncing(AckLevel::Process, Duration::from_millis(5));
    bench.disk.0.wants_snapshot.store(true, Ordering::Relaxed);
    *bench.disk.0.busy.lock().unwrap() = Some(Arc::clone(&bench.shared));
    bench.report("first").await;
    let (syncs, snapshots) = (&bench.disk.0.syncs, &bench.disk.0.snapshots);
    while syncs.load(Ordering::Relaxed) < 3 || snapshots.load(Ordering::Relaxed) == 0 {
        let appends = bench.disk.0.appends.load(Ordering::Relaxed);
        while bench.disk.0.appends.load(Ordering::Relaxed) == appends {
            tokio::task::yield_now().await;
        }
    }
    *bench.disk.0.busy.lock().unwrap() = None;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_told_until_one_succeeds_and_holds_up_only_who_waits_for_it() {
    for level in [AckLevel::Process, AckLevel::Disk] {
        let bench = Bench::start(level);
        bench.disk.0.cannot_sync.store(true, Ordering::Relaxed);
        bench.report("kiwi").await;
        while bench.disk.0.syncs.load(Ordering::Relaxed) < 5 {
            bench.report("kiwi").await;
            tokio::time::sleep(Duration::from_millis(100)).await; // virtual
        }
        for _ in 0..10 {
            // Writes that succeed do not mend it, and answers at `process` wait for them still.
            bench.report("emu").await;
            assert!(bench.keeps("emu") || level == AckLevel::Disk);
            let status = bench.durability.status();
            assert!(status.last_error.contains("bad block"), "{}", status.last_error);
        }
        bench.disk.0.cannot_sync.store(false, Ordering::Relaxed);
        while !bench.durability.status().healthy {
            tokio::time::sleep(Duration::from_millis(100)).await; // virtual
        }
        bench.stop().await;
    }
}
