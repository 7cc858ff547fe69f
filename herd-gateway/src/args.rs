//! What an operator typed: flags and environment variables.

use std::path::PathBuf;

use clap::Parser;

/// Speaks the herd's text protocol and passes it on to nodes.
///
/// Without --listen or --upstream it serves the text port of each node of the herd file, on
/// behalf of that node. With one of them it serves a single port on behalf of any healthy node.
///
/// Settings come from the herd file's table "gateway", then HERD_* variables, then flags; the
/// later wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        herd-gateway                                  the five ports of the built-in herd\n  \
        herd-gateway --node Bailey,Bona               two of them\n  \
        herd-gateway --upstream node-0:50051,node-1:50051 --listen 0.0.0.0:10000"
)]
pub struct Args {
    /// Herd file (TOML) [default: the built-in herd of five nodes on this machine]
    #[arg(long, env = "HERD_FILE", value_name = "FILE")]
    pub herd_file: Option<PathBuf>,
    /// Serve these nodes of the herd file only; may be repeated [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub node: Vec<String>,
    /// Serve one port for any healthy node [default with --upstream: 127.0.0.1:10000]
    #[arg(long, env = "HERD_GATEWAY_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Nodes behind the one port, as host:port or http://host:port [default: the herd file's]
    #[arg(long, env = "HERD_GATEWAY_UPSTREAM", value_name = "ADDRESS", value_delimiter = ',')]
    pub upstream: Vec<String>,
    /// A server of an original herd that is a friend of NODE, or of the nodes behind the one port: the
    /// two tell each other by AT lines. May be repeated
    #[arg(long, env = "HERD_AT_FRIENDS", value_name = "[NODE=]HOST:PORT", value_delimiter = ',')]
    pub at_friend: Vec<String>,
    /// Serve /metrics, /livez and /readyz over HTTP there, or none [default: none]
    #[arg(long, env = "HERD_ADMIN", value_name = "IP:PORT")]
    pub admin: Option<String>,
    /// What bounds the gateway
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Text ports' certificate, PEM; with it, text clients speak TLS [default: plain text]
    #[arg(long, env = "HERD_TEXT_TLS_CERT", value_name = "FILE")]
    pub text_tls_cert: Option<String>,
    /// The certificate's private key, PEM
    #[arg(long, env = "HERD_TEXT_TLS_KEY", value_name = "FILE")]
    pub text_tls_key: Option<String>,
    /// Whether clients come through balancers that speak PROXY protocol 2; true or false. Then
    /// nobody gets in without its header [default: false]
    #[arg(long, env = "HERD_PROXY_PROTOCOL", value_name = "BOOL")]
    pub proxy_protocol: Option<String>,
    /// Write every text line in and out to NODE.log in this directory
    #[arg(long, env = "HERD_LOG_DIR", value_name = "DIR")]
    pub log_dir: Option<String>,
    /// Form of the program's own log on standard error: text or json [default: text]
    #[arg(long, env = "HERD_LOG_FORMAT", value_name = "FORM")]
    pub log_format: Option<String>,
    /// What of it is shown, such as "debug" or "herd_gateway=trace,info" [default: info]
    #[arg(long, env = "HERD_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Commands whose answer takes a node so long are logged and counted [default: 1s]
    #[arg(long, env = "HERD_SLOW_COMMAND", value_name = "DURATION|none")]
    pub slow_command: Option<String>,
    /// How long a stopping gateway waits for commands in flight [default: 10s]
    #[arg(long, env = "HERD_DRAIN_GRACE", value_name = "DURATION")]
    pub drain_grace: Option<String>,
    /// The CAs, PEM, by which nodes are known; with it, TLS is spoken to them [default: plain text]
    #[arg(long, env = "HERD_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// The gateway's certificate, PEM, where nodes want one
    #[arg(long, env = "HERD_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The certificate's private key, PEM
    #[arg(long, env = "HERD_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<String>,
    /// The gateway's token, where nodes want one; HERD_TOKEN is the token itself
    #[arg(long, env = "HERD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<String>,
    /// Print the resulting configuration and exit
    #[arg(long)]
    pub print_config: bool,
}

/// What bounds a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct LimitArgs {
    /// Most open connections [default: 20000]
    #[arg(long, env = "HERD_GATEWAY_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<String>,
    /// Of these, most from one address [default: no limit of its own]
    #[arg(long, env = "HERD_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_connections_per_address: Option<String>,
    /// Longest line that may be a command [default: 8192]
    #[arg(long, env = "HERD_MAX_LINE_BYTES", value_name = "BYTES")]
    pub max_line_bytes: Option<String>,
    /// Most lines a second of one connection [default: any number]
    #[arg(long, env = "HERD_MAX_LINE_RATE", value_name = "COUNT")]
    pub max_line_rate: Option<String>,
    /// How long a client may say nothing between lines [default: 10m]
    #[arg(long, env = "HERD_IDLE_TIMEOUT", value_name = "DURATION")]
    pub idle_timeout: Option<String>,
    /// How long a line may take from its first byte to its end [default: 20s]
    #[arg(long, env = "HERD_LINE_TIMEOUT", value_name = "DURATION")]
    pub line_timeout: Option<String>,
    /// How long a client may take no byte of its answers [default: 30s]
    #[arg(long, env = "HERD_WRITE_TIMEOUT", value_name = "DURATION")]
    pub write_timeout: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn nodes_may_be_repeated_or_listed() {
        let args = Args::parse_from(["herd-gateway", "--node", "a,b", "--node", "c"]);
        assert_eq!(args.node, ["a", "b", "c"]);
    }
}
