//! What can be typed.

mod bench;
mod context;
mod doctor;
mod near;
mod simulate;
mod small;
mod topology;
mod trace;
mod transfer;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum as _};
use herd_node::telemetry::LogSettings;
use herd_proto::NodeName;

pub(crate) use self::bench::{BenchArgs, Load};
pub(crate) use self::context::{ContextArgs, ContextCommand};
pub(crate) use self::doctor::DoctorArgs;
pub(crate) use self::near::NearArgs;
pub(crate) use self::simulate::SimulateArgs;
pub(crate) use self::small::{CompletionsArgs, LogArgs, ManArgs, TopArgs, VersionArgs};
pub(crate) use self::topology::{Drawing, TopologyArgs};
pub(crate) use self::trace::TraceArgs;
pub(crate) use self::transfer::{ExportArgs, FileForm, ImportArgs};
pub(crate) use self::watch::WatchArgs;
use crate::output::Format;

const BRIEF: &str = "\
Most used:
  herd-cli up                          start the five nodes of the built-in herd
  herd-cli report kiwi 34.07,-118.44   say where kiwi is

`herd-cli --help` tells more, `herd-cli COMMAND --help` shows examples of each command.";

const FULL: &str = "\
Examples:
  herd-cli up
  herd-cli report kiwi 34.07,-118.44
  herd-cli whatsat kiwi --radius 10km --max 5
  herd-cli --node Clark get kiwi
  herd-cli status --output json

Flags beat the environment (HERD_NODE, HERD_FILE, HERD_OUTPUT, HERD_TIMEOUT, HERD_TLS_CA,
HERD_TLS_CERT, HERD_TLS_KEY, HERD_TOKEN_FILE, HERD_CONTEXT), and that the context.
Data goes to standard output, messages and errors to standard error. JSON objects carry
\"schema\":\"herd.cli/v1\"; within it fields are only ever added.

Exit codes:
  0    done; also when the reader of the output closed it
  1    failure of another kind
  2    wrong usage
  3    no such client
  4    a value breaks a rule
  5    no node could be reached
  6    no answer in time
  7    not allowed
  8    done in part: some reports were refused, or some nodes are down
  9    the node speaks another release's language
  130  ended by Ctrl-C";

/// Reports locations to a herd of nodes and asks it about them
#[derive(Debug, Parser)]
#[command(name = "herd-cli", version, arg_required_else_help = true)]
#[command(after_help = BRIEF, after_long_help = FULL, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The context that says which herd and who asks, as `herd-cli context` keeps them
    /// [default: the current one, if any]
    #[arg(long, global = true, value_name = "NAME", env = "HERD_CONTEXT")]
    pub(crate) context: Option<String>,
    /// The node to ask: a name of the herd file, or host:port [default: the file's first node]
    #[arg(long, short, global = true, value_name = "NAME|HOST:PORT", env = "HERD_NODE")]
    pub(crate) node: Option<String>,
    /// The herd file, in TOML [default: the built-in herd of five nodes on this machine]
    #[arg(long, global = true, value_name = "FILE", env = "HERD_FILE")]
    pub(crate) herd_file: Option<PathBuf>,
    /// The form of the output
    #[arg(long, short, global = true, value_name = "FORM", env = "HERD_OUTPUT")]
    #[arg(default_value = "table")]
    pub(crate) output: Format,
    /// How long to wait for an answer, such as 500ms or 1m
    #[arg(long, global = true, value_name = "TIME", env = "HERD_TIMEOUT", default_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// The CAs, PEM, by which nodes are known; with it, TLS is spoken [default: plain text]
    #[arg(long, global = true, value_name = "FILE", env = "HERD_TLS_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// This client's certificate, PEM, where nodes want one
    #[arg(long, global = true, value_name = "FILE", env = "HERD_TLS_CERT", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "HERD_TLS_KEY", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// This client's token, where nodes want one; HERD_TOKEN is the token itself
    #[arg(long, global = true, value_name = "FILE", env = "HERD_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Tell on standard error what is called, where, and how long it takes; twice tells more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the herd's nodes and their text ports in this process
    #[command(after_help = UpArgs::EXAMPLES)]
    Up(Box<UpArgs>),
    /// Say where a client is (IAMAT)
    #[command(after_help = ReportArgs::EXAMPLES)]
    Report(ReportArgs),
    /// Find places near a client (WHATSAT)
    #[command(after_help = WhatsatArgs::EXAMPLES)]
    Whatsat(WhatsatArgs),
    /// Show the newest location of a client
    #[command(after_help = GetArgs::EXAMPLES)]
    Get(GetArgs),
    /// Show the clients near a point or near a client
    #[command(after_help = NearArgs::EXAMPLES)]
    Near(NearArgs),
    /// Forget a client on all nodes
    #[command(after_help = ForgetArgs::EXAMPLES)]
    Forget(ForgetArgs),
    /// Follow changes as they happen
    #[command(after_help = WatchArgs::EXAMPLES)]
    Watch(WatchArgs),
    /// Show all nodes side by side, and whether they agree
    #[command(after_help = StatusArgs::EXAMPLES)]
    Status(StatusArgs),
    /// Show the whole herd again and again: rates, lag, agreement
    #[command(after_help = TopArgs::EXAMPLES)]
    Top(TopArgs),
    /// Change what the nodes log, while they run
    #[command(after_help = LogArgs::EXAMPLES)]
    Log(LogArgs),
    /// Show who is linked with whom, also as a drawing
    #[command(after_help = TopologyArgs::EXAMPLES)]
    Topology(TopologyArgs),
    /// Show which node learnt a client's location when, and from whom
    #[command(after_help = TraceArgs::EXAMPLES)]
    Trace(TraceArgs),
    /// Look for the commonest mistakes, and tell what to do
    #[command(after_help = DoctorArgs::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Report the locations of a file: CSV, JSON lines, GPX or GeoJSON
    #[command(after_help = ImportArgs::EXAMPLES)]
    Import(ImportArgs),
    /// Write the locations of all clients to a file
    #[command(after_help = ExportArgs::EXAMPLES)]
    Export(ExportArgs),
    /// Let clients move about, to look at
    #[command(after_help = SimulateArgs::EXAMPLES)]
    Simulate(SimulateArgs),
    /// Show the releases of this program and of all nodes
    #[command(after_help = VersionArgs::EXAMPLES)]
    Version(VersionArgs),
    /// Keep names for herds and ways to them
    #[command(after_help = ContextArgs::EXAMPLES)]
    Context(ContextArgs),
    /// Write a shell's completions of this program to standard output
    #[command(after_help = CompletionsArgs::EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write this program's man pages
    #[command(after_help = ManArgs::EXAMPLES)]
    Man(ManArgs),
    /// Put the herd under load and tell what it takes
    #[command(after_help = BenchArgs::EXAMPLES)]
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Start only these nodes; the others of the herd file run elsewhere
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) only: Vec<NodeName>,
    #[command(flatten)]
    pub(crate) settings: herd_node::Settings,
    #[command(flatten)]
    pub(crate) log: LogSettings,
}

impl UpArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli up                               the whole herd, in one process
  herd-cli up --only Bailey                 one member; start the others elsewhere
  herd-cli --herd-file my.toml up --log-dir logs

Settings and their variables are those of herd-node and hold for each node. HERD_PLACES_KEY,
which has no flag, is the key of the places provider. Without --log-dir and --log only
warnings are logged. Locations are kept in memory, or with --data-dir in
DIR/<node name>. SIGINT and SIGTERM stop it in good order,
a second one at once.";
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The client, or - to read reports from standard input
    #[arg(value_name = "ID", required_unless_present = "file", conflicts_with = "file")]
    pub(crate) id: Option<String>,
    /// Where it is: 34.07,-118.44 or "34.07 -118.44" or +34.07-118.44
    #[arg(value_name = "COORDS", allow_hyphen_values = true)]
    pub(crate) coordinates: Option<String>,
    /// The longitude, when COORDS is the latitude alone
    #[arg(hide = true, allow_negative_numbers = true)]
    pub(crate) longitude: Option<String>,
    /// When: POSIX seconds, RFC 3339, or now [default: the node's clock]
    #[arg(long, short, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) time: Option<String>,
    /// Read reports from a file: lines of `ID COORDS [TIME]`, or of JSON objects
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) witnesses: Witnesses,
}

/// What a change is answered after.
#[derive(Debug, Args)]
pub(crate) struct Witnesses {
    /// Wait until so many friends of the node have it too, so that losing the node cannot lose it
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) min_peers: u32,
}

impl ReportArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli report kiwi 34.07,-118.44
  herd-cli report kiwi +34.068930-118.445127 --time 1700000000.123456789
  herd-cli report kiwi 34.07 -118.44 --time 2023-11-14T22:13:20Z
  herd-cli report kiwi 34.07,-118.44 --min-peers 1
  herd-cli report --file fleet.txt
  printf '%s\\n' 'kiwi +34.07-118.44 1700000000' '{\"id\":\"emu\",\"at\":\"-33.87,151.21\"}' |
    herd-cli report -

Of many reports, each that fails is named with its line; then the exit code is 8.";
}

#[derive(Debug, Args)]
pub(crate) struct WhatsatArgs {
    /// The client
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How far to look, at most 50km
    #[arg(long, short, value_name = "10km|500m", default_value = "10km", value_parser = metres)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) radius: f64,
    /// How many places at most, up to 20
    #[arg(long, short, value_name = "N", default_value_t = 20)]
    pub(crate) max: u32,
    /// Print the AT line and the JSON exactly as the text protocol does
    #[arg(long)]
    pub(crate) legacy: bool,
}

impl WhatsatArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli whatsat kiwi
  herd-cli whatsat kiwi --radius 500m --max 5
  herd-cli whatsat kiwi --legacy
  herd-cli whatsat kiwi --output jsonl | jq -r .name";
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The client
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

impl GetArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli get kiwi
  herd-cli --node Jaquez get kiwi
  herd-cli get kiwi --output json | jq .position";
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The client
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) witnesses: Witnesses,
}

impl ForgetArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli forget kiwi
  herd-cli forget kiwi --output json | jq .known

Also cures a client that reported a time in the far future, which no later report outdoes. A client
that the node does not know is forgotten all the same, since another node may know it. What the
client reports from then on makes it known again.";
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Ask all nodes of the herd file; the default unless --node is given
    #[arg(long)]
    pub(crate) all: bool,
    /// Say in one line whether all is well, for Nagios and its kin, with their exit codes
    #[arg(long)]
    pub(crate) check: bool,
}

impl StatusArgs {
    const EXAMPLES: &str = "\
Examples:
  herd-cli status
  herd-cli --node Clark status
  herd-cli status --output json | jq -e .digests_equal
  herd-cli status --check

With --check, exit code 0 is OK; 1 is WARNING: nodes do not agree, or one is not ready or fails in
part; 2 is CRITICAL: a node or a link between friends is down. Without,
exit code 8 tells that some nodes are down or refuse to tell, 5 that all are down, 7 that none\ntells and some refuse: they want a token, or TLS.";
}

/// The form of output that a command line asks for, even where it makes no sense otherwise.
pub(crate) fn form_of(words: impl IntoIterator<Item = OsString>) -> Format {
    let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut form = std::env::var("HERD_OUTPUT").ok();
    while let Some(word) = words.next() {
        if word == "--output" || word == "-o" {
            form = words.next();
        } else if let Some(value) =
            word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"))
        {
            form = Some(value.trim_start_matches('=').into());
        }
    }
    form.and_then(|form| Format::from_str(&form, false).ok()).unwrap_or(Format::Table)
}

/// Reads a distance with its unit.
fn metres(text: &str) -> Result<f64, String> {
    let (number, factor) = if let Some(number) = text.strip_suffix("km") {
        (number, 1000.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 1.0)
    } else {
        return Err("needs a unit, such as 10km or 500m".into());
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    let parsed = plain.then(|| number.parse::<f64>().ok()).flatten();
    parsed.map(|number| number * factor).ok_or_else(|| "is no number before the unit".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_distance_needs_a_number_and_a_unit() {
        assert_eq!(metres("10km"), Ok(10_000.0));
        assert_eq!(metres("2.5km"), Ok(2500.0));
        assert_eq!(metres("500m"), Ok(500.0));
        assert_eq!(metres("-1km"), Ok(-1000.0));
        for text in ["", "10", "km", "nanm", "infkm", "1e3m", "10mi"] {
            assert!(metres(text).is_err(), "{text}");
        }
    }

    #[test]
    fn negative_coordinates_need_no_dashes_before_them() {
        for words in [
            &["report", "kiwi", "-33.86+151.2", "--time", "5"][..],
            &["report", "kiwi", "-33.86,151.2", "--time", "5"],
            &["report", "--time", "5", "kiwi", "-33.86 -151.2"],
            &["report", "kiwi", "-33.86", "-151.2", "--time", "5"],
        ] {
            let words = [&["herd-cli"], words].concat();
            let Command::Report(args) = Cli::try_parse_from(&words).unwrap().command else {
                panic!("{words:?}");
            };
            assert!(args.coordinates.unwrap().starts_with("-33.86"), "{words:?}");
            assert_eq!(args.time.as_deref(), Some("5"), "{words:?}");
        }
    }
}
