//! Any sequence of calls, against a map in memory.

use herd_node::store::{DiskStorage, SnapshotWriter, Storage as _};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{Known, merge, open, record};

#[derive(Debug, Clone)]
enum Step {
    /// Clients and times of the batch.
    Append(Vec<(u32, u32)>),
    Sync,
    BeginSnapshot,
    /// Fills the snapshot from what is known now, in two slices.
    FillSnapshot,
    FinishSnapshot,
    GiveUpSnapshot,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec((0..12_u32, 0..8_u32), 0..6).prop_map(Step::Append),
        1 => Just(Step::Sync),
        2 => Just(Step::BeginSnapshot),
        3 => Just(Step::FillSnapshot),
        2 => Just(Step::FinishSnapshot),
        1 => Just(Step::GiveUpSnapshot),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// The store beside its model.
struct Pair {
    directory: TempDir,
    storage: Option<DiskStorage>,
    /// And whether it has been filled.
    snapshot: Option<(Box<dyn SnapshotWriter>, bool)>,
    known: Known,
    boots: u64,
}

impl Pair {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let storage = Some(open(directory.path()).unwrap().0);
        Self { directory, storage, snapshot: None, known: Known::new(), boots: 1 }
    }

    fn take(&mut self, step: Step) {
        let storage = self.storage.as_mut().unwrap();
        match step {
            Step::Append(batch) => {
                let batch: Vec<_> = batch.into_iter().map(|(c, t)| record(c, t)).collect();
                let bytes = storage.append(&mut batch.iter()).unwrap();
                assert_eq!(bytes == 0, batch.is_empty());
                for record in batch {
                    merge(&mut self.known, record);
                }
            }
            Step::Sync => storage.sync().unwrap(),
            Step::BeginSnapshot => {
                let begun = storage.begin_snapshot();
                assert_eq!(begun.is_err(), self.snapshot.is_some());
                if let Ok(writer) = begun {
                    self.snapshot = Some((writer, false));
                }
            }
            Step::FillSnapshot => {
                if let Some((writer, filled @ false)) = &mut self.snapshot {
                    let half = self.known.len() / 2;
                    writer.add(&mut self.known.values().take(half)).unwrap();
                    writer.add(&mut self.known.values().skip(half)).unwrap();
                    *filled = true;
                }
            }
            Step::FinishSnapshot => {
                if let Some((writer, true)) = self.snapshot.take() {
                    writer.finish().unwrap();
                    assert!(!storage.snapshot_due());
                }
            }
            Step::GiveUpSnapshot => self.snapshot = None,
            Step::Reopen => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        (self.storage, self.snapshot) = (None, None);
        let (storage, recovery, known) = open(self.directory.path()).unwrap();
        self.boots += 1;
        assert_eq!(known, self.known);
        assert_eq!(recovery.boot, self.boots);
        assert!(!recovery.has_losses() && recovery.torn_tail_bytes == 0, "{recovery:?}");
        self.storage = Some(storage);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_is_called_the_store_holds_what_was_appended(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(step);
        }
        pair.reopen();
    }
}
