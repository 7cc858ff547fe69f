//! A gateway's process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::herd::{POLL, START_LIMIT, beside_this, free_port};

/// A running gateway; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Gateway {
    process: Child,
    pub(super) address: SocketAddr,
    /// Where it serves operators.
    pub(super) admin: SocketAddr,
}

impl Gateway {
    /// Starts one for the node at `node`, with its log in `directory`.
    pub(super) async fn start(node: SocketAddr, directory: &Path) -> anyhow::Result<Self> {
        let (text, operators) = (free_port().await?, free_port().await?);
        let (address, admin) = (text.local_addr()?, operators.local_addr()?);
        drop((text, operators));
        let log = fs::File::create(directory.join("gateway.log"))?;
        let mut command = Command::new(beside_this("herd-gateway")?);
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
            command.env_remove(variable);
        }
        command.arg("--upstream").arg(node.to_string()).arg("--listen").arg(address.to_string());
        command.arg("--admin").arg(admin.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let process = command.spawn().context("cannot run herd-gateway")?;
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(started.elapsed() < START_LIMIT, "the gateway does not listen");
            sleep(POLL).await;
        }
        Ok(Self { process, address, admin })
    }

    /// Memory that the process holds, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        crate::herd::resident_bytes(self.process.id().context("the gateway has ended")?)
    }

    /// Fails if it has ended by itself.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the gateway ended by itself: {status}"),
        }
    }
}
