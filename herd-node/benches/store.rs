//! What the store costs: handing batches over, and reading everything back at start.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use herd_node::store::{self, DiskStorage, Storage as _};
use herd_proto::{ClientId, LocationRecord, NodeName, Position, Timestamp};
use tempfile::TempDir;

const BATCH: usize = 1000;
const CLIENTS: usize = 1_000_000;
/// Appended files are thrown away after this much, so that the disk does not fill.
const LOG_BYTES: usize = 1 << 30;

fn record(number: usize) -> LocationRecord {
    let nanos = 1_700_000_000_000_000_000 + number as i64;
    LocationRecord::new(
        ClientId::parse(&format!("client-{number:012}")).expect("a client id"),
        Position::from_e7((number % 900_000_000) as i32, -(number as i32)).expect("in range"),
        Timestamp::from_unix_nanos(nanos).expect("in range"),
        Timestamp::from_unix_nanos(nanos + 1_000_000).expect("in range"),
        NodeName::parse("Bailey").expect("a node name"),
    )
}

fn open(directory: &Path, apply: &mut dyn FnMut(LocationRecord)) -> DiskStorage {
    let name = NodeName::parse("Bailey").expect("a node name");
    store::open(directory, "herd", &name, apply).expect("a fresh directory").0
}

fn append(criterion: &mut Criterion) {
    let records: Vec<_> = (0..BATCH).map(record).collect();
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("1000 records, no sync", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            let mut rounds = rounds;
            while rounds > 0 {
                let directory = TempDir::new().expect("a directory");
                let mut storage = open(directory.path(), &mut |_| {});
                let mut bytes = 0;
                while rounds > 0 && bytes < LOG_BYTES {
                    let started = Instant::now();
                    bytes += storage.append(&mut records.iter()).expect("room");
                    spent += started.elapsed();
                    rounds -= 1;
                }
            }
            spent
        });
    });
    group.finish();
}

fn reopen(criterion: &mut Criterion) {
    let directory = TempDir::new().expect("a directory");
    let records: Vec<_> = (0..CLIENTS).map(record).collect();
    let mut storage = open(directory.path(), &mut |_| {});
    for batch in records.chunks(BATCH) {
        storage.append(&mut batch.iter()).expect("room");
    }
    drop(storage);
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(CLIENTS as u64)).sample_size(10);
    group.bench_function("1000000 records, into a Vec", |bencher| {
        bencher.iter_batched(
            || Vec::with_capacity(CLIENTS),
            |mut found| {
                open(directory.path(), &mut |record| found.push(record));
                black_box(found)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, append, reopen);
criterion_main!(benches);
