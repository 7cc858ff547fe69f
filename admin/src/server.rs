//! Serves HTTP/1 to a few operators, and lets nobody keep a connection for nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Most connections at a time; the next ones wait in the kernel's queue. Scrapers, probes and a
/// few open pages need a dozen.
pub const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take, and a kept connection may be idle. Prometheus asks each
/// 15 to 60 s and opens a new connection then.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a reader may take none of what waits for it: whoever stops reading gives back the place.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted, mostly for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long requests that are under way may take once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves `routes` until `stop` is cancelled, then lets requests under way finish for a second.
///
/// # Cancel safety
/// Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Some(Some((stream, place))) = stop.run_until_cancelled(next(&listener, &places)).await
    {
        connections.spawn(connection(stream, routes.clone(), stop.clone(), place));
        while connections.try_join_next().is_some() {}
    }
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(FAREWELL, all).await;
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                debug!(%error, "no connection could be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    routes: Router,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_LIMIT));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the admin port ended");
    }
}
