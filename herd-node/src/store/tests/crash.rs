//! A process that is killed, or loses power, at every single change it makes to the disk.

use std::io;

use super::super::Storage as _;
use super::disk::TestDisk;
use super::{Known, batch, merge, open, record, try_open};

/// What the world may rely on.
#[derive(Default)]
struct Promises {
    /// Everything handed to the store, acknowledged or not.
    given: Vec<herd_proto::LocationRecord>,
    appended: Known,
    synced: Known,
}

impl Promises {
    fn append(
        &mut self,
        storage: &mut impl super::super::Storage,
        time: u32,
        clients: u32,
    ) -> io::Result<()> {
        let records: Vec<_> =
            (0..clients).map(|client| record((client + time) % 5, time)).collect();
        self.given.extend(records.iter().cloned());
        storage.append(&mut records.iter())?;
        for record in records {
            merge(&mut self.appended, record);
        }
        Ok(())
    }
}

/// Some of everything, over three openings. Ends early where the process dies.
fn life(disk: &TestDisk, promises: &mut Promises) -> Option<()> {
    let mut time = 0;
    for opening in 0..3 {
        let mut table = Known::new();
        let (mut storage, _) = try_open(disk, &mut table).ok()?;
        for _ in 0..4 {
            time += 1;
            promises.append(&mut storage, time, 3).ok()?;
        }
        storage.sync().ok()?;
        promises.synced = promises.appended.clone();
        if opening == 1 {
            drop(storage.begin_snapshot().ok()?);
        }
        let mut snapshot = storage.begin_snapshot().ok()?;
        time += 1;
        let before = promises.appended.clone();
        promises.append(&mut storage, time, 2).ok()?;
        snapshot.add(&mut before.values()).ok()?;
        storage.sync().ok()?;
        promises.synced = promises.appended.clone();
        snapshot.finish().ok()?;
        time += 1;
        promises.append(&mut storage, time, 5).ok()?;
    }
    Some(())
}

fn assert_holds(found: &Known, promised: &Known, given: &[herd_proto::LocationRecord], at: u64) {
    for (client, promised) in promised {
        let found = found.get(client).unwrap_or_else(|| panic!("step {at}: {client} is lost"));
        assert!(found.time >= promised.time, "step {at}: {client} went back");
    }
    assert!(found.values().all(|record| given.contains(record)), "step {at}: invented");
}

/// Runs [`life`] up to each of its changes.
fn at_each_step(check: impl Fn(u64, &TestDisk, &Promises)) {
    let whole = TestDisk::default();
    life(&whole, &mut Promises::default()).unwrap();
    let steps = whole.state().taken;
    assert!(steps > 60, "{steps}");
    for step in 0..steps {
        let (disk, mut promises) = (TestDisk::default(), Promises::default());
        disk.state().steps = Some(step);
        life(&disk, &mut promises);
        assert!(disk.state().struck > 0, "step {step} killed nobody");
        check(step, &disk, &promises);
    }
}

#[test]
fn a_kill_at_any_step_loses_nothing_that_was_appended() {
    at_each_step(|step, disk, promises| {
        let disk = disk.after_kill();
        let (mut storage, recovery, found) = open(&disk);
        for seed in 0..5 {
            // What was found once is not lost to the next power cut.
            assert_eq!(open(&disk.after_power_cut(seed)).2, found, "step {step}");
        }
        assert!(!recovery.has_losses(), "step {step}: {recovery:?}");
        assert_holds(&found, &promises.appended, &promises.given, step);
        // And life goes on.
        storage.append(&mut batch(5, 1000).iter()).unwrap();
        storage.begin_snapshot().unwrap().finish().unwrap();
        assert!(!disk.names().iter().any(|name| name.contains(".tmp")), "{:?}", disk.names());
    });
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_synced() {
    at_each_step(|step, disk, promises| {
        for seed in 0..20 {
            let (_, _, found) = open(&disk.after_power_cut(seed));
            assert_holds(&found, &promises.synced, &promises.given, step);
        }
    });
}

#[test]
fn the_next_opening_may_die_at_any_step_as_well() {
    at_each_step(|step, disk, promises| {
        for second in 0..12 {
            let disk = disk.after_kill();
            disk.state().steps = Some(second);
            let _ = try_open(&disk, &mut Known::new());
            let (_, _, found) = open(&disk.after_power_cut(second));
            assert_holds(&found, &promises.synced, &promises.given, step);
            let (_, _, found) = open(&disk.after_kill());
            assert_holds(&found, &promises.appended, &promises.given, step);
        }
    });
}
