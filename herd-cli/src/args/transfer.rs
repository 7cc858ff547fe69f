//! Locations from files and to files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use herd_proto::ClientId;

/// The forms of files with locations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileForm {
    /// A header and a line a location: id, latitude, longitude, time.
    Csv,
    /// A JSON object a line: id, at, time.
    Jsonl,
    /// Waypoints, and points of tracks with the track's name.
    Gpx,
    /// A FeatureCollection of points.
    Geojson,
}

impl FileForm {
    /// The form that a file's name tells.
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "gpx" => Some(Self::Gpx),
            "geojson" | "json" => Some(Self::Geojson),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The form of the file [default: what its name tells]
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<FileForm>,
    /// Pass over so many locations, which an earlier run has reported
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) skip: u64,
    /// Put this before each id, such as the name of a fleet
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

impl ImportArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli import fleet.csv
  herd-cli import tour.gpx --prefix bike-
  curl -s https://example.org/buses.geojson | herd-cli import - --format geojson

CSV has a header with the columns id, latitude, longitude and, if it likes, time; id may be called
client_id or name, and lat, lon and lng are understood. An import that was cut off tells with which
--skip it goes on; where locations have times, beginning anew does no harm either. Each location that
is refused is named; then the exit code is 8.";
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file, or - for standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// The form of the file [default: what its name tells, or jsonl]
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<FileForm>,
    /// Only clients whose ids begin so; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Vec<ClientId>,
}

impl ExportArgs {
    pub(super) const EXAMPLES: &str = "\
Examples:
  herd-cli export herd.csv
  herd-cli export - --format geojson > herd.geojson
  herd-cli --node Clark export trucks.gpx --prefix truck-

What is exported can be imported again, with the times and positions as they were written. The file comes to be as a
whole or not at all. In CSV, ids that a spreadsheet would take for formulas have an apostrophe before them.";
}
