//! How many reports one connection may bring, over all its calls.

use std::sync::{Arc, Mutex, PoisonError};

use herd_edge::Pace;
use tokio::time::Instant;

/// One connection's pace; clones share it. The default is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionPace(Option<Arc<Mutex<Pace>>>);

impl ConnectionPace {
    /// `max_rate` reports a second; `None` for any number.
    pub(crate) fn new(max_rate: Option<u32>) -> Self {
        Self(max_rate.map(|rate| Arc::new(Mutex::new(Pace::new(rate)))))
    }

    /// Whether a single report may come now; if so, it has.
    pub(crate) fn admits_one(&self) -> bool {
        self.with(Pace::admits_one).unwrap_or(true)
    }

    /// Notes reports that came; returns until when no more may be read, if that is to come.
    pub(crate) fn came(&self, reports: u32) -> Option<Instant> {
        self.with(|pace| pace.came(reports)).flatten()
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Pace) -> T) -> Option<T> {
        let pace = self.0.as_ref()?;
        Some(ask(&mut pace.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
