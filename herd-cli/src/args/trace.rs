use clap::Args;
use herd_proto::ClientId;

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The client
    #[arg(value_name = "ID")]
    pub(crate) id: ClientId,
}

impl TraceArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli trace kiwi
  herd-cli trace kiwi --output json | jq '.nodes[] | {name, after_seconds}'

Times are those of each node's own clock, so they compare only as well as the clocks agree. Exit code
3 tells that no node knows the client, 8 that some nodes are down or hold an older location.";
}
