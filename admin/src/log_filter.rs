//! Which log lines a program writes, changed while it runs.
//!
//! There is one filter a process, as there is one place that log lines go to.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Longest filter that is looked at: a hundred targets.
pub const MAX_FILTER_BYTES: usize = 4096;

/// What SIGUSR1 sets.
const VERBOSE: &str = "debug";

static FILTER: OnceLock<Filter> = OnceLock::new();

#[derive(Debug)]
struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
    current: Mutex<String>,
}

/// Why a filter was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no filter.
    #[error("must be a level such as debug, or targets with levels such as herd_node=debug,warn")]
    Unreadable(#[source] ParseError),
    /// The text is longer than [`MAX_FILTER_BYTES`].
    #[error("must be at most {MAX_FILTER_BYTES} bytes long")]
    TooLong,
    /// This process writes no log that can be filtered.
    #[error("this program's log cannot be changed while it runs")]
    Fixed,
}

/// A filter for the process's log. The first one that is made can be changed later.
///
/// # Errors
/// The text is no filter.
pub fn changeable(directives: &str) -> Result<reload::Layer<EnvFilter, Registry>, Error> {
    let (layer, handle) = reload::Layer::new(read(directives)?);
    let (configured, current) = (directives.to_owned(), Mutex::new(directives.to_owned()));
    let _ = FILTER.set(Filter { handle, configured, current });
    Ok(layer)
}

/// Puts another filter in place, or, for an empty text, the one that was configured. Returns the
/// filter that is in place now, and the one before.
///
/// # Errors
/// The filter stays as it was.
pub fn change(directives: &str) -> Result<(String, String), Error> {
    let parsed = read(directives)?;
    let filter = FILTER.get().ok_or(Error::Fixed)?;
    let (parsed, wanted) = if directives.is_empty() {
        (read(&filter.configured)?, filter.configured.clone())
    } else {
        (parsed, directives.to_owned())
    };
    let mut current = filter.current.lock().unwrap_or_else(PoisonError::into_inner);
    filter.handle.reload(parsed).map_err(|_| Error::Fixed)?;
    let before = std::mem::replace(&mut *current, wanted.clone());
    drop(current);
    info!(filter = wanted, before, "log filter changed");
    Ok((wanted, before))
}

/// Puts `debug` in place at SIGUSR1, and what was configured at SIGUSR2, for ever.
///
/// # Errors
/// The process cannot listen for signals.
pub fn follow_signals() -> io::Result<impl Future<Output = Infallible>> {
    let mut more = signal(SignalKind::user_defined1())?;
    let mut less = signal(SignalKind::user_defined2())?;
    Ok(async move {
        loop {
            let wanted = tokio::select! {
                Some(()) = more.recv() => VERBOSE,
                Some(()) = less.recv() => "",
                else => pending().await,
            };
            // A process without a log has nothing to change.
            let _ = change(wanted);
        }
    })
}

fn read(directives: &str) -> Result<EnvFilter, Error> {
    if directives.len() > MAX_FILTER_BYTES {
        return Err(Error::TooLong);
    }
    EnvFilter::try_new(directives).map_err(Error::Unreadable)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_filter_is_changed_and_put_back_and_nonsense_changes_nothing() {
        assert!(matches!(change("debug"), Err(Error::Fixed)));
        let log = tracing_subscriber::registry().with(changeable("warn").unwrap());
        tracing::subscriber::with_default(log, || {
            let debugs = || tracing::enabled!(tracing::Level::DEBUG);
            assert!(!debugs());
            assert_eq!(change("debug").unwrap(), ("debug".into(), "warn".into()));
            assert!(debugs());
            assert!(matches!(change("herd_node=loud"), Err(Error::Unreadable(_))));
            assert!(matches!(change(&"x".repeat(MAX_FILTER_BYTES + 1)), Err(Error::TooLong)));
            assert!(debugs());
            assert_eq!(change("").unwrap(), ("warn".into(), "debug".into()));
            assert!(!debugs());
        });
    }
}
