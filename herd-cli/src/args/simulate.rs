use std::time::Duration;

use clap::Args;

use super::metres;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many clients
    #[arg(long, short, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) clients: u32,
    /// How often each reports
    #[arg(long, short, value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// Where they are at first: around this point, or all over the Earth
    #[arg(long, value_name = "COORDS", allow_hyphen_values = true)]
    pub(crate) around: Option<String>,
    /// How far around that point
    #[arg(long, short, value_name = "10km|500m", default_value = "10km", value_parser = metres)]
    pub(crate) radius: f64,
    /// How fast they go at most, in km/h
    #[arg(long, value_name = "KM/H", default_value_t = 900.0)]
    pub(crate) speed: f64,
    /// What their ids begin with
    #[arg(long, value_name = "TEXT", default_value = "sim-")]
    pub(crate) prefix: String,
    /// What draws their ways: the same number, the same ways
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// End after so long [default: at Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Forget the clients at the end
    #[arg(long)]
    pub(crate) forget: bool,
}

impl SimulateArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli simulate
  herd-cli simulate --around 34.07,-118.44 --radius 20km --speed 60 --forget
  herd-cli --node Clark simulate --clients 10000 --for 1m --prefix demo-

Clients go along great circles, each at its own speed, reporting to all nodes of the herd in turn
unless --node chooses one.";
}
