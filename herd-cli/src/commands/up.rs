//! The herd in one process.

mod threads;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use herd_admin::log_filter;
use herd_edge::raise_file_limit;
use herd_gateway::{Answer as NodeAnswer, EmbeddedNode, Gateway, Upstream};
use herd_node::places::Places;
use herd_node::service::EmbeddedService;
use herd_node::telemetry::{self, LogSettings};
use herd_node::{Config, Drained, Node, at_hangups, terminated};
use herd_proto::topology::{NodeEntry, Problems};
use herd_proto::{NodeName, Report, TraceContext, v1};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::threads::Threads;
use super::Target;
use crate::args::UpArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, table};

pub(super) async fn run(
    args: UpArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    // First, so that a signal during the start is not lost.
    let asked_to_stop = terminated().map_err(|error| Failure::Other(error.into()))?;
    let plan = Plan::new(&args, &target).map_err(|wrong| Failure::Usage(wrong.to_string()))?;
    let log = log_settings(args.log);
    let _flushes_when_dropped = telemetry::init(&log, &plan.log_name())
        .map_err(|wrong| Failure::Usage(wrong.to_string()))?;
    let exporting = herd_trace::start("herd-cli", &plan.log_name())
        .map_err(|wrong| Failure::Usage(wrong.to_string()))?;
    raise_file_limit();
    let ended = serve(plan, target, asked_to_stop, output).await;
    exporting.stop();
    ended
}

/// Runs the herd until it is asked to stop.
async fn serve(
    plan: Plan,
    target: Target,
    asked_to_stop: impl Future<Output = &'static str>,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let mut herd = Herd::start(plan).await.map_err(Failure::Other)?;
    output.answer(&herd.view(&target))?;
    output.flush()?;
    let reloads = reloads(herd.places.clone());
    let filters = log_filter::follow_signals().map_err(|error| Failure::Other(error.into()))?;
    tokio::select! {
        signal = asked_to_stop => output.note(&format!("{signal}: stopping")),
        failure = herd.failed() => return Err(Failure::Other(failure)),
        Err(failure) = reloads => return Err(failure),
        never = filters => match never {},
    }
    let again = terminated().map_err(|error| Failure::Other(error.into()))?;
    tokio::select! {
        clean = herd.stop() => {
            output.note(if clean { "stopped" } else { "stopped; some calls were cut off" });
            Ok(ExitCode::Success)
        }
        signal = again => {
            output.note(&format!("{signal} again: stopped at once"));
            Ok(ExitCode::Failure)
        }
    }
}

/// Reads the file of places again at each SIGHUP. Without such a file a hangup ends the herd, as
/// whoever closes the terminal expects.
async fn reloads(places: Vec<Arc<Places>>) -> Result<(), Failure> {
    if !places.iter().any(|places| places.has_file()) {
        return future::pending().await;
    }
    let reload = async || {
        for places in &places {
            places.reload().await;
        }
    };
    match at_hangups(reload).map_err(|error| Failure::Other(error.into()))?.await {}
}

/// Quiet in a terminal; with a log directory, everything that an operator wants to read later.
fn log_settings(mut log: LogSettings) -> LogSettings {
    let default = if log.log_dir.is_some() { "info" } else { "warn" };
    log.log.get_or_insert_with(|| default.into());
    log
}

/// What to start; all of it is checked before a port is bound.
struct Plan {
    nodes: Vec<Config>,
    gateway: herd_gateway::Config,
}

impl Plan {
    fn new(args: &UpArgs, target: &Target) -> Result<Self, Problems> {
        let topology = &target.topology;
        let mut problems = Problems::default();
        for name in args.only.iter().filter(|name| topology.node(name).is_none()) {
            let names = topology.names();
            problems.add(format_args!("--only: no node is called {name}; there are {names}"));
        }
        let wanted = |entry: &&NodeEntry| args.only.is_empty() || args.only.contains(&entry.name);
        let entries: Vec<_> = topology.nodes.iter().filter(wanted).collect();
        // What has no flag, which others could read in `ps`.
        let settings = args.settings.clone().with_secrets_from(|variable| env::var(variable).ok());
        let mut nodes = Vec::new();
        for entry in &entries {
            match Config::new(topology, &entry.name, settings.clone()) {
                Ok(mut config) => {
                    // Nodes of one process cannot share a directory.
                    if let Some(data) = &mut config.data {
                        data.directory = data.directory.join(entry.name.as_str());
                    }
                    nodes.push(config);
                }
                // The same settings break the same rules at each node.
                Err(wrong) if nodes.is_empty() && problems.is_empty() => problems.extend(wrong),
                Err(_) => {}
            }
        }
        let text_names = entries.iter().filter(|entry| entry.text.is_some());
        let gateway_args = herd_gateway::args::Args {
            node: text_names.map(|entry| entry.name.to_string()).collect(),
            log_dir: text_of(args.log.log_dir.as_ref()),
            drain_grace: args.settings.drain_grace.clone(),
            slow_command: args.settings.slow_call.clone(),
            tls_ca: text_of(settings.tls.ca.as_ref()),
            token_file: text_of(target.token_file.as_ref()),
            ..Default::default()
        };
        let gateway = herd_gateway::settings::Settings::new(&gateway_args, topology)
            .map_err(|wrong| problems.extend(wrong))
            .map(|mut gateway| {
                gateway.config.token.clone_from(&target.token);
                gateway
            })
            .ok();
        match gateway {
            Some(gateway) => problems.into_result(Self { nodes, gateway: gateway.config }),
            None => Err(problems),
        }
    }

    /// Nodes started alone may share a log directory.
    fn log_name(&self) -> String {
        match &*self.nodes {
            [one] => format!("{}-node", one.name),
            _ => "herd".into(),
        }
    }
}

fn text_of(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

/// The running herd.
struct Herd {
    addresses: Vec<(NodeName, SocketAddr)>,
    /// Where the nodes serve HTTP to operators, in the order of `addresses`.
    admin: Vec<Option<SocketAddr>>,
    /// One task a node, until it fails or `stop` is cancelled.
    nodes: JoinSet<Result<Drained, herd_node::Error>>,
    stop: CancellationToken,
    /// Each closes a node's port.
    ports: Vec<CancellationToken>,
    places: Vec<Arc<Places>>,
    gateway: Gateway,
    _threads: Threads,
}

impl Herd {
    /// Starts everything or nothing.
    async fn start(plan: Plan) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (mut addresses, mut admin, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let (mut nodes, mut ports) = (JoinSet::new(), Vec::new());
        let mut embedded = BTreeMap::new();
        let threads = Threads::start(plan.nodes.len())?;
        for (config, thread) in plan.nodes.into_iter().zip(threads.in_turn()) {
            let name = config.name.clone();
            // Where callers need tokens, the gateway is a caller like any other.
            let open = config.tokens.is_none();
            let started = thread.spawn(Node::start(config)).await?;
            let node = started.with_context(|| format!("node {name}"))?;
            if open {
                let own = Arc::new(InThisProcess(node.embedded().clone()));
                embedded.insert(name.clone(), own as Arc<dyn EmbeddedNode>);
            }
            addresses.push((name, node.address()));
            admin.push(node.admin_address());
            ports.push(node.stop_listening());
            places.push(Arc::clone(node.places()));
            nodes.spawn_on(watch_over(node, stop.clone()), thread);
        }
        let mut gateway = plan.gateway;
        for upstream in &mut gateway.nodes {
            // The port may have been chosen by the system only now.
            if let Some((_, address)) = addresses.iter().find(|(name, _)| *name == upstream.name) {
                upstream.address = local(*address).to_string();
            }
        }
        let gateway = Gateway::start_with(gateway, &embedded).await?;
        Ok(Self { addresses, admin, nodes, stop, ports, places, gateway, _threads: threads })
    }

    async fn failed(&mut self) -> anyhow::Error {
        match self.nodes.join_next().await {
            Some(Ok(Err(error))) => error.into(),
            Some(Ok(Ok(_))) | None => anyhow!("a node ended"),
            Some(Err(panic)) => panic.into(),
        }
    }

    /// Closes all ports, so that a herd that takes over can listen at once; then lets text
    /// clients finish, then the nodes. Returns whether all was done in time.
    async fn stop(mut self) -> bool {
        for port in &self.ports {
            port.cancel();
        }
        let mut clean = self.gateway.stop().await.connections_cut == 0;
        self.stop.cancel();
        while let Some(node) = self.nodes.join_next().await {
            clean &= matches!(node, Ok(Ok(Drained::Clean)));
        }
        clean
    }

    fn view(&self, target: &Target) -> Started {
        let text = self.gateway.addresses();
        let nodes = self.addresses.iter().zip(&self.admin);
        let nodes = nodes.map(|((name, grpc), admin)| StartedNode {
            name: name.to_string(),
            grpc: local(*grpc).to_string(),
            text: text
                .iter()
                .find(|(upstream, _)| *upstream == Upstream::Named(name.clone()))
                .map(|(_, address)| local(*address)),
            admin: admin.map(local),
            friends: friends(target, name),
        });
        Started { nodes: nodes.collect() }
    }
}

/// A node that the gateway asks without a connection.
#[derive(Debug)]
struct InThisProcess(EmbeddedService);

impl EmbeddedNode for InThisProcess {
    fn report<'a>(
        &'a self,
        reports: &'a [Report],
        trace: Option<TraceContext>,
    ) -> NodeAnswer<'a, v1::ReportStreamResponse> {
        Box::pin(self.0.report(reports, trace))
    }

    fn search(
        &self,
        request: v1::SearchRequest,
        timeout: Duration,
        trace: Option<TraceContext>,
    ) -> NodeAnswer<'_, v1::SearchResponse> {
        Box::pin(async move { self.0.search(&request, Some(timeout), trace).await })
    }

    fn get(&self, request: v1::GetRequest) -> NodeAnswer<'_, v1::GetResponse> {
        Box::pin(async move { self.0.get(&request) })
    }
}

async fn watch_over(mut node: Node, stop: CancellationToken) -> Result<Drained, herd_node::Error> {
    tokio::select! {
        () = stop.cancelled() => Ok(node.stop().await),
        error = node.failed() => Err(error),
    }
}

fn friends(target: &Target, name: &NodeName) -> Vec<String> {
    let entry = target.topology.node(name);
    entry.into_iter().flat_map(|entry| &entry.friends).map(ToString::to_string).collect()
}

/// Where this machine itself reaches what listens at `address`.
fn local(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[derive(Serialize)]
struct Started {
    nodes: Vec<StartedNode>,
}

#[derive(Serialize)]
struct StartedNode {
    name: String,
    grpc: String,
    text: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    friends: Vec<String>,
}

impl Answer for Started {
    const KIND: &'static str = "up";

    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let shown = |port: Option<SocketAddr>| {
                port.map_or_else(|| "-".into(), |address| address.to_string())
            };
            let (text, admin) = (shown(node.text), shown(node.admin));
            [node.name.clone(), node.grpc.clone(), text, admin, node.friends.join(", ")]
        });
        let rows: Vec<_> = rows.collect();
        let mut text = table(["NAME", "GRPC", "TEXT", "ADMIN", "FRIENDS"], &rows);
        text += "\nTry in another terminal:\n";
        if let Some(port) = self.nodes.iter().find_map(|node| node.text) {
            let _ = writeln!(
                text,
                "  printf 'IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 %s\\n' \
                 \"$(date +%s.%N)\" | nc -q1 {} {}",
                port.ip(),
                port.port()
            );
        }
        if let Some(node) = self.nodes.last() {
            let _ =
                writeln!(text, "  herd-cli --node {} whatsat kiwi.cs.ucla.edu --max 5", node.grpc);
        }
        text + "Ctrl-C stops the herd.\n"
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let nodes = self.nodes.iter().filter_map(|node| serde_json::to_value(node).ok());
        Some(nodes.map(|node| ("started_node", node)).collect())
    }
}
