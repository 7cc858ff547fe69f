//! How long the steps of a report's way take: `cargo bench -p herd-bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use herd_bench::hot::{BATCH, STEPS};

fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot");
    group.throughput(Throughput::Elements(BATCH.into()));
    for step in STEPS {
        let mut round = step.prepare();
        group.bench_function(step.name, |bencher| bencher.iter(&mut round));
    }
    group.finish();
}

criterion_group!(benches, hot);
criterion_main!(benches);
