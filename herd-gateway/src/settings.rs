//! From what was typed and what the herd file says to what is meant.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use herd_edge::{Hidden, Pair};
use herd_proto::topology::{Problems, Topology};
use tracing_subscriber::EnvFilter;

use crate::args::Args;
use crate::config::{Config, Limits, TextPort, Upstream, UpstreamNode};
use crate::layers::Layered;

/// Form of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Everything the program is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the gateway is to do.
    pub config: Config,
    /// Form of the log.
    pub log_format: LogFormat,
    /// What of the log is shown; a sound filter of `tracing_subscriber`.
    pub log: String,
}

impl Settings {
    /// Checks everything; all problems are reported together.
    pub fn new(args: &Args, herd: &Topology) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let layered = Layered::from_table(&herd.gateway_settings, &mut problems).under(args);
        let ports_and_nodes = layered.ports_and_nodes(herd, &mut problems);
        let admin = layered.admin(&mut problems);
        let limits = layered.limits(&mut problems);
        let text_tls = layered.text_tls(&mut problems);
        let proxy_protocol = layered.proxy_protocol(&mut problems);
        let slow_command = layered.slow_command(&mut problems);
        let drain_grace = layered.drain_grace(&mut problems);
        let tls = layered.tls(&mut problems);
        let log_format = layered.log_format(&mut problems);
        let log = layered.log.clone().unwrap_or_else(|| "info".into());
        if let Err(error) = EnvFilter::try_new(&log) {
            problems.add(format_args!("log: {error}"));
        }
        let (ports, nodes) = ports_and_nodes;
        let friends = layered.friends(&ports, &mut problems);
        let config = Config {
            ports,
            nodes,
            friends,
            admin,
            limits,
            text_tls,
            proxy_protocol,
            slow_command,
            drain_grace,
            tls,
            token_file: layered.token_file.map(PathBuf::from),
            token: None,
            log_lines: layered.log_dir.map(PathBuf::from),
        };
        problems.into_result(Self { config, log_format, log })
    }

    /// These settings, with the token that only the environment may hold: it stands for a file in the herd file,
    /// and not for one that a flag or a variable names.
    #[must_use]
    pub fn with_token(mut self, args: &Args, token: Option<Hidden>) -> Self {
        let named = args.token_file.as_ref().is_some_and(|file| !file.is_empty());
        if token.is_some() && !named {
            self.config.token_file = None;
        }
        self.config.token = token;
        self
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl fmt::Display for Settings {
    /// The effective configuration, in the words of the herd file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, log_format, log } = self;
        for TextPort { listen, upstream } in &config.ports {
            writeln!(f, "# text port {listen} for {upstream}")?;
        }
        for UpstreamNode { name, address } in &config.nodes {
            writeln!(f, "# node {name} at {address}")?;
        }
        writeln!(f, "[gateway]")?;
        if let [TextPort { listen, upstream: Upstream::AnyHealthy }] = &*config.ports {
            writeln!(f, "listen = \"{listen}\"")?;
            let nodes: Vec<_> = config.nodes.iter().map(|node| node.address.as_str()).collect();
            writeln!(f, "upstream = {nodes:?}")?;
        } else {
            let nodes: Vec<_> = config.ports.iter().map(|port| port.upstream.label()).collect();
            writeln!(f, "nodes = {nodes:?}")?;
        }
        if !config.friends.is_empty() {
            let friends: Vec<_> = config.friends.iter().map(ToString::to_string).collect();
            writeln!(f, "at_friends = {friends:?}")?;
        }
        if let Some(admin) = config.admin {
            writeln!(f, "admin = \"{admin}\"")?;
        }
        let Limits { max_connections, max_connections_per_address, .. } = config.limits;
        let Limits { max_line_bytes, max_line_rate, .. } = config.limits;
        let Limits { idle, partial_line, write_stall, .. } = config.limits;
        writeln!(f, "max_connections = {max_connections}")?;
        writeln!(f, "max_connections_per_address = {max_connections_per_address}")?;
        writeln!(f, "max_line_bytes = {max_line_bytes}")?;
        if let Some(rate) = max_line_rate {
            writeln!(f, "max_line_rate = {rate}")?;
        }
        let times = [
            ("idle_timeout", idle),
            ("line_timeout", partial_line),
            ("write_timeout", write_stall),
        ];
        for (name, time) in times {
            writeln!(f, "{name} = \"{}\"", humantime::format_duration(time))?;
        }
        writeln!(f, "proxy_protocol = {}", config.proxy_protocol)?;
        let slow = config.slow_command.map(|limit| humantime::format_duration(limit).to_string());
        writeln!(f, "slow_command = \"{}\"", slow.as_deref().unwrap_or("none"))?;
        writeln!(f, "drain_grace = \"{}\"", humantime::format_duration(config.drain_grace))?;
        let Pair { cert, key } = config.tls.pair.clone().unwrap_or_default();
        let ca = config.tls.ca.clone().unwrap_or_default();
        let token_file = config.token_file.clone().unwrap_or_default();
        let text = config.text_tls.clone().unwrap_or_default();
        let files = [
            ("tls_ca", ca),
            ("tls_cert", cert),
            ("tls_key", key),
            ("token_file", token_file),
            ("text_tls_cert", text.cert),
            ("text_tls_key", text.key),
        ];
        for (name, path) in files.iter().filter(|(_, path)| !path.as_os_str().is_empty()) {
            writeln!(f, "{name} = {:?}", path.to_string_lossy())?;
        }
        if let Some(directory) = &config.log_lines {
            writeln!(f, "log_dir = {:?}", directory.to_string_lossy())?;
        }
        writeln!(f, "log_format = \"{log_format}\"")?;
        writeln!(f, "log = {log:?}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::args::LimitArgs;
    use crate::config::TextFriend;
    use crate::layers::DEFAULT_LISTEN;

    fn herd(gateway: &str) -> Topology {
        Topology::parse(&format!("{}\n[gateway]\n{gateway}", herd_proto::topology::SEED_HERD))
            .unwrap()
    }

    fn problems(args: &Args, gateway: &str) -> String {
        Settings::new(args, &herd(gateway)).unwrap_err().to_string()
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_node_of_the_herd_has_its_port_by_default() {
        let settings = Settings::new(&Args::default(), &Topology::seed()).unwrap();
        let ports: Vec<_> =
            settings.config.ports.iter().map(|p| format!("{} {}", p.listen, p.upstream)).collect();
        assert_eq!(ports[0], "127.0.0.1:10000 Bailey");
        assert_eq!(ports[4], "127.0.0.1:10004 Jaquez");
        assert_eq!(ports.len(), 5);
    }

    #[test]
    fn a_token_in_the_environment_stands_for_a_file_in_the_herd_file_alone() {
        let token = Some(Hidden("sixteen-characters".into()));
        let of = |args: &Args, token| {
            let settings = Settings::new(args, &herd("token_file = 'under'")).unwrap();
            settings.with_token(args, token).config.token_file
        };
        let args = Args { token_file: Some("over".into()), ..Args::default() };
        assert_eq!(of(&Args::default(), None), Some("under".into()));
        assert_eq!(of(&Args::default(), token.clone()), None);
        assert_eq!(of(&args, token), Some("over".into()));
    }

    #[test]
    fn some_nodes_can_be_chosen() {
        let args = Args { node: texts(&["Clark", "Bona"]), ..Args::default() };
        let config = Settings::new(&args, &Topology::seed()).unwrap().config;
        assert_eq!(
            config.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(),
            ["Bona", "Clark"]
        );
    }

    #[test]
    fn one_port_serves_any_of_the_given_nodes() {
        let upstream = texts(&["http://a:1/", "[::1]:2"]);
        let args = Args { upstream, ..Args::default() };
        let config = Settings::new(&args, &Topology::seed()).unwrap().config;
        assert_eq!(config.ports[0].listen.to_string(), DEFAULT_LISTEN);
        assert_eq!(config.ports[0].upstream, Upstream::AnyHealthy);
        assert_eq!(
            config.nodes.iter().map(|n| &*n.address).collect::<Vec<_>>(),
            ["a:1", "[::1]:2"]
        );
    }

    #[test]
    fn one_port_can_serve_the_nodes_of_the_file() {
        let args = Args { listen: Some("127.0.0.1:0".into()), ..Args::default() };
        let config = Settings::new(&args, &Topology::seed()).unwrap().config;
        assert_eq!((config.ports.len(), config.nodes.len()), (1, 5));
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = "drain_grace='3s'\nlog='debug'\nmax_connections=7\nlog_format='json'";
        let args = Args { drain_grace: Some("4s".into()), ..Args::default() };
        let settings = Settings::new(&args, &herd(file)).unwrap();
        assert_eq!(settings.config.drain_grace, Duration::from_secs(4));
        assert_eq!(settings.config.limits.max_connections, 7);
        assert_eq!((settings.log.as_str(), settings.log_format), ("debug", LogFormat::Json));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let empty = || Some(String::new());
        let args =
            Args { upstream: texts(&[""]), listen: empty(), log_dir: empty(), ..Args::default() };
        let seed = Topology::seed();
        assert_eq!(Settings::new(&args, &seed), Settings::new(&Args::default(), &seed));
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let args = Args {
            listen: Some("here".into()),
            upstream: texts(&["nowhere", "https://a:1"]),
            node: texts(&["Bailey"]),
            drain_grace: Some("soon".into()),
            slow_command: Some("never".into()),
            tls_cert: Some("c.pem".into()),
            proxy_protocol: Some("perhaps".into()),
            admin: Some("9100".into()),
            limits: LimitArgs {
                max_line_bytes: Some("10".into()),
                idle_timeout: Some("ages".into()),
                ..LimitArgs::default()
            },
            ..Args::default()
        };
        let file =
            "max_connections=0\nlog_format='xml'\nlog='a=b=c'\nlogdir='x'\nlog_dir=[1]\nnodes=3";
        let shown = problems(&args, file);
        for part in [
            "listen: must be IP:port",
            "upstream: must be host:port, got \"nowhere\"",
            "upstream: must be host:port, got \"https://a:1\"",
            "node and upstream",
            "admin: must be IP:port, or none, got \"9100\"",
            "drain_grace:",
            "slow_command:",
            "tls_cert, tls_key: give both or none",
            "proxy_protocol: must be true or false",
            "max_line_bytes: must be 1536 to 65536",
            "idle_timeout:",
            "max_connections: must be 1 to",
            "log_format: must be text or json",
            "log: ",
            "unknown setting logdir",
            "log_dir must be a string",
            "nodes must be a list",
        ] {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
    }

    #[test]
    fn text_friends_are_friends_of_nodes_that_have_a_port() {
        let read = |friends: &[&str], listen: Option<&str>| {
            let args = Args {
                at_friend: texts(friends),
                listen: listen.map(Into::into),
                ..Args::default()
            };
            Settings::new(&args, &Topology::seed())
        };
        let friends = read(&["Bona=old.example:10001", "Bona=[::1]:7"], None).unwrap();
        assert!(
            friends
                .to_string()
                .contains("at_friends = [\"Bona=old.example:10001\", \"Bona=[::1]:7\"]")
        );
        let any = read(&["old:1"], Some("127.0.0.1:0")).unwrap().config.friends;
        assert_eq!(any, [TextFriend { of: Upstream::AnyHealthy, address: "old:1".into() }]);
        for (friend, words) in [
            ("Ghost=a:1", "no text port is Ghost's"),
            ("a:1", "must say whose friend it is"),
            ("Bona=a", "must be [NODE=]host:port"),
            ("=a:1", "must be [NODE=]host:port"),
        ] {
            let wrong = read(&[friend], None).unwrap_err().to_string();
            assert!(wrong.contains(words), "{friend}: {wrong}");
        }
        let many: Vec<_> = (0..17).map(|port| format!("Bona=a:{port}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(read(&many[..16], None).is_ok());
        assert!(read(&many, None).unwrap_err().to_string().contains("may have 16 text friends"));
    }

    #[test]
    fn nodes_must_be_known_and_have_a_port() {
        let args = Args { node: texts(&["Ghost"]), ..Args::default() };
        assert!(problems(&args, "").contains("\"Ghost\" is not in the herd file (Bailey, "));
        let bare = Topology::parse("[[nodes]]\nname='a'\naddress='a:1'").unwrap();
        let shown = |args: &Args| Settings::new(args, &bare).unwrap_err().to_string();
        assert!(shown(&Args::default()).contains("no node has a text port"));
        let args = Args { node: texts(&["a"]), ..Args::default() };
        assert!(shown(&args).contains("a has no text port"));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let args = Args {
            log_dir: Some("logs".into()),
            admin: Some("127.0.0.1:8".into()),
            tls_ca: Some("ca.pem".into()),
            token_file: Some("token".into()),
            text_tls_cert: Some("text.pem".into()),
            text_tls_key: Some("text.key".into()),
            limits: LimitArgs { max_line_rate: Some("7".into()), ..LimitArgs::default() },
            proxy_protocol: Some("true".into()),
            slow_command: Some("none".into()),
            ..Args::default()
        };
        let single = Args {
            listen: Some("127.0.0.1:7".into()),
            at_friend: texts(&["old:1"]),
            ..args.clone()
        };
        let several = Args { at_friend: texts(&["Bona=old:1"]), ..args };
        for args in [single, several] {
            let settings = Settings::new(&args, &Topology::seed()).unwrap();
            let printed = settings.to_string();
            let again = format!("{}\n{printed}", herd_proto::topology::SEED_HERD);
            let again = Settings::new(&Args::default(), &Topology::parse(&again).unwrap()).unwrap();
            assert_eq!(again.to_string().lines().last(), printed.lines().last());
            assert_eq!(again.config.ports, settings.config.ports);
            assert_eq!(again.config.friends, settings.config.friends);
            assert_eq!(again.config.log_lines, settings.config.log_lines);
            assert_eq!(again.config.tls, settings.config.tls);
            assert_eq!(again.config.text_tls, settings.config.text_tls);
            assert_eq!(again.config.limits, settings.config.limits);
            assert_eq!(again.config.admin, settings.config.admin);
            assert_eq!(again.config.slow_command, None);
            assert!(again.config.proxy_protocol);
            assert_eq!(again.config.token_file, settings.config.token_file);
        }
    }
}
