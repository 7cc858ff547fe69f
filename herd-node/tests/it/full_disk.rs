//! A node of its own process whose disk is full, and then is not: the kernel lets its files grow
//! no further, which fails a write just as a full disk does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetRequest, GetStatusRequest, StoreStatus};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::admin::get;
use crate::support::{channel, eventually, report};

/// A process that is killed when the test is over.
struct Process {
    child: Child,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// Runs a node whose files may have so many blocks of 512 bytes.
    fn start(home: &Path, blocks: &str) -> Self {
        let herd = "[[nodes]]\nname = 'Bailey'\naddress = '127.0.0.1:0'\nadmin = '127.0.0.1:0'";
        fs::write(home.join("herd.toml"), herd).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -S -f $1; shift; exec \"$@\"", "sh", blocks])
            .arg(env!("CARGO_BIN_EXE_herd-node"))
            .args(["--name", "Bailey", "--log-format", "json", "--data-dir"])
            .arg(home.join("data"))
            .arg("--herd-file")
            .arg(home.join("herd.toml"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses =
            BufReader::new(child.stderr.take().unwrap()).lines().filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                line["address"].as_str()?.parse().ok()
            });
        let mut address = || addresses.next().unwrap();
        let (admin, grpc) = (address(), address());
        // Read on, or the node would wait for us.
        std::thread::spawn(move || addresses.count());
        Self { child, grpc, admin }
    }

    /// Lets files grow again.
    fn make_room(&self) {
        let pid = Pid::from_child(&self.child);
        let free = Rlimit { current: None, maximum: None };
        prlimit(Some(pid), Resource::Fsize, free).unwrap();
    }

    async fn store(&self) -> StoreStatus {
        let mut client = NodeClient::new(channel(self.grpc).await);
        client.get_status(GetStatusRequest {}).await.unwrap().into_inner().store.unwrap()
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let mut client = HealthClient::new(channel(self.grpc).await);
        let request = HealthCheckRequest { service: service.into() };
        client.check(request).await.unwrap().into_inner().status()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_full_disk_shows_in_health_and_metrics_harms_nobody_and_heals_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let node = Process::start(home.path(), "16");
    let mut client =
        herd_proto::v1::locations_client::LocationsClient::new(channel(node.grpc).await);
    let mut reported = Vec::new();
    while node.store().await.healthy {
        let id = format!("{}-{}", "x".repeat(900), reported.len());
        client.report(report(&id)).await.unwrap();
        reported.push(id);
        assert!(reported.len() < 1000, "the disk never was full");
    }
    client.report(report("kiwi")).await.unwrap();
    reported.push("kiwi".into());
    let not_serving = |status: &ServingStatus| *status == ServingStatus::NotServing;
    eventually(async || node.health("store").await, not_serving).await;
    assert_eq!(node.health("readiness").await, ServingStatus::Serving);
    assert!(get(node.admin, "/metrics").await.contains("herd_store_healthy 0.0\n"));
    let ready = get(node.admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("store: cannot write"), "{ready}");

    node.make_room();
    eventually(async || node.store().await, |store| store.healthy).await;
    let serving = |status: &ServingStatus| *status == ServingStatus::Serving;
    eventually(async || node.health("store").await, serving).await;
    assert!(get(node.admin, "/metrics").await.contains("herd_store_healthy 1.0\n"));
    drop(node); // killed

    let node = Process::start(home.path(), "unlimited");
    let mut client =
        herd_proto::v1::locations_client::LocationsClient::new(channel(node.grpc).await);
    for client_id in reported {
        client.get(GetRequest { client_id }).await.unwrap();
    }
}
