//! A node: all its tasks and its way from start to stop.

mod serve;
mod start;
mod stop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herd_edge::Refusals;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::stop::Drained;
use crate::error::Error;
use crate::health::Health;
use crate::places::Places;
use crate::service::EmbeddedService;
use crate::shared::Shared;

/// A running node.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    shared: Arc<Shared>,
    places: Arc<Places>,
    refusals: Arc<Refusals>,
    embedded: EmbeddedService,
    health: Health,
    drain_grace: Duration,
    /// Closes the port.
    stop_listening: CancellationToken,
    /// Tells services to take nothing more.
    stop: CancellationToken,
    /// Tells links to send what is left and to finish.
    stop_links: CancellationToken,
    /// Tells links to end at once.
    abort: CancellationToken,
    /// Tells the server to let go of connections.
    stop_server: CancellationToken,
    /// Tells the writer to write the rest and to finish.
    stop_writing: CancellationToken,
    links: TaskTracker,
    dialers: TaskTracker,
    writers: TaskTracker,
    tasks: JoinSet<Result<(), String>>,
}

impl Node {
    /// Where the node serves gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the node serves HTTP to operators, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The node's state, for whoever runs in the same process.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The node's places, to [reload](Places::reload) them.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// What was refused or cut off so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The node for callers in the same process.
    pub fn embedded(&self) -> &EmbeddedService {
        &self.embedded
    }

    /// Closes the node's port when it is cancelled, and nothing else: a node that takes its place
    /// can listen there while this one finishes.
    pub fn stop_listening(&self) -> CancellationToken {
        self.stop_listening.clone()
    }

    /// Waits until the node fails; for as long as all is well, for ever.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn failed(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(reason))) => return Error::Ended(reason),
                Some(Err(panic)) => return Error::Ended(panic.to_string()),
                None => return Error::Ended("all tasks ended".into()),
            }
        }
    }

    /// Runs work for as long as the node serves.
    fn until_the_end(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop_server.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
            Ok(())
        });
    }

    /// Runs work until the node is asked to stop.
    fn until_stopped(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
            Ok(())
        });
    }
}
