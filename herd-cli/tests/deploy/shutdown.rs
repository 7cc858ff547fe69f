//! Probes ask for what there is, and whoever stops has the time it takes.

use std::time::Duration;

use herd_node::health::{LIVENESS, READINESS};
use serde_json::Value;

use super::files::{container, document, gateway, herd, node, port, text};

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap())
}

fn has_time_to_stop(workload: &Value, drain: Duration) {
    let pause = seconds(&container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = seconds(&workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
    assert!(pause >= Duration::from_secs(5), "endpoints need a moment");
    // The pause counts into the grace, and the process needs a moment to start draining and to end.
    assert!(pause + drain + Duration::from_secs(5) <= grace, "{pause:?} + {drain:?} > {grace:?}");
}

#[test]
fn the_nodes_probes_ask_three_questions_and_its_drain_fits() {
    let statefulset = document("base/node/statefulset.yaml");
    let container = container(&statefulset);
    let probes = [
        ("startupProbe", READINESS[0]),
        ("readinessProbe", READINESS[1]),
        ("livenessProbe", LIVENESS),
    ];
    for (probe, name) in probes {
        assert_eq!(container[probe]["grpc"]["service"], name, "{probe}");
        assert_eq!(container[probe]["grpc"]["port"], port(container, "grpc"), "{probe}");
    }
    has_time_to_stop(&statefulset, node(&herd("base/herd/herd.toml"), "herd-node-0").drain_grace);
    let named = herd("overlays/local/herd.toml");
    has_time_to_stop(&statefulset, node(&named, "Clark").drain_grace);
}

#[test]
fn the_gateways_probes_ask_its_admin_port_and_its_drain_fits() {
    let deployment = document("base/herd/gateway.yaml");
    for (probe, path) in
        [("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
    {
        let asked = &container(&deployment)[probe]["httpGet"];
        assert_eq!((&asked["port"], &asked["path"]), (&"admin".into(), &path.into()), "{probe}");
    }
    for path in ["base/herd/herd.toml", "overlays/local/herd.toml"] {
        let config = gateway(&herd(path));
        has_time_to_stop(&deployment, config.drain_grace);
        let admin = config.admin.unwrap();
        assert_eq!(u64::from(admin.port()), port(container(&deployment), "admin"), "{path}");
        assert!(admin.ip().is_unspecified(), "{path}: a kubelet comes from outside");
    }
}

#[test]
fn compose_and_systemd_give_as_much_time() {
    let herd = herd("local/herd.toml");
    let margin = Duration::from_secs(5);
    let (node, gateway) = (node(&herd, "Clark").drain_grace, gateway(&herd).drain_grace);
    let compose = document("local/compose.yaml");
    let grace = |service: &str| {
        let text = compose["services"][service]["stop_grace_period"].as_str().unwrap();
        humantime::parse_duration(text).unwrap()
    };
    assert!(grace("clark") >= node + margin);
    assert!(grace("gateway") >= gateway + margin);
    for (unit, drain) in [("herd-node", node), ("herd-gateway", gateway)] {
        let unit = text(&format!("local/systemd/{unit}@.service"));
        let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
        assert!(humantime::parse_duration(stop).unwrap() >= drain + margin);
    }
}
