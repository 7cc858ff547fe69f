//! What is looked at, each from what was heard alone.

use std::collections::BTreeSet;

use herd_cli::{Error, Unreachable};
use herd_proto::topology::Topology;
use herd_proto::v1;
use tonic::Code;

use super::{Finding, Level};
use crate::commands::survey::Asked;
use crate::failure::Failure;

/// Clocks that differ by more than this make ages look wrong to people.
const SKEW_WARNING: f64 = 1.0;

/// Clocks that differ by more than this make records expire here and not there.
const SKEW_CRITICAL: f64 = 60.0;

/// Certificates are renewed a month before their end, as a rule.
const CERTIFICATE_WARNING: i64 = 14 * 24 * 3600;

/// More records than this wait for a peer only if it is slow or stuck.
const MANY_PENDING: u64 = 10_000;

type Node = Asked<v1::GetStatusResponse>;

fn finding(
    level: Level,
    check: &'static str,
    subject: impl Into<String>,
    problem: impl Into<String>,
    hint: &str,
) -> Finding {
    Finding { level, check, subject: subject.into(), problem: problem.into(), hint: hint.into() }
}

/// What keeps anybody from being asked: a herd file, certificate or token file that cannot be used.
pub(super) fn unusable(failure: &Failure) -> Vec<Finding> {
    let text = failure.to_string();
    // A herd file's problems come one a line below how many there are.
    let (heading, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let problems: Vec<_> = if rest.is_empty() { vec![heading] } else { rest.lines().collect() };
    let finding = |problem: &str| {
        let hint = hint_on_setup(problem);
        finding(Level::Critical, "setup", "", problem.trim(), hint)
    };
    problems.into_iter().map(finding).collect()
}

/// What to do about one problem of the herd file or of the caller's own files.
fn hint_on_setup(problem: &str) -> &'static str {
    let hints = [
        (
            "no chain of friends",
            "friends = [\"...\"] of one node of each part must name one of the other",
        ),
        ("is used by", "give each node of the herd file addresses of its own"),
        ("is not in the file", "correct the name, or add a [[nodes]] table for that node"),
        ("own friend", "leave a node's own name out of its friends"),
        ("No such file", "name a file that exists: --herd-file, --ca, --cert, --key, --token-file"),
        ("Permission denied", "let the user who runs this read the file"),
    ];
    let known = hints.into_iter().find(|(words, _)| problem.contains(words));
    known.map_or("correct it: no program of the herd starts with it", |(_, hint)| hint)
}

/// What the nodes say; `agreed` tells whether they came to hold the same within a while.
pub(super) fn nodes(topology: &Topology, asked: &[Node], agreed: bool) -> Vec<Finding> {
    let mut found: Vec<_> = asked.iter().filter_map(unreachable).collect();
    let up: Vec<_> =
        asked.iter().filter_map(|node| Some((node, node.answer.as_ref().ok()?))).collect();
    if up.is_empty() {
        let hint = if asked.iter().all(is_refused) {
            "start them: `herd-cli up` starts the whole herd on this machine; --herd-file chooses \
             another herd"
        } else {
            "do what is said of each node above"
        };
        found.push(finding(Level::Critical, "reachable", "", "no node can be asked", hint));
        return found;
    }
    for &(node, status) in &up {
        found.extend(identity(topology, node, status));
        found.extend(links(topology, node, status));
        found.extend(health(node, status));
    }
    found.extend(agreement(&up, agreed));
    found.extend(versions(&up));
    if found.iter().all(|finding| finding.level == Level::Ok) {
        let problem = format!("{} nodes answer, are ready and agree", up.len());
        found.push(finding(Level::Ok, "nodes", "", problem, ""));
    }
    found
}

/// Whether nothing listens where the node should.
fn is_refused(node: &Node) -> bool {
    matches!(&node.answer, Err(Error::Unreachable { reason: Unreachable::Refused, .. }))
}

fn unreachable(node: &Node) -> Option<Finding> {
    let error = node.answer.as_ref().err()?;
    let hint = match error {
        Error::Unreachable { reason: Unreachable::Refused, .. } => {
            "nothing listens there: start the node, or mend its address in the herd file"
        }
        Error::Unreachable { reason: Unreachable::UnknownHost, .. } => {
            "mend the host in the herd file, or the name service"
        }
        Error::Unreachable { reason: Unreachable::Silent { .. }, .. } => {
            "the host is down, or a firewall drops what is sent to the port"
        }
        Error::Unreachable { reason: Unreachable::NotGrpc, .. } => {
            "another service listens there: text and admin ports are not gRPC ports, or the node \
             speaks TLS and wants --ca"
        }
        Error::Unreachable { reason: Unreachable::WantsTls, .. } => {
            "name the CA that signed its certificate: --ca or HERD_TLS_CA"
        }
        Error::Unreachable { reason: Unreachable::Tls(_), .. } => {
            "check --ca, --cert and --key, that the certificate bears the node's name, and its end"
        }
        Error::Unreachable { reason: Unreachable::Broken(_), .. } => {
            "the node may want TLS (--ca), or may be stopping"
        }
        Error::Deadline { .. } => "the node is overloaded or stuck; its log tells more",
        Error::Refused { message, .. } if message.contains("certificate is a node's") => {
            "ask with a client's certificate, or with none and a token: --cert, --token-file"
        }
        Error::Refused { code: Code::Unauthenticated | Code::PermissionDenied, .. } => {
            "the node wants a token with the role read: --token-file or HERD_TOKEN"
        }
        Error::Refused { code: Code::Unimplemented, .. } => {
            "another service listens there, or a node of another release"
        }
        _ => "see the error",
    };
    Some(finding(Level::Critical, "reachable", &*node.name, error.to_string(), hint))
}

/// Whether the right node answers, for the right herd.
fn identity(topology: &Topology, node: &Node, status: &v1::GetStatusResponse) -> Vec<Finding> {
    let mut found = Vec::new();
    if status.name != node.name {
        let problem = format!("{} answers at its address, {}", status.name, node.address);
        let hint = "addresses are mixed up in the herd file, or two nodes share a port";
        found.push(finding(Level::Critical, "identity", &*node.name, problem, hint));
    }
    if status.cluster != topology.cluster {
        let problem = format!(
            "belongs to herd {:?}, and the herd file names {:?}",
            status.cluster, topology.cluster
        );
        let hint = "nodes of two herds never mix: give all the same cluster in their herd files";
        found.push(finding(Level::Critical, "herd", &*node.name, problem, hint));
    }
    if !status.ready {
        let hint = "it waits for its friends, or stops; see its links below and its log";
        found.push(finding(Level::Warning, "ready", &*node.name, "is not ready", hint));
    }
    found
}

fn links(topology: &Topology, node: &Node, status: &v1::GetStatusResponse) -> Vec<Finding> {
    let mut found = Vec::new();
    for peer in &status.peers {
        let pair = format!("{} and {}", node.name, peer.name);
        if peer.state() != v1::LinkState::Up && peer.friend {
            let why = if peer.last_error.is_empty() { "not up yet" } else { &peer.last_error };
            let hint = if why.contains("name") {
                "each node of a herd needs a name of its own, and the name that others expect"
            } else if why.contains("cluster") || why.contains("herd") {
                "both must have the same cluster in their herd files"
            } else if why.contains("certificate")
                || why.to_lowercase().contains("tls")
                // What a node that speaks plain text makes of the other's TLS.
                || why.contains("h2 protocol error")
            {
                "both must speak TLS or neither, with certificates that bear their names"
            } else if why.contains("token") || why.contains("gossip") {
                "the node needs a token with the role peer: --peer-token-file"
            } else {
                "is the friend up, and is its address in this node's herd file one that it can reach?"
            };
            let problem = format!("no link: {why}");
            found.push(finding(Level::Critical, "links", pair.clone(), problem, hint));
        }
        let skew =
            peer.clock_skew.map_or(0.0, |skew| skew.seconds as f64 + f64::from(skew.nanos) / 1e9);
        if skew.abs() > SKEW_WARNING {
            let level = if skew.abs() > SKEW_CRITICAL { Level::Critical } else { Level::Warning };
            let problem = format!("their clocks are {:.1} s apart", skew.abs());
            let hint = "run a time service (chrony, ntpd or systemd-timesyncd) on both machines";
            found.push(finding(level, "clocks", pair.clone(), problem, hint));
        }
        if !peer.disagreement.is_empty() {
            let problem = format!("the peer is configured otherwise: {}", peer.disagreement);
            let hint =
                "all nodes of a herd need the same retention and max_future: mend one of them";
            found.push(finding(Level::Warning, "settings", pair.clone(), problem, hint));
        }
        if peer.pending + peer.in_flight > MANY_PENDING {
            let problem = format!("{} records wait for the peer", peer.pending + peer.in_flight);
            let hint = "the peer or the path to it is too slow for what is reported";
            found.push(finding(Level::Warning, "lag", pair.clone(), problem, hint));
        }
        let counts = peer.records.unwrap_or_default();
        if counts.too_far_ahead > 0 {
            let problem = format!("{} records came with times far ahead", counts.too_far_ahead);
            let hint = "some node's clock is wrong, or its max_future is greater than here";
            found.push(finding(Level::Critical, "clocks", pair.clone(), problem, hint));
        } else if counts.bad > 0 {
            let problem = format!("{} records broke a rule and were skipped", counts.bad);
            let hint = "the peer is no herd-node, or a faulty one";
            found.push(finding(Level::Warning, "records", pair.clone(), problem, hint));
        }
        let is_known = topology.nodes.iter().any(|entry| entry.name.as_str() == peer.name);
        if !is_known && peer.state() == v1::LinkState::Up {
            let hint = "if it is meant to be a node, add it to the herd file of all nodes";
            let problem = "the peer is not in the herd file";
            found.push(finding(Level::Warning, "links", pair, problem, hint));
        }
    }
    found
}

fn health(node: &Node, status: &v1::GetStatusResponse) -> Vec<Finding> {
    let mut found = Vec::new();
    let store = status.store.clone().unwrap_or_default();
    if !store.healthy {
        let problem = format!("its disk does not take records: {}", store.last_error);
        let hint = "make room, or mend the disk or its permissions; the node goes on by itself";
        found.push(finding(Level::Critical, "store", &*node.name, problem, hint));
    } else if !store.persistent {
        let problem = "keeps locations in memory only";
        let hint = "a herd that stops as a whole forgets; --data-dir keeps what was answered";
        found.push(finding(Level::Ok, "store", &*node.name, problem, hint));
    }
    if store.damaged_frames + store.bad_records + store.missing_files > 0 {
        let problem = format!(
            "found its store damaged when it started: {} pieces, {} records, {} files",
            store.damaged_frames, store.bad_records, store.missing_files
        );
        let hint = "friends have sent what was lost; check the disk";
        found.push(finding(Level::Warning, "store", &*node.name, problem, hint));
    }
    let places = status.places.clone().unwrap_or_default();
    if !places.healthy {
        let problem = format!("{} does not answer: {}", places.provider, places.last_error);
        let hint = "check the key and its quota (docs/places.md); --places-fallback embedded \
                    answers meanwhile";
        found.push(finding(Level::Warning, "places", &*node.name, problem, hint));
    }
    if let Some(tls) = &status.tls {
        if !tls.healthy {
            let problem = format!("does not take its new certificate: {}", tls.last_error);
            let hint = "mend the files; the node tries again when they change";
            found.push(finding(Level::Critical, "certificate", &*node.name, problem, hint));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs() as i64);
        if let Some(end) = tls.not_after
            && end.seconds - now < CERTIFICATE_WARNING
        {
            let days = (end.seconds - now) / (24 * 3600);
            let level = if end.seconds <= now { Level::Critical } else { Level::Warning };
            let problem = format!("its certificate ends in {days} days");
            let hint = "put a new certificate in its place; the node reads it by itself";
            found.push(finding(level, "certificate", &*node.name, problem, hint));
        }
    }
    found
}

fn agreement(up: &[(&Node, &v1::GetStatusResponse)], agreed: bool) -> Option<Finding> {
    let divergent: u64 = up
        .iter()
        .flat_map(|(_, status)| &status.peers)
        .filter_map(|peer| Some(peer.records?.divergent))
        .sum();
    if !agreed {
        let problem = "the nodes do not hold the same, and did not come to in five seconds";
        let hint = "under heavy load this is normal; else see the links above, and give all nodes \
                    the same retention and max_future";
        return Some(finding(Level::Warning, "agreement", "", problem, hint));
    }
    (divergent > 0).then(|| {
        let problem =
            format!("{divergent} records differed between running nodes, and were mended");
        let hint = "give all nodes the same retention and max_future; look at disks and clocks";
        finding(Level::Warning, "agreement", "", problem, hint)
    })
}

fn versions(up: &[(&Node, &v1::GetStatusResponse)]) -> Option<Finding> {
    let versions: BTreeSet<_> = up.iter().map(|(_, status)| &*status.version).collect();
    (versions.len() > 1).then(|| {
        let all = versions.into_iter().collect::<Vec<_>>().join(", ");
        let hint = "fine while you upgrade; finish it";
        finding(Level::Warning, "versions", "", format!("nodes of releases {all}"), hint)
    })
}

#[cfg(test)]
mod tests {
    use herd_cli::CONNECT_TIMEOUT;

    use super::*;

    fn topology(text: &str) -> Topology {
        Topology::parse(text).unwrap()
    }

    fn pair() -> Topology {
        topology(
            "cluster = 'c'\n[[nodes]]\nname = 'A'\naddress = 'h:1'\nfriends = ['B']\n\
             [[nodes]]\nname = 'B'\naddress = 'h:2'\n",
        )
    }

    fn status(name: &str) -> v1::GetStatusResponse {
        v1::GetStatusResponse {
            name: name.into(),
            cluster: "c".into(),
            version: "1".into(),
            ready: true,
            store: Some(v1::StoreStatus { healthy: true, persistent: true, ..Default::default() }),
            places: Some(v1::PlacesStatus { healthy: true, ..Default::default() }),
            ..Default::default()
        }
    }

    fn node(name: &str, answer: Result<v1::GetStatusResponse, Error>) -> Node {
        Asked { name: name.into(), address: "h:1".into(), answer }
    }

    /// The checks that find something, where A is as given and B is well.
    #[track_caller]
    fn troubles(of: v1::GetStatusResponse, agreed: bool) -> Vec<(&'static str, Level)> {
        let asked = [node("A", Ok(of)), node("B", Ok(status("B")))];
        let found = nodes(&pair(), &asked, agreed);
        assert!(found.iter().all(|finding| finding.level == Level::Ok || !finding.hint.is_empty()));
        let found = found.into_iter().filter(|finding| finding.level > Level::Ok);
        found.map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_sound_herd_has_nothing_to_complain_of() {
        assert_eq!(troubles(status("A"), true), []);
    }

    #[test]
    fn each_problem_of_a_herd_file_is_a_finding_of_its_own() {
        let parted = "[[nodes]]\nname = 'A'\naddress = 'h:1'\nfriends = ['X']\n\
                      [[nodes]]\nname = 'B'\naddress = 'h:1'\n";
        let wrong = Topology::parse(parted).unwrap_err();
        let found = unusable(&Failure::Usage(format!("herd.toml: {wrong}")));
        let hints: BTreeSet<_> = found.iter().map(|finding| &finding.hint).collect();
        assert_eq!(
            (found.len(), hints.len()),
            (wrong.to_string().lines().count() - 1, 2),
            "{found:?}"
        );
        let missing = unusable(&Failure::Usage("my.toml: No such file or directory".into()));
        assert!(missing[0].problem.contains("my.toml") && missing[0].hint.contains("--herd-file"));
    }

    #[test]
    fn each_way_of_not_answering_has_its_own_advice() {
        let unreachable = |reason| Error::Unreachable { address: "h:1".into(), reason };
        let mut hints = BTreeSet::new();
        for reason in [
            Unreachable::Refused,
            Unreachable::UnknownHost,
            Unreachable::Silent { after: CONNECT_TIMEOUT },
            Unreachable::NotGrpc,
            Unreachable::WantsTls,
            Unreachable::Tls("expired".into()),
        ] {
            let asked = [node("A", Err(unreachable(reason))), node("B", Ok(status("B")))];
            let found = nodes(&pair(), &asked, true);
            assert_eq!((found[0].check, found[0].level), ("reachable", Level::Critical));
            assert_ne!(found[0].hint, "see the error");
            hints.insert(found[0].hint.clone());
        }
        assert_eq!(hints.len(), 6);
    }

    #[test]
    fn nodes_are_to_be_started_only_where_nothing_listens() {
        let refused = || Error::Unreachable { address: "h:1".into(), reason: Unreachable::Refused };
        let wants_tls =
            || Error::Unreachable { address: "h:1".into(), reason: Unreachable::WantsTls };
        let advice = |first, second| {
            let found = nodes(&pair(), &[node("A", Err(first)), node("B", Err(second))], true);
            let last = found.into_iter().next_back().unwrap();
            assert_eq!((last.check, &*last.problem), ("reachable", "no node can be asked"));
            last.hint
        };
        assert!(advice(refused(), refused()).starts_with("start them"));
        assert!(advice(refused(), wants_tls()).starts_with("do what is said"));
    }

    #[test]
    fn each_mistake_is_found() {
        use Level::{Critical, Warning};
        let peer = v1::PeerStatus {
            name: "B".into(),
            friend: true,
            state: v1::LinkState::Up.into(),
            ..Default::default()
        };
        let with_peer = |peer| v1::GetStatusResponse { peers: vec![peer], ..status("A") };
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let counts = |counts| v1::PeerStatus { records: Some(counts), ..peer.clone() };
        let down = v1::PeerStatus { state: v1::LinkState::Down.into(), ..peer.clone() };
        let ill = v1::StoreStatus { persistent: true, ..Default::default() };
        let damaged = v1::StoreStatus { healthy: true, damaged_frames: 1, ..ill.clone() };
        let over = v1::TlsStatus {
            not_after: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            healthy: true,
            ..Default::default()
        };
        let a = || status("A");
        for (status, expected) in [
            (v1::GetStatusResponse { name: "C".into(), ..a() }, ("identity", Critical)),
            (v1::GetStatusResponse { cluster: "d".into(), ..a() }, ("herd", Critical)),
            (v1::GetStatusResponse { ready: false, ..a() }, ("ready", Warning)),
            (v1::GetStatusResponse { version: "2".into(), ..a() }, ("versions", Warning)),
            (v1::GetStatusResponse { store: Some(ill), ..a() }, ("store", Critical)),
            (v1::GetStatusResponse { store: Some(damaged), ..a() }, ("store", Warning)),
            (v1::GetStatusResponse { places: None, ..a() }, ("places", Warning)),
            (v1::GetStatusResponse { tls: Some(over), ..a() }, ("certificate", Critical)),
            (with_peer(down), ("links", Critical)),
            (
                with_peer(v1::PeerStatus { clock_skew: seconds(-5), ..peer.clone() }),
                ("clocks", Warning),
            ),
            (
                with_peer(v1::PeerStatus { clock_skew: seconds(90), ..peer.clone() }),
                ("clocks", Critical),
            ),
            (
                with_peer(v1::PeerStatus { disagreement: "retention".into(), ..peer.clone() }),
                ("settings", Warning),
            ),
            (with_peer(v1::PeerStatus { pending: 20_000, ..peer.clone() }), ("lag", Warning)),
            (with_peer(v1::PeerStatus { name: "X".into(), ..peer.clone() }), ("links", Warning)),
            (
                with_peer(counts(v1::RecordCounts { too_far_ahead: 1, ..Default::default() })),
                ("clocks", Critical),
            ),
            (
                with_peer(counts(v1::RecordCounts { bad: 1, ..Default::default() })),
                ("records", Warning),
            ),
            (
                with_peer(counts(v1::RecordCounts { divergent: 1, ..Default::default() })),
                ("agreement", Warning),
            ),
        ] {
            assert_eq!(troubles(status, true), [expected]);
        }
        assert_eq!(troubles(a(), false), [("agreement", Warning)]);
    }
}
