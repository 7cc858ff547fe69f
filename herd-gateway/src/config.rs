//! What a gateway is to do; cannot hold nonsense that would only show later.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use herd_edge::{Hidden, Pair, TlsFiles};
use herd_proto::NodeName;

use crate::line::MAX_COMMAND_BYTES;

/// What a gateway serves, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The text ports.
    pub ports: Vec<TextPort>,
    /// The nodes that ports may name. Those that no port can reach are not dialled.
    pub nodes: Vec<UpstreamNode>,
    /// Servers of an original herd that are friends of nodes.
    pub friends: Vec<TextFriend>,
    /// Where HTTP is served to operators; `None` for nowhere.
    pub admin: Option<SocketAddr>,
    /// What bounds it.
    pub limits: Limits,
    /// Commands whose answer a node takes so long to give are logged and counted; `None` for none.
    /// Default 1 s, as at nodes.
    pub slow_command: Option<Duration>,
    /// How long a stopping gateway waits for commands in flight. Default 10 s.
    ///
    /// Longer than any command takes; keep it below the 30 s that Kubernetes gives a pod.
    pub drain_grace: Duration,
    /// The text ports' certificate; `None` for plain text.
    pub text_tls: Option<Pair>,
    /// Whether text clients come through balancers that speak PROXY protocol, version 2. Then
    /// connections without its header are refused, so that nobody can pretend.
    pub proxy_protocol: bool,
    /// The files by which nodes are spoken to with TLS; without a CA it is plain text.
    pub tls: TlsFiles,
    /// The file of the gateway's own token.
    pub token_file: Option<PathBuf>,
    /// The token itself, unless there is a file.
    pub token: Option<Hidden>,
    /// The directory for files with every text line in and out, one file a port; `None` writes
    /// none.
    pub log_lines: Option<PathBuf>,
}

/// One text port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPort {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who answers.
    pub upstream: Upstream,
}

/// A server of an original herd that is told what a node knows, and believed what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFriend {
    /// Whose friend it is: that of the node behind a text port, as the port names it.
    pub of: Upstream,
    /// Host and port; names are resolved again and again.
    pub address: String,
}

impl fmt::Display for TextFriend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Upstream::Named(node) => write!(f, "{node}={}", self.address),
            Upstream::AnyHealthy => f.write_str(&self.address),
        }
    }
}

/// Who answers for a text port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// This node and no other: when it is down, so is the port's service.
    Named(NodeName),
    /// Any of the gateway's nodes; the same one as long as it answers.
    AnyHealthy,
}

impl Upstream {
    /// The node's name, or `herd`.
    pub fn label(&self) -> &str {
        match self {
            Self::Named(name) => name.as_str(),
            Self::AnyHealthy => "herd",
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A node that can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamNode {
    /// Its name; must be its own only where a port names it.
    pub name: NodeName,
    /// Host and port of its gRPC services. Names are resolved at each dial.
    pub address: String,
}

/// What bounds a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most open connections on all ports; further ones are closed at once. Default 20,000: an
    /// idle one costs some 3 KB.
    pub max_connections: usize,
    /// Of these, most from one address (IPv4) or /64 network (IPv6). As many as there are, unless
    /// set: behind a balancer all clients have one address, unless it speaks PROXY protocol.
    pub max_connections_per_address: usize,
    /// Longest line that is looked at as a command; longer ones are copied back with `? `. Default
    /// 8 KiB: the longest operands have some 1,300 bytes.
    pub max_line_bytes: usize,
    /// Most lines a second of one connection, in bursts of up to a second's worth; it is not read
    /// from meanwhile. Default `None`, for any number: clients share in turns, so that one that
    /// sends much takes nothing from others.
    pub max_line_rate: Option<u32>,
    /// A client that sends nothing for this long between lines is dropped. Default 10 min, which
    /// frees the place of those who forgot to leave; a client can come back at any time.
    pub idle: Duration,
    /// A line that is not finished this long after its first byte ends the connection. Default
    /// 20 s: a line fits into one packet, and whoever sends it byte by byte holds a place for
    /// nothing.
    pub partial_line: Duration,
    /// A client that takes no byte of its answers for this long is dropped. Default 30 s: far
    /// more than a bad network needs, little enough to free what a stopped reader holds.
    pub write_stall: Duration,
    /// A gateway that stops goes on answering a client for at most this long, and hangs up as soon as it
    /// pauses: whoever talks is not cut off between a line and its answer. Default 1 s, at most half the
    /// drain grace.
    pub farewell: Duration,
    /// A node that does not answer reports for this long is given up. Default 5 s.
    pub report_timeout: Duration,
    /// Longest wait for places. Default 5 s: people do not wait longer.
    pub search_timeout: Duration,
}

impl Config {
    /// The default of [`Config::drain_grace`].
    pub const DRAIN_GRACE: Duration = Duration::from_secs(10);

    /// The default of [`Config::slow_command`].
    pub const SLOW_COMMAND: Duration = Duration::from_secs(1);
}

impl Limits {
    /// With a farewell that leaves half of the drain for other things.
    pub(crate) fn fitting(self, drain_grace: Duration) -> Self {
        Self { farewell: self.farewell.min(drain_grace / 2), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_connections_per_address: 20_000,
            max_line_bytes: MAX_COMMAND_BYTES,
            max_line_rate: None,
            idle: Duration::from_mins(10),
            partial_line: Duration::from_secs(20),
            write_stall: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
            report_timeout: Duration::from_secs(5),
            search_timeout: Duration::from_secs(5),
        }
    }
}
