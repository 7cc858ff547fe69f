//! What tokio tells of its own work, read at each scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::Sampler;

/// Adds what the runtime that serves the scrapes knows of itself.
pub fn register_runtime(registry: &mut Registry) {
    registry.register_collector(Box::new(Runtime));
}

#[derive(Debug)]
struct Runtime;

impl Collector for Runtime {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(runtime) = Handle::try_current() else { return Ok(()) };
        let (runtime, mut to) = (runtime.metrics(), Sampler::new(encoder));
        let workers = runtime.num_workers();
        to.gauge("tokio_workers", "Threads that run tasks", workers as f64)?;
        to.gauge("tokio_alive_tasks", "Tasks", runtime.num_alive_tasks() as f64)?;
        let queued = runtime.global_queue_depth() as f64;
        to.gauge("tokio_global_queue_depth", "Tasks that wait for any worker", queued)?;
        let busy = |worker| runtime.worker_total_busy_duration(worker).as_secs_f64();
        let busy: f64 = (0..workers).map(busy).sum();
        to.counter("tokio_busy_seconds", "Time in which workers ran tasks", busy)
    }
}
