//! A herd of real processes, with a link that can fail between each two friends.

mod plan;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetStatusRequest, GetStatusResponse, LinkState};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use self::plan::herd_file;
pub(crate) use self::plan::{FIVE, FRIENDSHIPS, Plan};
pub(crate) use self::plan::{beside_this, free_port};
use crate::proxy::{Link, Path};

/// Longest wait for a node to take traffic: it may read a large store on a busy machine.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// Longest wait for one status; a stopped process never answers.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// How often to ask again.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// How much of a dead node's log is shown.
const LOG_TAIL_LINES: usize = 15;

/// The processes and the links between them; all end when this is dropped.
#[derive(Debug)]
pub(crate) struct Herd {
    directory: TempDir,
    program: PathBuf,
    ack_level: Option<String>,
    nodes: Vec<Node>,
    links: Vec<(String, Link)>,
}

/// Memory that a process holds, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    kibibytes(pid, "VmRSS:")
}

/// The most that it has held since [`forget_peak`], in bytes.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    kibibytes(pid, "VmHWM:")
}

/// Lets the kernel note a process's peak anew.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot clear the peak")
}

fn kibibytes(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("the kernel tells no {key}"))? * 1024)
}

#[derive(Debug)]
struct Node {
    name: &'static str,
    address: SocketAddr,
    channel: Channel,
    process: Option<Child>,
}

impl Herd {
    /// Chooses ports, opens the links and writes each node's herd file. No process runs yet.
    pub(crate) async fn plan(plan: &Plan) -> anyhow::Result<Self> {
        let program = match &plan.program {
            Some(program) => program.clone(),
            None => beside_this("herd-node")?,
        };
        let directory = tempfile::Builder::new().prefix("herd-xtask-").tempdir()?;
        let mut nodes = Vec::new();
        // Held until all are known, so that they differ.
        let mut held = Vec::new();
        for name in plan.names {
            let listener = free_port().await?;
            let address = listener.local_addr()?;
            let channel = Endpoint::from_shared(format!("http://{address}"))?
                .connect_timeout(STATUS_LIMIT)
                .tcp_nodelay(true)
                .connect_lazy();
            held.push(listener);
            nodes.push(Node { name, address, channel, process: None });
        }
        let (mut links, mut doors) = (Vec::new(), Vec::new());
        for &(first, second) in plan.friendships {
            let (out, back) = (free_port().await?, free_port().await?);
            doors.push((first, second, out.local_addr()?));
            doors.push((second, first, back.local_addr()?));
            let paths = [
                Path { listener: out, target: nodes[second].address },
                Path { listener: back, target: nodes[first].address },
            ];
            links.push((format!("{}-{}", nodes[first].name, nodes[second].name), paths));
        }
        let places: Vec<_> = nodes.iter().map(|node| (node.name, node.address)).collect();
        for (index, node) in nodes.iter().enumerate() {
            let file = herd_file(&places, plan.friendships, &doors, index)?;
            fs::write(directory.path().join(format!("{}.toml", node.name)), file)?;
        }
        drop(held);
        let links = links.into_iter().map(|(name, paths)| (name, Link::open(paths))).collect();
        Ok(Self { directory, program, ack_level: plan.ack_level.clone(), nodes, links })
    }

    /// The same, with all nodes started, ready and linked.
    pub(crate) async fn started(plan: &Plan) -> anyhow::Result<Self> {
        let mut herd = Self::plan(plan).await?;
        for node in 0..herd.nodes.len() {
            herd.start(node)?;
        }
        herd.wait_until_linked().await?;
        Ok(herd)
    }

    /// How many nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node's name.
    pub(crate) fn name(&self, node: usize) -> &'static str {
        self.nodes[node].name
    }

    /// Where a node serves gRPC.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    /// Where all nodes serve gRPC.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// A connection to a node, made anew whenever it is needed.
    pub(crate) fn channel(&self, node: usize) -> Channel {
        self.nodes[node].channel.clone()
    }

    /// The links, in the plan's order.
    pub(crate) fn links(&self) -> impl ExactSizeIterator<Item = &Link> {
        self.links.iter().map(|(_, link)| link)
    }

    /// What a link is called.
    pub(crate) fn link_name(&self, link: usize) -> &str {
        &self.links[link].0
    }

    /// Where herd files, data and logs are.
    pub(crate) fn directory(&self) -> &FsPath {
        self.directory.path()
    }

    /// Keeps the files beyond this process, for whoever looks into a failure.
    pub(crate) fn keep_files(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// Starts a node's process. Returns at once; the node answers a little later.
    pub(crate) fn start(&mut self, node: usize) -> anyhow::Result<()> {
        self.start_with(node, &[])
    }

    /// The same with flags of one's own.
    pub(crate) fn start_with(&mut self, node: usize, flags: &[&str]) -> anyhow::Result<()> {
        let directory = self.directory.path().to_owned();
        let Node { name, process, .. } = &mut self.nodes[node];
        ensure!(process.is_none(), "{name} runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join(format!("{name}.log")))
            .context("cannot open the node's log")?;
        let mut command = Command::new(&self.program);
        // Whoever runs this may have settings of their own.
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
            command.env_remove(variable);
        }
        command
            .arg("--name")
            .arg(*name)
            .arg("--herd-file")
            .arg(directory.join(format!("{name}.toml")))
            .args(flags);
        if let Some(level) = &self.ack_level {
            command.arg("--data-dir").arg(directory.join(format!("{name}.data")));
            command.arg("--ack-level").arg(level);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child =
            command.spawn().with_context(|| format!("cannot run {}", self.program.display()))?;
        *process = Some(child);
        Ok(())
    }

    /// Kills a node as `kill -9` does, and waits until it is gone. Works on stopped ones too.
    ///
    /// # Errors
    /// When the process did not run, or ended of anything else.
    pub(crate) async fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        self.check_alive()?;
        let Node { name, process, .. } = &mut self.nodes[node];
        let mut child = process.take().with_context(|| format!("{name} does not run"))?;
        child.start_kill().with_context(|| format!("cannot kill {name}"))?;
        let status = child.wait().await?;
        ensure!(status.signal() == Some(Signal::KILL.as_raw()), "{name} ended otherwise: {status}");
        Ok(())
    }

    /// Asks a node to stop as an operator does, and waits until it has.
    pub(crate) async fn shut_down(&mut self, node: usize) -> anyhow::Result<()> {
        self.signal(node, Signal::TERM)?;
        let Node { name, process, .. } = &mut self.nodes[node];
        let mut child = process.take().with_context(|| format!("{name} does not run"))?;
        let ended = timeout(START_LIMIT, child.wait()).await;
        ended.with_context(|| format!("{name} does not stop within {START_LIMIT:?}"))??;
        Ok(())
    }

    /// Stops a node's process where it stands; its connections stay open.
    pub(crate) fn stop(&self, node: usize) -> anyhow::Result<()> {
        self.signal(node, Signal::STOP)
    }

    /// Lets a stopped process go on.
    pub(crate) fn resume(&self, node: usize) -> anyhow::Result<()> {
        self.signal(node, Signal::CONT)
    }

    fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid(node)?).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process has a number")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name(node)))
    }

    /// The number of a node's process.
    pub(crate) fn pid(&self, node: usize) -> anyhow::Result<u32> {
        let Node { name, process, .. } = &self.nodes[node];
        process.as_ref().and_then(Child::id).with_context(|| format!("{name} does not run"))
    }

    /// Memory that a node's process holds, in bytes.
    pub(crate) fn resident_bytes(&self, node: usize) -> anyhow::Result<u64> {
        resident_bytes(self.pid(node)?)
    }

    /// Whether the kernel says that a node's process is stopped.
    pub(crate) fn is_stopped(&self, node: usize) -> anyhow::Result<bool> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(node)?))?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        Ok(state.is_some_and(|state| state.trim_start().starts_with('T')))
    }

    /// Fails when a process has ended that nobody killed.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for node in 0..self.nodes.len() {
            let Some(child) = &mut self.nodes[node].process else { continue };
            if let Some(status) = child.try_wait()? {
                let name = self.nodes[node].name;
                bail!("{name} ended by itself: {status}\n{}", self.log_tail(name));
            }
        }
        Ok(())
    }

    /// Fails when anything that logs into the directory has panicked, if only in one task.
    pub(crate) fn check_no_panic(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.directory())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = fs::read(&path)?;
                let log = String::from_utf8_lossy(&log);
                let panic = log.lines().find(|line| line.contains("panicked at"));
                ensure!(panic.is_none(), "{}: {}", path.display(), panic.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn log_tail(&self, name: &str) -> String {
        let log = fs::read(self.directory.path().join(format!("{name}.log"))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// How a node is; waits for the answer for [`STATUS_LIMIT`] at most.
    pub(crate) async fn status(&self, node: usize) -> anyhow::Result<GetStatusResponse> {
        let mut client = NodeClient::new(self.channel(node));
        let answer = timeout(STATUS_LIMIT, client.get_status(GetStatusRequest {})).await;
        Ok(answer.with_context(|| format!("{} is silent", self.name(node)))??.into_inner())
    }

    /// Waits until all nodes take traffic and all links are up.
    pub(crate) async fn wait_until_linked(&mut self) -> anyhow::Result<()> {
        for node in 0..self.nodes.len() {
            self.wait_for(node, |status| {
                let up = |peer: &&herd_proto::v1::PeerStatus| peer.state() == LinkState::Up;
                let friends = status.peers.iter().filter(|peer| peer.friend);
                status.ready && friends.clone().count() == friends.filter(up).count()
            })
            .await?;
        }
        Ok(())
    }

    /// Polls a node's status until it is as wanted; returns how long that took.
    pub(crate) async fn wait_for(
        &mut self,
        node: usize,
        wanted: impl Fn(&GetStatusResponse) -> bool,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        loop {
            let status = self.status(node).await;
            if status.as_ref().is_ok_and(&wanted) {
                return Ok(started.elapsed());
            }
            self.check_alive()?;
            let name = self.name(node);
            ensure!(
                started.elapsed() < START_LIMIT,
                "{name} is not as wanted after {START_LIMIT:?}, but {status:?}"
            );
            sleep(POLL).await;
        }
    }

    /// Waits until all nodes answer with one and the same digest; returns how long that took.
    ///
    /// # Errors
    /// When they do not within `limit`, with what each holds.
    pub(crate) async fn wait_for_agreement(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        loop {
            self.check_alive()?;
            let mut seen = Vec::new();
            for node in 0..self.nodes.len() {
                seen.push(self.status(node).await.map(|status| (status.digest, status.clients)));
            }
            if let Some(Ok(first)) = seen.first()
                && seen.iter().all(|other| other.as_ref().is_ok_and(|other| other == first))
            {
                return Ok(started.elapsed());
            }
            if started.elapsed() >= limit {
                let mut held = String::new();
                for (node, seen) in self.nodes.iter().zip(seen) {
                    let _ = match seen {
                        Ok((digest, clients)) => {
                            writeln!(
                                held,
                                "  {}: {clients} clients, digest {digest:016x}",
                                node.name
                            )
                        }
                        Err(error) => writeln!(held, "  {}: {error:#}", node.name),
                    };
                }
                bail!("the nodes do not agree after {limit:?}:\n{held}");
            }
            sleep(POLL).await;
        }
    }
}
