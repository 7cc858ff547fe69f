//! The usual `process_*` metrics, read from the kernel at each scrape.

use prometheus_client::registry::Registry;

/// Adds what the kernel knows of this process, where there is a `/proc`.
pub fn register_process(registry: &mut Registry) {
    #[cfg(target_os = "linux")]
    registry.register_collector(Box::new(linux::Process));
    #[cfg(not(target_os = "linux"))]
    let _ = registry;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::process::Process as Kernel;
    use procfs::{WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;

    use crate::Sampler;

    /// Names and meanings as Prometheus' client libraries have them.
    #[derive(Debug)]
    pub(super) struct Process;

    impl Collector for Process {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut to = Sampler::new(encoder);
            // A kernel that tells nothing is no reason to tell nothing of the herd.
            let Ok(process) = Kernel::myself() else { return Ok(()) };
            if let Ok(stat) = process.stat() {
                let second = ticks_per_second() as f64;
                let cpu = (stat.utime + stat.stime) as f64 / second;
                to.counter("process_cpu_seconds", "User and system time spent", cpu)?;
                let resident = stat.rss_bytes().get() as f64;
                to.gauge("process_resident_memory_bytes", "Resident memory", resident)?;
                to.gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize as f64)?;
                to.gauge("process_threads", "Threads", stat.num_threads as f64)?;
                if let Ok(boot) = boot_time_secs() {
                    let started = boot as f64 + stat.starttime as f64 / second;
                    to.gauge("process_start_time_seconds", "Start, since 1970", started)?;
                }
            }
            if let Ok(open) = process.fd_count() {
                to.gauge("process_open_fds", "Open file descriptors", open as f64)?;
            }
            Ok(())
        }
    }
}
