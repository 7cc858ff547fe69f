//! The layers of settings, and the reading of each one.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use herd_edge::{Pair, TlsFiles};
use herd_proto::NodeName;
use herd_proto::topology::{NodeEntry, Problems, Topology};
use toml::Value;

use crate::args::{Args, LimitArgs};
use crate::bridge::MAX_FRIENDS;
use crate::config::{Config, Limits, TextFriend, TextPort, Upstream, UpstreamNode};
use crate::settings::LogFormat;

/// Where the one port listens if nothing is said.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:10000";

/// Each setting as text, from the highest layer that has it.
#[derive(Debug, Default)]
pub(crate) struct Layered {
    pub(crate) nodes: Vec<String>,
    pub(crate) listen: Option<String>,
    pub(crate) upstream: Vec<String>,
    pub(crate) at_friends: Vec<String>,
    pub(crate) admin: Option<String>,
    pub(crate) limits: LimitArgs,
    pub(crate) text_tls_cert: Option<String>,
    pub(crate) text_tls_key: Option<String>,
    pub(crate) proxy_protocol: Option<String>,
    pub(crate) log_dir: Option<String>,
    pub(crate) log_format: Option<String>,
    pub(crate) log: Option<String>,
    pub(crate) slow_command: Option<String>,
    pub(crate) drain_grace: Option<String>,
    pub(crate) tls_ca: Option<String>,
    pub(crate) tls_cert: Option<String>,
    pub(crate) tls_key: Option<String>,
    pub(crate) token_file: Option<String>,
}

impl Layered {
    pub(crate) fn from_table(table: &toml::Table, problems: &mut Problems) -> Self {
        let mut layer = Self::default();
        for (key, value) in table {
            let mut set = |setting: &mut Option<String>| match value {
                Value::String(text) => *setting = Some(text.clone()),
                Value::Integer(number) => *setting = Some(number.to_string()),
                Value::Boolean(truth) => *setting = Some(truth.to_string()),
                _ => problems.add(format_args!("herd file, [gateway]: {key} must be a string")),
            };
            match key.as_str() {
                "listen" => set(&mut layer.listen),
                "admin" => set(&mut layer.admin),
                "max_connections" => set(&mut layer.limits.max_connections),
                "max_connections_per_address" => {
                    set(&mut layer.limits.max_connections_per_address);
                }
                "max_line_bytes" => set(&mut layer.limits.max_line_bytes),
                "max_line_rate" => set(&mut layer.limits.max_line_rate),
                "idle_timeout" => set(&mut layer.limits.idle_timeout),
                "line_timeout" => set(&mut layer.limits.line_timeout),
                "write_timeout" => set(&mut layer.limits.write_timeout),
                "text_tls_cert" => set(&mut layer.text_tls_cert),
                "text_tls_key" => set(&mut layer.text_tls_key),
                "proxy_protocol" => set(&mut layer.proxy_protocol),
                "log_dir" => set(&mut layer.log_dir),
                "log_format" => set(&mut layer.log_format),
                "log" => set(&mut layer.log),
                "slow_command" => set(&mut layer.slow_command),
                "drain_grace" => set(&mut layer.drain_grace),
                "tls_ca" => set(&mut layer.tls_ca),
                "tls_cert" => set(&mut layer.tls_cert),
                "tls_key" => set(&mut layer.tls_key),
                "token_file" => set(&mut layer.token_file),
                "nodes" => layer.nodes = list(key, value, problems),
                "upstream" => layer.upstream = list(key, value, problems),
                "at_friends" => layer.at_friends = list(key, value, problems),
                _ => problems.add(format_args!("herd file, [gateway]: unknown setting {key}")),
            }
        }
        layer
    }

    /// Puts flags and environment over the file.
    pub(crate) fn under(self, args: &Args) -> Self {
        let args = args.clone();
        // A variable that is set to nothing, as in `HERD_LOG_DIR= herd-gateway`, is not set.
        let list = |mut over: Vec<String>, under| {
            over.retain(|item| !item.is_empty());
            if over.is_empty() { under } else { over }
        };
        let one = |over: Option<String>, under| over.filter(|text| !text.is_empty()).or(under);
        Self {
            nodes: list(args.node, self.nodes),
            listen: one(args.listen, self.listen),
            upstream: list(args.upstream, self.upstream),
            at_friends: list(args.at_friend, self.at_friends),
            admin: one(args.admin, self.admin),
            limits: LimitArgs {
                max_connections: one(args.limits.max_connections, self.limits.max_connections),
                max_connections_per_address: one(
                    args.limits.max_connections_per_address,
                    self.limits.max_connections_per_address,
                ),
                max_line_bytes: one(args.limits.max_line_bytes, self.limits.max_line_bytes),
                max_line_rate: one(args.limits.max_line_rate, self.limits.max_line_rate),
                idle_timeout: one(args.limits.idle_timeout, self.limits.idle_timeout),
                line_timeout: one(args.limits.line_timeout, self.limits.line_timeout),
                write_timeout: one(args.limits.write_timeout, self.limits.write_timeout),
            },
            text_tls_cert: one(args.text_tls_cert, self.text_tls_cert),
            text_tls_key: one(args.text_tls_key, self.text_tls_key),
            proxy_protocol: one(args.proxy_protocol, self.proxy_protocol),
            log_dir: one(args.log_dir, self.log_dir),
            log_format: one(args.log_format, self.log_format),
            log: one(args.log, self.log),
            slow_command: one(args.slow_command, self.slow_command),
            drain_grace: one(args.drain_grace, self.drain_grace),
            tls_ca: one(args.tls_ca, self.tls_ca),
            tls_cert: one(args.tls_cert, self.tls_cert),
            tls_key: one(args.tls_key, self.tls_key),
            token_file: one(args.token_file, self.token_file),
        }
    }

    pub(crate) fn ports_and_nodes(
        &self,
        herd: &Topology,
        problems: &mut Problems,
    ) -> (Vec<TextPort>, Vec<UpstreamNode>) {
        if self.listen.is_none() && self.upstream.is_empty() {
            return self.ports_of_nodes(herd, problems);
        }
        let nodes = if self.upstream.is_empty() {
            self.chosen(herd, problems).map(upstream_node).collect()
        } else {
            if !self.nodes.is_empty() {
                problems.add("node and upstream: give one of them");
            }
            self.upstream_nodes(problems)
        };
        let listen = self.listen.as_deref().unwrap_or(DEFAULT_LISTEN);
        let ports =
            listen.parse().map(|listen| TextPort { listen, upstream: Upstream::AnyHealthy });
        if ports.is_err() {
            problems.add(format_args!("listen: must be IP:port, got {listen:?}"));
        }
        let ports = ports.into_iter().collect();
        (ports, nodes)
    }

    /// One port for each node that has one in the herd file.
    fn ports_of_nodes(
        &self,
        herd: &Topology,
        problems: &mut Problems,
    ) -> (Vec<TextPort>, Vec<UpstreamNode>) {
        let (mut ports, mut nodes) = (Vec::new(), Vec::new());
        for node in self.chosen(herd, problems).collect::<Vec<_>>() {
            match node.text {
                Some(listen) => {
                    ports.push(TextPort { listen, upstream: Upstream::Named(node.name.clone()) });
                    nodes.push(upstream_node(node));
                }
                None if self.nodes.is_empty() => {}
                None => problems.add(format_args!(
                    "node: {} has no text port in the herd file (add text, or use --listen)",
                    node.name
                )),
            }
        }
        if ports.is_empty() && problems.is_empty() {
            problems.add("herd file: no node has a text port (add text, or use --listen)");
        }
        (ports, nodes)
    }

    /// The nodes of the herd file that were asked for.
    fn chosen<'a>(
        &self,
        herd: &'a Topology,
        problems: &mut Problems,
    ) -> impl Iterator<Item = &'a NodeEntry> + use<'a> {
        let nodes = self.nodes.clone();
        for name in &nodes {
            if !herd.nodes.iter().any(|node| node.name.as_str() == name) {
                let known = herd.names();
                problems.add(format_args!("node: {name:?} is not in the herd file ({known})"));
            }
        }
        herd.nodes.iter().filter(move |node| {
            nodes.is_empty() || nodes.iter().any(|name| name == node.name.as_str())
        })
    }

    fn upstream_nodes(&self, problems: &mut Problems) -> Vec<UpstreamNode> {
        let mut nodes = Vec::new();
        for (index, given) in self.upstream.iter().enumerate() {
            let address = given.strip_prefix("http://").unwrap_or(given).trim_end_matches('/');
            let sound = is_address(address);
            let name = NodeName::parse(&format!("upstream-{}", index + 1));
            match name {
                Ok(name) if sound => nodes.push(UpstreamNode { name, address: address.into() }),
                _ => problems.add(format_args!("upstream: must be host:port, got {given:?}")),
            }
        }
        nodes
    }

    /// The text servers that are friends of nodes behind `ports`.
    pub(crate) fn friends(&self, ports: &[TextPort], problems: &mut Problems) -> Vec<TextFriend> {
        let mut friends: Vec<TextFriend> = Vec::new();
        for given in &self.at_friends {
            let (of, address) = match given.split_once('=') {
                Some((node, address)) => (NodeName::parse(node).ok().map(Upstream::Named), address),
                None => (Some(Upstream::AnyHealthy), &**given),
            };
            let Some(of) = of.filter(|_| is_address(address)) else {
                problems.add(format_args!("at_friend: must be [NODE=]host:port, got {given:?}"));
                continue;
            };
            if !ports.iter().any(|port| port.upstream == of) {
                problems.add(match &of {
                    Upstream::Named(node) => {
                        format!("at_friend: no text port is {node}'s, got {given:?}")
                    }
                    Upstream::AnyHealthy => format!(
                        "at_friend: must say whose friend it is, NODE=host:port, got {given:?}"
                    ),
                });
                continue;
            }
            if friends.iter().filter(|friend| friend.of == of).count() == MAX_FRIENDS {
                problems.add(format_args!("at_friend: {of} may have {MAX_FRIENDS} text friends"));
                continue;
            }
            let friend = TextFriend { of, address: address.into() };
            if !friends.contains(&friend) {
                friends.push(friend);
            }
        }
        friends
    }

    pub(crate) fn limits(&self, problems: &mut Problems) -> Limits {
        let (default, typed) = (Limits::default(), &self.limits);
        let mut count = |key: &str, text: &Option<String>, default, min, max| {
            number(key, text.as_deref(), default, min..=max, problems)
        };
        let (many, connections) = (MAX_CONNECTIONS_MAX, &typed.max_connections);
        let max_connections =
            count("max_connections", connections, default.max_connections, 1, many);
        let per_address = &typed.max_connections_per_address;
        let max_connections_per_address =
            count("max_connections_per_address", per_address, max_connections, 1, many);
        let (line, (low, high)) = (&typed.max_line_bytes, LINE_BYTES);
        let max_line_bytes = count("max_line_bytes", line, default.max_line_bytes, low, high);
        let rate = count("max_line_rate", &typed.max_line_rate, 0, 1, many);
        let mut time = |key: &str, text: &Option<String>, default| {
            duration(key, text.as_deref(), default, problems)
        };
        Limits {
            max_connections,
            max_connections_per_address,
            max_line_bytes,
            max_line_rate: u32::try_from(rate).ok().filter(|rate| *rate > 0),
            idle: time("idle_timeout", &typed.idle_timeout, default.idle),
            partial_line: time("line_timeout", &typed.line_timeout, default.partial_line),
            write_stall: time("write_timeout", &typed.write_timeout, default.write_stall),
            ..default
        }
    }

    /// Where operators are served.
    pub(crate) fn admin(&self, problems: &mut Problems) -> Option<SocketAddr> {
        let text = self.admin.as_deref().filter(|text| *text != "none")?;
        let address = text.parse();
        if address.is_err() {
            problems.add(format_args!("admin: must be IP:port, or none, got {text:?}"));
        }
        address.ok()
    }

    /// The text ports' certificate.
    pub(crate) fn text_tls(&self, problems: &mut Problems) -> Option<Pair> {
        let (cert, key) = (self.text_tls_cert.as_ref(), self.text_tls_key.as_ref());
        pair("text_tls_cert", cert, "text_tls_key", key, problems)
    }

    pub(crate) fn proxy_protocol(&self, problems: &mut Problems) -> bool {
        let Some(text) = &self.proxy_protocol else { return false };
        text.parse().unwrap_or_else(|_| {
            problems.add(format_args!("proxy_protocol: must be true or false, got {text:?}"));
            false
        })
    }

    pub(crate) fn slow_command(&self, problems: &mut Problems) -> Option<Duration> {
        let text = self.slow_command.as_deref();
        if text == Some("none") {
            return None;
        }
        Some(duration("slow_command", text, Config::SLOW_COMMAND, problems))
    }

    pub(crate) fn drain_grace(&self, problems: &mut Problems) -> Duration {
        duration("drain_grace", self.drain_grace.as_deref(), Config::DRAIN_GRACE, problems)
    }

    /// The files by which nodes are spoken to with TLS.
    pub(crate) fn tls(&self, problems: &mut Problems) -> TlsFiles {
        let pair =
            pair("tls_cert", self.tls_cert.as_ref(), "tls_key", self.tls_key.as_ref(), problems);
        if pair.is_some() && self.tls_ca.is_none() {
            problems.add("tls_cert: needs tls_ca, the CA by which nodes are known");
        }
        TlsFiles { pair, ca: self.tls_ca.as_ref().map(PathBuf::from) }
    }

    pub(crate) fn log_format(&self, problems: &mut Problems) -> LogFormat {
        let Some(text) = &self.log_format else { return LogFormat::default() };
        text.parse().unwrap_or_else(|()| {
            problems.add(format_args!("log_format: must be text or json, got {text:?}"));
            LogFormat::default()
        })
    }
}

/// More than a process can have sockets.
const MAX_CONNECTIONS_MAX: usize = 1_000_000;

/// The longest line may be this short, so that a command with the longest id still fits, and this
/// long, as each connection may hold one.
const LINE_BYTES: (usize, usize) = (1536, 65_536);

/// Longest duration that can be set; any longer is a slip.
const MAX_DURATION: Duration = Duration::from_hours(365 * 24);

fn number(
    key: &str,
    text: Option<&str>,
    default: usize,
    range: RangeInclusive<usize>,
    problems: &mut Problems,
) -> usize {
    let Some(text) = text else { return default };
    match text.parse() {
        Ok(number) if range.contains(&number) => number,
        _ => {
            let (min, max) = (range.start(), range.end());
            problems.add(format_args!("{key}: must be {min} to {max}, got {text:?}"));
            default
        }
    }
}

fn duration(key: &str, text: Option<&str>, default: Duration, problems: &mut Problems) -> Duration {
    let Some(text) = text else { return default };
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= MAX_DURATION => duration,
        Ok(_) => {
            problems.add(format_args!("{key}: must be at most a year, got {text:?}"));
            default
        }
        Err(error) => {
            problems.add(format_args!("{key}: {error}, got {text:?}"));
            default
        }
    }
}

/// Whether a text is a host and a port.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    })
}

fn upstream_node(node: &NodeEntry) -> UpstreamNode {
    UpstreamNode { name: node.name.clone(), address: node.address.clone() }
}

/// A certificate and its key, of which neither is of use alone.
fn pair(
    cert_key: &str,
    cert: Option<&String>,
    key_key: &str,
    key: Option<&String>,
    problems: &mut Problems,
) -> Option<Pair> {
    if cert.is_some() != key.is_some() {
        problems.add(format_args!("{cert_key}, {key_key}: give both or none"));
    }
    let (cert, key) = cert.zip(key)?;
    Some(Pair { cert: cert.into(), key: key.into() })
}

/// A list of strings, or one string with commas.
fn list(key: &str, value: &Value, problems: &mut Problems) -> Vec<String> {
    let list = match value {
        Value::String(text) => Some(text.split(',').map(|part| part.trim().into()).collect()),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(String::from)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    list.unwrap_or_else(|| {
        problems.add(format_args!("herd file, [gateway]: {key} must be a list of strings"));
        Vec::new()
    })
}
