//! Settings, table by table of the herd file, with their variables and flags.

use std::fmt::Write as _;

use clap::{Args, Command, CommandFactory as _};
use herd_gateway::args::Args as GatewayArgs;
use herd_node::places::PlacesSettings;
use herd_node::settings::{LimitSettings, TlsSettings};
use herd_node::telemetry::LogSettings;
use herd_proto::topology::{SEED_HERD, Topology};
use serde::de::DeserializeOwned;

const TOP: &str = "\
# Configuration

One *herd file*, TOML, serves all programs: `--herd-file`, or `HERD_FILE`. Without one it is the
[built-in herd](../proto/src/seed-herd.toml). What stands in it gives way to variables, and those to flags; a
variable that is set to nothing counts as not set. `--print-config` shows what comes of it all, and all that is wrong is
said at once, before anything is started. This page is made from the programs themselves; a test keeps it so.

Durations are written like `500ms`, `10s`, `5m` or `30d`, sizes in bytes.

## Herd file

```toml
cluster = \"herd\"                # its name; nodes of other herds are refused

[[nodes]]                       # one for each node; none where DNS names them (peers_dns)
name = \"Bailey\"                 # a name, 1 to 63 letters, digits, - and .
address = \"127.0.0.1:50051\"     # host and port at which others reach its gRPC services
listen = \"0.0.0.0:50051\"        # where it listens [default: address, if that is an IP address]
text = \"127.0.0.1:10000\"        # where a gateway speaks text for it [default: nowhere]
admin = \"127.0.0.1:9100\"        # metrics, health and the live page [default: nowhere]
friends = [\"Bona\", \"Campbell\"]  # whom it tells; friendship is mutual, so one of the two may say it

[node]                          # settings of all nodes: the tables below
[gateway]                       # settings of all gateways
```
";

const BOTTOM: &str = "
## Secrets

Only in files or variables, never in the herd file or in flags: `HERD_PLACES_KEY`, `HERD_PEER_TOKEN` (a node's own
token), `HERD_TOKEN` (a gateway's or `herd-cli`'s), or the files that the settings above name. They show in no log,
message or `--print-config`.

`herd-cli` has settings of its own for where and as whom it calls: `herd-cli --help`.
";

/// One setting: its key in a table, and how it may be given otherwise.
struct Setting {
    key: String,
    arg: clap::Arg,
}

/// The keys of a table of the herd file, as its own reader names them.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let refusal =
        toml::from_str::<T>("none-such = 1").err().expect("it refuses what it does not know");
    let refusal = refusal.to_string();
    let (_, named) = refusal.split_once("expected").expect("it tells what it knows");
    named.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn flags<T: Args>() -> Vec<clap::Arg> {
    T::augment_args(Command::new("any")).get_arguments().cloned().collect()
}

/// A table whose keys and flags stand in one order.
fn table<T: Args + DeserializeOwned>() -> Vec<Setting> {
    let (keys, flags) = (keys::<T>(), flags::<T>());
    assert_eq!(keys.len(), flags.len(), "each key has a flag");
    let settings = keys.into_iter().zip(flags).map(|(key, arg)| {
        assert!(arg.get_id().as_str().ends_with(&key), "{} is not {key}", arg.get_id());
        Setting { key, arg }
    });
    settings.collect()
}

/// The table `[node]` itself, without those within it.
fn node_table() -> Vec<Setting> {
    let inner: Vec<_> =
        [flags::<TlsSettings>(), flags::<LimitSettings>(), flags::<PlacesSettings>()].concat();
    let is_inner = |arg: &clap::Arg| inner.iter().any(|other| other.get_id() == arg.get_id());
    let own = flags::<herd_node::Settings>().into_iter().filter(|arg| !is_inner(arg));
    let settings: Vec<_> =
        own.map(|arg| Setting { key: arg.get_id().as_str().to_owned(), arg }).collect();
    let known = keys::<herd_node::Settings>();
    for Setting { key, .. } in &settings {
        assert!(known.contains(key), "[node] does not know {key}");
    }
    assert_eq!(settings.len() + ["tls", "limits", "places"].len(), known.len());
    settings
}

/// The table `[gateway]`; what names the file, or asks for nothing but a print, is not in it.
fn gateway_table() -> Vec<Setting> {
    let command = GatewayArgs::command();
    let flags = command.get_arguments().filter(|arg| {
        !["herd_file", "print_config", "help", "version"].contains(&arg.get_id().as_str())
    });
    let settings = flags.cloned().map(|arg| {
        let key = match arg.get_id().as_str() {
            "node" => "nodes",
            "at_friend" => "at_friends",
            other => other,
        };
        let key = key.to_owned();
        let lists = ["nodes", "upstream", "at_friends"];
        let value = if lists.contains(&&*key) { "[]" } else { "\"\"" };
        let file = format!("{SEED_HERD}\n[gateway]\n{key} = {value}");
        let herd = Topology::parse(&file).expect("a herd file");
        let refusal = herd_gateway::settings::Settings::new(&GatewayArgs::default(), &herd);
        let refusal = refusal.err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(!refusal.contains("unknown setting"), "{refusal}");
        Setting { key, arg }
    });
    settings.collect()
}

fn write(page: &mut String, title: &str, settings: Vec<Setting>) {
    let _ = write!(page, "\n## {title}\n\n| setting | variable | value | |\n|---|---|---|---|\n");
    for Setting { key, arg } in settings {
        let variable = arg.get_env().map(|name| format!("`{}`", name.display()));
        let values = arg.get_value_names().unwrap_or_default();
        let values: Vec<_> = values.iter().map(|value| value.to_lowercase()).collect();
        let help = arg.get_help().expect("a setting explains itself").to_string();
        let flag = arg.get_long().expect("a setting is a flag");
        // Two names of one thing are told only where they differ by more than their dashes.
        let flag =
            if flag.replace('-', "_") == key { String::new() } else { format!(" (`--{flag}`)") };
        let _ = writeln!(
            page,
            "| `{key}`{flag} | {} | {} | {} |",
            variable.unwrap_or_default(),
            values.join(" ").replace('|', " or "),
            help.replace('\n', " ").replace('|', "\\|")
        );
    }
}

pub(crate) fn page() -> String {
    let mut page = TOP.to_owned();
    write(&mut page, "Table `[node]`", node_table());
    write(&mut page, "Table `[node.tls]`", table::<TlsSettings>());
    write(&mut page, "Table `[node.limits]`", table::<LimitSettings>());
    write(&mut page, "Table `[node.places]`", table::<PlacesSettings>());
    write(&mut page, "Table `[gateway]`", gateway_table());
    let logs = flags::<LogSettings>().into_iter();
    let logs = logs.map(|arg| Setting { key: arg.get_id().as_str().to_owned(), arg }).collect();
    write(&mut page, "Logs of a node: flags and variables only", logs);
    page.push_str(BOTTOM);
    page
}
