//! What was meant: a configuration that cannot hold nonsense, so that nothing downstream checks
//! again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use herd_edge::Bearer;
use herd_proto::NodeName;
use herd_proto::topology::{Problems, Topology};
use serde::Deserialize as _;

use crate::durability::{AckLevel, DataConfig};
use crate::limits::Limits;
use crate::places::PlacesConfig;
use crate::settings::{Settings, TlsConfig};

/// How far ahead of a node's clock a report may be: more than any time zone mistake.
const MAX_FUTURE: Duration = Duration::from_hours(24);

/// How long a client that does not report is known: a month covers any holiday.
const RETENTION: Duration = Duration::from_hours(30 * 24);

/// Records expire at whole minutes.
const MIN_RETENTION: Duration = Duration::from_mins(1);

/// Longest duration that can be set: any longer is a slip, and would overflow a clock.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// Well below the 30 s that Kubernetes grants a stopping pod.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// What a power cut may cost where answers do not wait for the disk; the usual second.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often DNS is asked who belongs to the herd: a newcomer is somebody's friend in half of it, and
/// a name server does not notice.
const PEERS_REFRESH: Duration = Duration::from_secs(5);

/// The least of it: more would be no use to anybody, and a burden to the name server.
const MIN_PEERS_REFRESH: Duration = Duration::from_millis(50);

/// A call takes microseconds, unless it waits for the disk, for friends or for places; a second of
/// that is worth a look.
const SLOW_CALL: Duration = Duration::from_secs(1);

/// Where a node serves that no herd file knows: on all interfaces, as in a container.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 50051);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9100);

/// How friends are found by DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersDns {
    /// Where the SRV records are; each names one node by the first label of its target.
    pub name: String,
    /// The name server; `None` for the system's.
    pub server: Option<SocketAddr>,
    /// How often it is asked.
    pub refresh: Duration,
}

impl PeersDns {
    /// Whether SRV records can be at `name`: RFC 2782 puts them at `_service._proto.name`.
    fn check(name: &str) -> Result<(), &'static str> {
        let mut labels = name.trim_end_matches('.').split('.');
        let sound = |label: &str| (1..=63).contains(&label.len()) && label.is_ascii();
        let service = labels.by_ref().take(2).filter(|label| label.starts_with('_')).count();
        let host: Vec<_> = labels.collect();
        if name.len() <= 253 && service == 2 && !host.is_empty() && host.into_iter().all(sound) {
            Ok(())
        } else {
            Err("must be a name of SRV records such as _grpc._tcp.herd-node-peers")
        }
    }

    /// The domain in which the nodes' hosts are: the name without the labels of port and protocol.
    pub fn domain(&self) -> &str {
        let mut rest = &*self.name;
        while let Some((label, above)) = rest.split_once('.')
            && label.starts_with('_')
        {
            rest = above;
        }
        rest.trim_end_matches('.')
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub name: NodeName,
    /// The herd's name.
    pub cluster: String,
    /// Where to serve gRPC; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where to serve HTTP to operators; `None` serves none.
    pub admin: Option<SocketAddr>,
    /// Whether the live page is served to operators, too.
    pub page: bool,
    /// Where the page takes map tiles from; `None` for nowhere.
    pub tiles_url: Option<String>,
    /// The nodes to keep links with: name, and host and port.
    pub friends: Vec<(NodeName, String)>,
    /// How more are found; with it, those of the herd file count for nothing.
    pub peers_dns: Option<PeersDns>,
    /// Calls with one answer that take longer are logged; `None` for none.
    pub slow_call: Option<Duration>,
    /// How far ahead of the node's clock a report may be.
    pub max_future: Duration,
    /// How long a record is kept after its origin took it; `None` keeps all for ever. Forgotten
    /// marks are kept for `max_future` and 25 hours longer than that, so that a node that was away
    /// cannot bring a client back. Nodes of a herd that differ in either hold different records.
    pub retention: Option<Duration>,
    /// How long a stopping node waits for links and calls to finish.
    ///
    /// Keep it below the pod's `terminationGracePeriodSeconds`, or Kubernetes ends the drain.
    pub drain_grace: Duration,
    /// Where records outlive the node; `None` keeps them in memory only.
    pub data: Option<DataConfig>,
    /// Whether to serve reflection.
    pub reflection: bool,
    /// The herd's nodes, this one included, with their addresses.
    pub nodes: Vec<(NodeName, String)>,
    /// How it speaks TLS; `None` for plain text.
    pub tls: Option<TlsConfig>,
    /// The file of the tokens that callers may show; `None` if they need none.
    pub tokens: Option<PathBuf>,
    /// The token that the node shows to its friends.
    pub bearer: Bearer,
    /// What bounds it.
    pub limits: Limits,
    /// Where places come from.
    pub places: PlacesConfig,
}

impl Config {
    /// The configuration of node `name` of a herd. `settings` win over the herd file's own.
    ///
    /// # Errors
    /// All problems together.
    pub fn new(topology: &Topology, name: &NodeName, settings: Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let from_file = Settings::deserialize(topology.node_settings.clone())
            .map_err(|error| problems.add(format_args!("herd file, [node]: {}", error.message())))
            .unwrap_or_default();
        let settings = settings.or(from_file);
        let mut reader = Reader { problems: &mut problems };
        let max_future =
            reader.read("max_future", settings.max_future.as_deref(), MAX_FUTURE, duration);
        let retention =
            reader.read("retention", settings.retention.as_deref(), Some(RETENTION), retention);
        let node = topology.node(name);
        let peers_dns = read_peers_dns(&mut reader, &settings);
        let admin = match node {
            Some(node) => node.admin,
            None => peers_dns.as_ref().map(|_| ADMIN),
        };
        let admin = reader.read("admin", settings.admin.as_deref(), admin, admin_address);
        let page = reader.read("page", settings.page.as_deref(), true, parsed);
        let tiles_url = reader.read("tiles_url", settings.tiles_url.as_deref(), None, tiles);
        let slow_call =
            reader.read("slow_call", settings.slow_call.as_deref(), Some(SLOW_CALL), unless_none);
        let drain_grace =
            reader.read("drain_grace", settings.drain_grace.as_deref(), DRAIN_GRACE, duration);
        let data = read_data(&mut reader, &settings);
        let reflection = reader.read("reflection", settings.reflection.as_deref(), true, parsed);
        let token = settings.peer_token.as_ref().map(|token| &*token.0);
        let bearer = Bearer::new(settings.peer_token_file.as_deref(), token)
            .map_err(|error| problems.add(format_args!("peer_token_file: {error}")))
            .unwrap_or_default();
        let limits = Limits::from_settings(&settings.limits, &mut problems);
        let tls = settings.tls.config(name, &mut problems);
        let places = PlacesConfig::from_settings(&settings.places)
            .map_err(|wrong| problems.extend(wrong))
            .ok();
        if node.is_none() && peers_dns.is_none() {
            let names = topology.names();
            problems.add(format_args!("name: {name} is not in the herd file, which names {names}"));
        }
        let Some(places) = places else { return Err(problems) };
        let is_friend = |other: &NodeName| {
            peers_dns.is_none() && node.is_some_and(|node| node.friends.contains(other))
        };
        let friends = topology.nodes.iter().filter(|other| is_friend(&other.name));
        let config = Self {
            name: name.clone(),
            cluster: topology.cluster.clone(),
            listen: node.map_or(LISTEN, |node| node.listen),
            admin,
            page,
            tiles_url,
            friends: friends.map(|friend| (friend.name.clone(), friend.address.clone())).collect(),
            peers_dns,
            slow_call,
            max_future,
            retention,
            drain_grace,
            data,
            reflection,
            nodes: topology
                .nodes
                .iter()
                .map(|node| (node.name.clone(), node.address.clone()))
                .collect(),
            tls,
            tokens: settings.tokens_file,
            bearer,
            limits,
            places,
        };
        problems.into_result(config)
    }

    /// Where what outlives the node is kept, if anything does.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data.as_ref().map(|data| &*data.directory)
    }
}

fn read_peers_dns(reader: &mut Reader<'_>, settings: &Settings) -> Option<PeersDns> {
    let refresh = reader.read(
        "peers_refresh",
        settings.peers_refresh.as_deref(),
        PEERS_REFRESH,
        peers_refresh,
    );
    let server = settings.dns_server.as_deref().map(|text| text.parse().ok());
    if server == Some(None) {
        let text = settings.dns_server.as_deref().unwrap_or_default();
        reader.problems.add(format_args!("dns_server: must be IP:PORT, got {text:?}"));
    }
    let name = settings.peers_dns.as_deref().filter(|name| !name.is_empty());
    let name = name.map(|name| (name, PeersDns::check(name)));
    match name {
        Some((name, Ok(()))) => {
            Some(PeersDns { name: name.into(), server: server.flatten(), refresh })
        }
        Some((name, Err(rule))) => {
            reader.problems.add(format_args!("peers_dns: {rule}, got {name:?}"));
            None
        }
        None => {
            for (key, value) in
                [("peers_refresh", &settings.peers_refresh), ("dns_server", &settings.dns_server)]
            {
                if value.is_some() {
                    reader.problems.add(format_args!("{key}: needs peers_dns"));
                }
            }
            None
        }
    }
}

/// With a data directory, whatever is acknowledged survives a kill of the process.
fn read_data(reader: &mut Reader<'_>, settings: &Settings) -> Option<DataConfig> {
    let ack_level =
        reader.read("ack_level", settings.ack_level.as_deref(), AckLevel::Process, parsed);
    let sync_interval =
        reader.read("sync_interval", settings.sync_interval.as_deref(), SYNC_INTERVAL, duration);
    let directory = settings.data_dir.as_ref().filter(|dir| !dir.is_empty());
    if directory.is_none() && settings.ack_level.is_some() && ack_level != AckLevel::Memory {
        reader.problems.add("ack_level: needs a data_dir to keep reports in");
    }
    Some(DataConfig { directory: directory?.into(), ack_level, sync_interval })
}

/// Reads values and notes what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) problems: &'a mut Problems,
}

impl Reader<'_> {
    /// The value of a text; `default` where there is none, or a wrong one.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: T,
        parse: fn(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = text else { return default };
        parse(text).unwrap_or_else(|error| {
            self.problems.add(format_args!("{key}: {error}, got {text:?}"));
            default
        })
    }
}

/// Reads a duration of at most [`MAX_DURATION`].
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "must be a duration such as 500ms, 10s or 24h")?;
    if duration > MAX_DURATION {
        return Err("must be at most 10 years".into());
    }
    Ok(duration)
}

fn peers_refresh(text: &str) -> Result<Duration, String> {
    let refresh = duration(text)?;
    if refresh < MIN_PEERS_REFRESH {
        return Err("must be at least 50ms".into());
    }
    Ok(refresh)
}

/// A duration, or none at all.
fn unless_none(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    duration(text).map(Some).map_err(|error| format!("{error}, or none"))
}

fn retention(text: &str) -> Result<Option<Duration>, String> {
    let retention = unless_none(text)?;
    if retention.is_some_and(|retention| retention < MIN_RETENTION) {
        return Err("must be at least 1m, or none".into());
    }
    Ok(retention)
}

/// A URL with room for the number of a tile.
fn tiles(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() || text == "none" {
        return Ok(None);
    }
    let has_room = ["{z}", "{x}", "{y}"].iter().all(|part| text.contains(part));
    let is_url = (text.starts_with("https://") || text.starts_with("http://"))
        && text.replace(['{', '}'], "").parse::<http::Uri>().is_ok();
    if has_room && is_url {
        Ok(Some(text.into()))
    } else {
        Err(format!("must be like https://tiles.example.org/{{z}}/{{x}}/{{y}}.png, got {text:?}"))
    }
}

/// Where to serve operators, or nowhere.
fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "none" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "must be IP:PORT, or none".into())
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{LimitSettings, TlsSettings};

    fn topology(node_table: &str) -> Topology {
        Topology::parse(&format!("[[nodes]]\nname='a'\naddress='127.0.0.1:1'\n{node_table}"))
            .unwrap()
    }

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).unwrap()
    }

    #[test]
    fn the_seed_herd_needs_no_settings() {
        let config = Config::new(&Topology::seed(), &name("Clark"), Settings::default()).unwrap();
        let friends: Vec<_> = config.friends.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(friends, ["Bona", "Jaquez"]);
        assert_eq!(config.listen, "127.0.0.1:50054".parse().unwrap());
        assert_eq!(config.max_future, MAX_FUTURE);
    }

    #[test]
    fn flags_win_over_the_herd_file() {
        let herd =
            topology("[node]\nmax_future='1h'\nreflection=false\n[node.limits]\nmax_watchers=7");
        let flags = Settings { max_future: Some("2h".into()), ..Settings::default() };
        let config = Config::new(&herd, &name("a"), flags).unwrap();
        assert_eq!(config.max_future, Duration::from_hours(2));
        assert_eq!((config.limits.max_watchers, config.reflection), (7, false));
    }

    #[test]
    fn a_data_directory_makes_answers_wait_for_the_operating_system() {
        let config = |ack_level: Option<&str>, data_dir: Option<&str>| {
            let flags = Settings {
                ack_level: ack_level.map(Into::into),
                data_dir: data_dir.map(Into::into),
                ..Settings::default()
            };
            Config::new(&topology(""), &name("a"), flags).map(|config| config.data)
        };
        assert_eq!(config(None, None), Ok(None));
        assert_eq!(config(None, Some("x")).unwrap().unwrap().ack_level, AckLevel::Process);
        assert_eq!(config(Some("disk"), Some("x")).unwrap().unwrap().ack_level, AckLevel::Disk);
        assert!(config(Some("disk"), None).unwrap_err().to_string().contains("needs a data_dir"));
    }

    #[test]
    fn records_are_kept_for_a_month_or_as_long_as_is_set_or_for_ever() {
        let kept = |retention: Option<&str>| {
            let flags = Settings { retention: retention.map(Into::into), ..Settings::default() };
            Config::new(&topology(""), &name("a"), flags).map(|config| config.retention)
        };
        assert_eq!(kept(None), Ok(Some(Duration::from_hours(720))));
        assert_eq!(kept(Some("1m")), Ok(Some(Duration::from_mins(1))));
        assert_eq!(kept(Some("none")), Ok(None));
        for wrong in ["59s", "0s", "", "never", "11years"] {
            let shown = kept(Some(wrong)).unwrap_err().to_string();
            assert!(shown.contains("retention: must be"), "{shown}");
        }
    }

    #[test]
    fn a_node_that_dns_names_needs_no_herd_file_and_heeds_none() {
        let dns = |name: &str| Settings { peers_dns: Some(name.into()), ..Settings::default() };
        let peers = "_grpc._tcp.herd-node-peers.herd.svc";
        let config = Config::new(&Topology::seed(), &name("herd-node-7"), dns(peers)).unwrap();
        assert_eq!((config.listen, config.admin), (LISTEN, Some(ADMIN)));
        let found = config.peers_dns.unwrap();
        assert_eq!((found.refresh, found.domain()), (PEERS_REFRESH, "herd-node-peers.herd.svc"));
        let config = Config::new(&Topology::seed(), &name("Clark"), dns(peers)).unwrap();
        assert_eq!(config.listen, "127.0.0.1:50054".parse().unwrap());
        assert_eq!(config.friends, [], "the file's friends count for nothing");
        let file = format!("[node]\npeers_dns='{peers}'");
        let herd = Topology::parse(&file).unwrap();
        assert!(Config::new(&herd, &name("herd-node-0"), Settings::default()).is_ok());
    }

    #[test]
    fn names_that_srv_records_cannot_have_are_refused() {
        let long = format!("_grpc._tcp.{}", "a".repeat(64));
        for wrong in ["herd-node-peers", "_grpc.herd", "_grpc._tcp", "_grpc._tcp.a..b", &long] {
            let settings = Settings {
                peers_dns: Some(wrong.into()),
                peers_refresh: Some("1ms".into()),
                dns_server: Some("localhost".into()),
                ..Settings::default()
            };
            let wrong = Config::new(&topology(""), &name("a"), settings).unwrap_err().to_string();
            for part in
                ["peers_dns: must be a name", "at least 50ms", "dns_server: must be IP:PORT"]
            {
                assert!(wrong.contains(part), "{part} not in {wrong}");
            }
        }
        let alone = Settings { dns_server: Some("127.0.0.1:53".into()), ..Settings::default() };
        let wrong = Config::new(&topology(""), &name("a"), alone).unwrap_err().to_string();
        assert!(wrong.contains("dns_server: needs peers_dns"), "{wrong}");
    }

    #[test]
    fn a_token_in_the_environment_wins_over_a_file_in_the_herd_file() {
        let herd = topology("[node]\npeer_token_file='/nowhere/token'");
        let variable =
            |name: &str| (name == "HERD_PEER_TOKEN").then(|| "sixteen-characters".into());
        let settings = Settings::default().with_secrets_from(variable);
        assert!(Config::new(&herd, &name("a"), settings).unwrap().bearer.is_some());
        assert!(Config::new(&herd, &name("a"), Settings::default()).is_err());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let flags = Settings {
            max_future: Some("soon".into()),
            limits: LimitSettings {
                max_watchers: Some("-1".into()),
                max_request_bytes: Some("1048577".into()),
                ..LimitSettings::default()
            },
            tls: TlsSettings { cert: Some("c.pem".into()), ..TlsSettings::default() },
            peer_token_file: Some("/nowhere/token".into()),
            reflection: Some("perhaps".into()),
            ack_level: Some("disc".into()),
            ..Settings::default()
        };
        let herd = topology("[node]\ndrain_grace='x'");
        let shown = Config::new(&herd, &name("b"), flags).unwrap_err().to_string();
        let parts = [
            "max_future",
            "max_watchers",
            "max_request_bytes: must be 4096 to 1048576",
            "tls_cert, tls_key, tls_ca: give all three",
            "peer_token_file: /nowhere/token",
            "reflection",
            "ack_level",
            "drain_grace",
            "b is not in the",
        ];
        for part in parts {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
        let herd = topology("[node]\nmax_futur='1h'");
        let shown = Config::new(&herd, &name("a"), Settings::default()).unwrap_err().to_string();
        assert!(shown.contains("max_futur"), "{shown}");
    }
}
