use clap::Args;
use herd_proto::ClientId;

use super::metres;

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The clients to follow, at most 1,024 [default: all]
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<ClientId>,
    /// Follow all clients whose ids begin so; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Vec<ClientId>,
    /// Follow clients around a point, such as 34.07,-118.44, and say who comes and goes
    #[arg(long, value_name = "COORDS", allow_hyphen_values = true, conflicts_with = "within")]
    pub(crate) near: Option<String>,
    /// How far around that point
    #[arg(long, short, value_name = "10km|500m", default_value = "10km", value_parser = metres)]
    #[arg(requires = "near")]
    pub(crate) radius: f64,
    /// Follow clients in a box of degrees; one across the antimeridian has WEST above EAST
    #[arg(long = "box", value_name = "SOUTH,WEST,NORTH,EAST", value_delimiter = ',')]
    #[arg(num_args = 1, allow_hyphen_values = true)]
    pub(crate) within: Option<Vec<f64>>,
    /// Begin with the locations known now
    #[arg(long)]
    pub(crate) current: bool,
    /// End after so many lines
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

impl WatchArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli watch
  herd-cli watch kiwi emu --current
  herd-cli watch --prefix truck- --near 34.07,-118.44 --radius 5km
  herd-cli watch --box 33.5,-119,34.5,-117.5 --current
  herd-cli watch --count 10 --output jsonl

A lost connection is opened again, and goes on where it was if the node still runs; else it begins
with all that is known. Ctrl-C ends it and tells on standard error how much was seen.";
}
