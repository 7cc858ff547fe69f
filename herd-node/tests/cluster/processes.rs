//! Real processes of `herd-node`, of which DNS names more and fewer.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{NameServer, PEERS, View};
use crate::support::{REFRESH, eventually, node, peers, report, status};

/// A node in a process of its own; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts `node-{number}` on a port that was free just now.
    pub(crate) fn start(number: usize, server: &NameServer) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::start_at(address, number, server)
    }

    /// Starts the node where it was before.
    pub(crate) fn start_at(address: SocketAddr, number: usize, server: &NameServer) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_herd-node"))
            .env_clear()
            .env("HERD_NAME", node(number))
            .env("HERD_LISTEN", address.to_string())
            .env("HERD_ADMIN", "none")
            .env("HERD_PEERS_DNS", PEERS)
            .env("HERD_PEERS_REFRESH", REFRESH)
            .env("HERD_DNS_SERVER", server.address.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How the process ends, when it does.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = async || self.child.try_wait().unwrap();
        eventually(ended, Option::is_some).await.unwrap()
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What DNS says of these processes, in the order of their numbers.
pub(crate) fn view(processes: &[Process]) -> View {
    let entries = processes.iter().enumerate();
    View::Names(entries.map(|(number, process)| (node(number), process.address)).collect())
}

/// Waits until each process has a link to each other, and knows of nobody else.
pub(crate) async fn all_linked(processes: &[Process]) {
    let others = processes.len() - 1;
    for process in processes {
        let seen = async || status(process.address).await.as_ref().map(peers);
        eventually(seen, |seen| *seen == Some((others, others))).await;
    }
}

#[tokio::test]
async fn a_herd_of_processes_grows_and_shrinks_without_a_restart() {
    let server = NameServer::start(View::Nobody).await;
    let mut herd: Vec<_> = (0..3).map(|number| Process::start(number, &server)).collect();
    server.now_says(view(&herd));
    all_linked(&herd).await;
    herd.extend((3..5).map(|number| Process::start(number, &server)));
    server.now_says(view(&herd));
    all_linked(&herd).await;
    report(herd[4].address, "kiwi").await;
    // Those that leave do it as pods do: told to, and named for a while after.
    for mut gone in herd.drain(3..) {
        gone.signal(Signal::TERM);
        assert!(gone.ended().await.success(), "it drains and ends well");
    }
    server.now_says(view(&herd));
    all_linked(&herd).await;
    for process in &mut herd {
        assert!(process.is_running());
        let clients = async || status(process.address).await.map(|status| status.clients);
        eventually(clients, |clients| *clients == Some(1)).await;
    }
}
