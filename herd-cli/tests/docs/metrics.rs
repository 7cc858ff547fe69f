//! Metrics, by name, from what the programs tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::exposition::Program;

const TOP: &str = "\
# Metrics

What `/metrics` tells at the admin port of nodes and gateways, in the OpenMetrics text format; Prometheus asks for
it by itself. Made from what running programs tell, with everything on that is optional; a test keeps it so. Counters
end in `_total`, and start from 0 with the program. What a places provider was asked is told once it was asked:
[places.md](places.md#watching-it) has those. [deploy/README.md](../deploy/README.md) says which to watch, and
`deploy/components/monitoring` has the alerts and a dashboard.

What to look at first:

- Is the herd whole? `herd_peers{state=\"down\"}` is 0, and `herd_digest` is the same on all nodes at rest.
- How far is a friend behind? `herd_peer_lag_seconds` and `herd_peer_lag_records`, each by `peer`.
- How long does a report take to be everywhere? `herd_gossip_propagation_seconds`, measured at each node for every
  record, from the origin's clock to its own: clocks that differ show in it, and `herd_peer_clock_skew_seconds`
  tells by how much. `herd_gossip_hop_latency_seconds` is that of one link, by one clock.
- What do callers get? `grpc_server_handling_seconds` by method, `grpc_server_handled_total` by status, and
  `herd_location_age_seconds`: how old locations were that were asked for.

The `grpc_server_*` names are those of the Prometheus interceptors for Go and Java, so that dashboards for these fit;
OpenTelemetry calls the times `rpc.server.call.duration`. Nothing is ever dropped from a queue to a peer, so there is no
counter of that: a client that changes while it waits is told once, where it is then.
";

const BOTTOM: &str = "
## Slow calls, and the log

A call with one answer that takes longer than `slow_call` (1 s) is a line of the node's log, one a second at most,
with the method, the status, the request id that its caller was told, and the trace id if the caller sent a W3C
`traceparent`. A gateway tells likewise of commands whose answer takes a node longer than `slow_command` (1 s), with
the client's address, the node that answered and the request id by which that node knows the call:

```text
WARN slow call id=60ef9b636f35a540 method=herd.v1.Places/Search code=Ok millis=1207 unsaid=0
WARN slow command command=\"whatsat\" client=192.0.2.7 lines=1 outcome=\"answered\" node=Bailey id=\"60ef9b636f35a540\" millis=1209 unsaid=0
```

Lines that came together are one command here, since they are answered together; `lines` says how many there were.

What programs log can be changed while they run, until they end. It needs the role `admin` where there are tokens:

```sh server
herd-cli up
```

```sh
herd-cli log debug
herd-cli --node Clark log herd_node::link=trace,info
herd-cli log --reset
```

Nodes, gateways and `herd-cli up` also take signals: `kill -USR1` for `debug`, `kill -USR2` to go back.
";

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
    by: BTreeSet<Program>,
}

pub(crate) fn page(expositions: &[(Program, String)]) -> String {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (program, text) in expositions {
        for line in text.lines() {
            read(&mut families, line, *program);
        }
    }
    let mut page = TOP.to_owned();
    let titles = [
        ("Nodes", BTreeSet::from([Program::Node])),
        ("Gateways", BTreeSet::from([Program::Gateway])),
        ("Both", BTreeSet::from([Program::Node, Program::Gateway])),
    ];
    for (title, by) in titles {
        let _ = write!(page, "\n## {title}\n\n| name | type | labels | |\n|---|---|---|---|\n");
        for (name, family) in families.iter().filter(|(_, family)| family.by == by) {
            let Family { help, kind, labels, .. } = family;
            let suffix = match &**kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            let _ = writeln!(page, "| `{name}{suffix}` | {kind} | {labels} | {help} |");
        }
    }
    page + BOTTOM
}

/// One line of an exposition: help, type, or a sample, whose labels are of the family named before.
fn read(families: &mut BTreeMap<String, Family>, line: &str, program: Program) {
    let words: Vec<_> = line.splitn(4, ' ').collect();
    match words[..] {
        ["#", "HELP", name, help] => {
            let family = families.entry(name.to_owned()).or_default();
            family.help = help.trim_end_matches('.').into();
            family.by.insert(program);
        }
        ["#", "TYPE", name, kind] => {
            families.entry(name.to_owned()).or_default().kind = kind.into();
        }
        _ => {
            let Some((sample, labels)) = line.split_once('{') else { return };
            let (labels, _) = labels.split_once('}').unwrap();
            let family = families.iter_mut().filter(|(name, _)| sample.starts_with(&***name));
            let (_, family) = family.max_by_key(|(name, _)| name.len()).unwrap();
            let names = labels.split("\",").filter_map(|label| label.split_once('='));
            let names = names.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            family.labels.extend(names);
        }
    }
}
