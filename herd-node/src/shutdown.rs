use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the process is asked to stop, by SIGTERM or SIGINT, and names the signal.
///
/// The handlers are in place once this function has returned its future, so that no signal is
/// lost between start-up and the first poll.
///
/// # Errors
/// When the operating system lets no handler be installed.
pub fn terminated() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Calls `reload` at each SIGHUP, one call after the other, for ever. The handler is in place
/// once this function has returned its future.
///
/// # Errors
/// When the operating system lets no handler be installed.
pub fn at_hangups(
    mut reload: impl AsyncFnMut(),
) -> io::Result<impl Future<Output = std::convert::Infallible>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            hangup.recv().await;
            reload().await;
        }
    })
}
