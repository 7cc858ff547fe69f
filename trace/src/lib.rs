//! The herd's part of distributed traces.
//!
//! Whoever calls may send a W3C trace context, a [`TraceContext`](herd_proto::TraceContext), which goes
//! with what it causes: with calls, and with records from node to node. That costs nothing where nobody
//! sends one. With the feature `otlp`, and where the environment names a collector, the programs also
//! have [`Span`]s of their own in a trace, or begin one, and [`start`] sends them there.
//!
//! Spans are made by hand at a few places, and not of everything that is logged: what is logged and what
//! is traced are two questions, and neither should make the other dearer.

#[cfg_attr(not(feature = "otlp"), path = "no_export.rs")]
mod export;
mod settings;
mod span;

pub use settings::Error;
pub use span::{Kind, Span, Value};

/// The way to the collector, which [`Exporting::stop`] ends.
#[derive(Debug, Default)]
#[must_use = "spans that wait are lost where it is not stopped"]
pub struct Exporting {
    running: Option<export::Running>,
}

/// Begins to send spans to the collector that the environment names, if it names one. `program` and
/// `instance` name the sender, unless the environment does. To be called once a process, when it logs
/// already.
///
/// # Errors
/// The environment names something that cannot be a collector.
pub fn start(program: &'static str, instance: &str) -> Result<Exporting, Error> {
    let Some(endpoint) = settings::endpoint() else { return Ok(Exporting::default()) };
    Ok(Exporting { running: export::start(program, instance, &endpoint)? })
}

impl Exporting {
    /// Sends the spans that wait, for some seconds at most, and ends. Blocks the thread.
    pub fn stop(self) {
        if let Some(running) = self.running {
            running.stop();
        }
    }
}
