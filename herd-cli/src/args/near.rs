use std::time::Duration;

use clap::Args;

use super::metres;

#[derive(Debug, Args)]
pub(crate) struct NearArgs {
    /// A point, such as 34.07,-118.44 or "34°04'12\"N 118°26'24\"W", or a client's id
    #[arg(value_name = "COORDS|ID", allow_hyphen_values = true)]
    pub(crate) middle: String,
    /// The longitude, when COORDS is the latitude alone
    #[arg(hide = true, allow_negative_numbers = true)]
    pub(crate) longitude: Option<String>,
    /// Take COORDS|ID for a client's id, even if it looks like a point
    #[arg(long, conflicts_with = "longitude")]
    pub(crate) client: bool,
    /// How far to look; 20037km is everywhere
    #[arg(long, short, value_name = "10km|500m", default_value = "10km", value_parser = metres)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) radius: f64,
    /// How many clients at most, up to 1,000
    #[arg(long, short, value_name = "N", default_value_t = 100)]
    pub(crate) max: u32,
    /// Only clients that reported at most so long ago, such as 10m or 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) max_age: Option<Duration>,
}

impl NearArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli near kiwi
  herd-cli near 34.07,-118.44 --radius 500m --max 5
  herd-cli near +34.068930-118.445127 --max-age 10m
  herd-cli near \"34°04'12\\\"N 118°26'24\\\"W\" --radius 50km
  herd-cli near kiwi --output jsonl | jq -r .location.client_id

Nearest first. A client in the middle is not among those shown.";
}
