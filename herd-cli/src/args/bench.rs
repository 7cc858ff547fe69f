use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What a herd is loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Reports over ReportStream, to one node
    Reports,
    /// Single Report calls, to one node
    Calls,
    /// IAMAT lines, to a text port
    Lines,
    /// Single Search calls, to one node
    Queries,
    /// Reports at a steady rate to all nodes, each followed until it is on every node
    Propagation,
    /// One report of each client, to all nodes at once, until all hold the same
    Flood,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) load: Load,
    /// How long it is measured
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) lasts: Duration,
    /// How long it runs before that
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// How many clients report [default: 100000; flood: 500000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: Option<u32>,
    /// How many connections [default: 1; calls and queries: 4; lines: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: Option<u32>,
    /// How many messages, or lines, wait for answers on each connection; of calls and queries, on
    /// all of them [default: 4; calls and queries: 64; lines: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: Option<u32>,
    /// How many reports in a message
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch: u32,
    /// How many reports a second, where the rate is steady
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// The text port [default: that of the node in the herd file]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) text: Option<SocketAddr>,
}

impl BenchArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli bench reports
  herd-cli bench lines --connections 64 --in-flight 1
  herd-cli --node Clark bench calls --output json
  herd-cli bench propagation --rate 20000

Clients are called client00000000000000 and so on; their reports stay in the herd, so use one that is
there to be measured. Every report bears a later time than those before it of its client, so each is
applied. This process takes its share of the machine: CORES is what it was busy with, and near 1
it was the limit itself.";
}
