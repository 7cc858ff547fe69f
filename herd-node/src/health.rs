//! `grpc.health.v1`: `""` and `readiness` follow the node's readiness, `liveness` its life, `store`
//! its disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::info;

use crate::durability::Durability;
use crate::shared::{Shared, Waker};

/// The names under which readiness can be asked: the whole server's, and an own one so that a
/// kubelet can tell it from liveness.
pub const READINESS: [&str; 2] = ["", "readiness"];

/// Serving for as long as the process can answer at all.
pub const LIVENESS: &str = "liveness";

/// Serving while the disk takes records, syncs and begins snapshots, and where there is no data directory. A node whose disk
/// fails stays ready: it goes on without.
const STORE: &str = "store";

/// How long a new node waits to hear what its friends know before it takes traffic all the same.
const JOIN: Duration = Duration::from_secs(5);

/// Reports the node's health.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Starts not ready.
    pub(crate) async fn new(reporter: HealthReporter, ready: Arc<AtomicBool>) -> Self {
        reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        reporter.set_service_status(STORE, ServingStatus::Serving).await;
        let health = Self { reporter, ready };
        health.set_ready(false).await;
        health
    }

    /// Changes readiness.
    pub(crate) async fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in READINESS {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Ends the streams of those who watch the health, which would keep the server up otherwise.
    pub(crate) async fn close(&mut self) {
        for name in READINESS.into_iter().chain([LIVENESS, STORE]) {
            self.reporter.clear_service_status(name).await;
        }
    }

    /// Reports for ever whether the disk works.
    pub(crate) async fn follow_store(self, durability: Durability) {
        let mut healthy = true;
        while durability.health_changed(healthy).await {
            healthy = !healthy;
            let status = if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(STORE, status).await;
        }
    }

    /// Becomes ready once each friend has either sent what it knew or turned out unreachable.
    pub(crate) async fn join(self, shared: Arc<Shared>, waker: Waker) {
        let heard = async {
            while !shared.with(|state, _| state.peers().all_heard()) {
                waker.woken().await;
            }
        };
        let in_time = timeout(JOIN, heard).await.is_ok();
        self.set_ready(true).await;
        let (node, clients) =
            shared.with(|state, _| (state.identity().name.clone(), state.table().len()));
        info!(%node, clients, heard_all_friends = in_time, "ready");
    }
}
