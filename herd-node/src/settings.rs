//! What an operator can set: flags and environment through clap, the herd file's `[node]` table
//! through serde. Values stay text here; [`crate::Config`] checks them, all at once.

mod limits;
mod tls;

use std::ffi::OsStr;
use std::path::PathBuf;

use herd_edge::Hidden;
use serde::Deserialize;

pub use self::limits::LimitSettings;
pub use self::tls::{TlsConfig, TlsSettings};
use crate::places::PlacesSettings;

/// Makes `command` treat HERD_* variables that are set to nothing as not set, which is how scripts
/// and manifests switch them off.
#[must_use]
pub fn ignore_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(None::<&str>),
            _ => arg,
        })
        .mut_subcommands(ignore_empty_variables)
}

/// A node's settings as typed. Flags win over the environment, that over the herd file.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to serve /metrics, /livez and /readyz, in place of the herd file's word; none for
    /// nowhere
    #[arg(long, env = "HERD_ADMIN", value_name = "IP:PORT|none")]
    pub admin: Option<String>,

    /// Where SRV records name the herd's nodes: friends then come from DNS, and the node need not be
    /// in the herd file. Such as _grpc._tcp.herd-node-peers for a headless Kubernetes Service
    #[arg(long, env = "HERD_PEERS_DNS", value_name = "NAME")]
    pub peers_dns: Option<String>,

    /// How often DNS is asked for the herd's nodes [default: 5s]
    #[arg(long, env = "HERD_PEERS_REFRESH", value_name = "DURATION")]
    pub peers_refresh: Option<String>,

    /// The name server that knows them, in place of the system's
    #[arg(long, env = "HERD_DNS_SERVER", value_name = "IP:PORT")]
    pub dns_server: Option<String>,

    /// Whether the admin port also serves the live page, which shows where all clients are: true or
    /// false [default: true]
    #[arg(long, env = "HERD_PAGE", value_name = "BOOL")]
    #[serde(deserialize_with = "scalar")]
    pub page: Option<String>,

    /// Where the page takes map tiles from, a URL with {z}, {x} and {y} in it; the viewers' browsers
    /// ask there [default: none, the page brings its own land]
    #[arg(long, env = "HERD_TILES_URL", value_name = "URL")]
    pub tiles_url: Option<String>,

    /// Calls that take longer are logged, streams excepted [default: 1s]
    #[arg(long, env = "HERD_SLOW_CALL", value_name = "DURATION|none")]
    pub slow_call: Option<String>,

    /// How far ahead of this node's clock a report may be [default: 24h]
    #[arg(long, env = "HERD_MAX_FUTURE", value_name = "DURATION")]
    pub max_future: Option<String>,

    /// How long a client that does not report is known, at least 1m; the same on all nodes. With
    /// none, clients are known and forgotten ones marked for ever, so memory and disk only
    /// grow [default: 30d]
    #[arg(long, env = "HERD_RETENTION", value_name = "DURATION|none")]
    pub retention: Option<String>,

    /// How long a stopping node waits for its links and calls to finish [default: 10s]
    #[arg(long, env = "HERD_DRAIN_GRACE", value_name = "DURATION")]
    pub drain_grace: Option<String>,

    /// Where records outlive the node; made if it is missing [default: memory only]
    #[arg(long, env = "HERD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<String>,

    /// What an answer to a report waits for: memory, process (survives a kill) or disk (survives a
    /// power cut) [default: process with a data directory]
    #[arg(long, env = "HERD_ACK_LEVEL", value_name = "LEVEL")]
    pub ack_level: Option<String>,

    /// How often what was written is forced to the disk where answers do not wait [default: 1s]
    #[arg(long, env = "HERD_SYNC_INTERVAL", value_name = "DURATION")]
    pub sync_interval: Option<String>,

    /// Whether to serve gRPC reflection: true or false [default: true]
    #[arg(long, env = "HERD_REFLECTION", value_name = "BOOL")]
    #[serde(deserialize_with = "scalar")]
    pub reflection: Option<String>,

    /// The tokens that callers may show, TOML; read again when it changes [default: callers need
    /// none]
    #[arg(long, env = "HERD_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// The node's own token, for friends in a herd that has tokens and no TLS; HERD_PEER_TOKEN is
    /// the token itself
    #[arg(long, env = "HERD_PEER_TOKEN_FILE", value_name = "FILE")]
    pub peer_token_file: Option<PathBuf>,

    /// The node's own token. Not a flag: flags show in process lists.
    #[arg(skip)]
    #[serde(skip)]
    pub peer_token: Option<Hidden>,

    /// Certificates and keys
    #[command(flatten)]
    pub tls: TlsSettings,

    /// What bounds the node
    #[command(flatten)]
    pub limits: LimitSettings,

    /// Where places come from
    #[command(flatten)]
    pub places: PlacesSettings,
}

impl Settings {
    /// These settings, with the secrets that only the environment may hold.
    #[must_use]
    pub fn with_secrets_from(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.peer_token = variable("HERD_PEER_TOKEN").filter(|token| !token.is_empty()).map(Hidden);
        self.places = self.places.with_key_from(variable);
        self
    }

    /// These settings, and `other`'s where these are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            admin: self.admin.or(other.admin),
            peers_dns: self.peers_dns.or(other.peers_dns),
            peers_refresh: self.peers_refresh.or(other.peers_refresh),
            dns_server: self.dns_server.or(other.dns_server),
            page: self.page.or(other.page),
            tiles_url: self.tiles_url.or(other.tiles_url),
            slow_call: self.slow_call.or(other.slow_call),
            max_future: self.max_future.or(other.max_future),
            retention: self.retention.or(other.retention),
            drain_grace: self.drain_grace.or(other.drain_grace),
            data_dir: self.data_dir.or(other.data_dir),
            ack_level: self.ack_level.or(other.ack_level),
            sync_interval: self.sync_interval.or(other.sync_interval),
            reflection: self.reflection.or(other.reflection),
            tokens_file: self.tokens_file.or(other.tokens_file),
            // One token: that of the layer that has one, whichever way it has it.
            peer_token_file: match &self.peer_token {
                None => self.peer_token_file.or(other.peer_token_file),
                Some(_) => self.peer_token_file,
            },
            peer_token: self.peer_token.or(other.peer_token),
            tls: self.tls.or(other.tls),
            limits: self.limits.or(other.limits),
            places: self.places.or(other.places),
        }
    }
}

/// A number or a truth value may stand bare in TOML.
pub(crate) fn scalar<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Number(u64),
        Fraction(f64),
        Truth(bool),
    }
    Ok(Some(match Scalar::deserialize(deserializer)? {
        Scalar::Text(text) => text,
        Scalar::Number(number) => number.to_string(),
        Scalar::Fraction(number) => number.to_string(),
        Scalar::Truth(truth) => truth.to_string(),
    }))
}
