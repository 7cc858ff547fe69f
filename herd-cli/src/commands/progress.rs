//! How far something has come, on standard error and only where somebody looks.

use std::time::{Duration, Instant};

use crate::output::Output;

/// How often it is told.
const EVERY: Duration = Duration::from_millis(200);

/// Counts things.
pub(super) struct Progress {
    things: &'static str,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Counts `things` from now on.
    pub(super) fn new(things: &'static str) -> Self {
        Self { things, started: Instant::now(), shown: None }
    }

    /// Tells that there have been so many.
    pub(super) fn at(&mut self, output: &mut Output, count: u64) {
        let last = self.shown.unwrap_or(self.started);
        if last.elapsed() < EVERY {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = count as f64 / seconds.max(1e-3);
        output.passing(&format!("{count} {}, {rate:.0} a second, {seconds:.0} s", self.things));
    }

    /// Clears the line.
    pub(super) fn done(&mut self, output: &mut Output) {
        if self.shown.take().is_some() {
            output.passing("");
        }
    }
}
