//! Herd files and variables say what the programs understand, and ports agree.

use std::collections::BTreeSet;

use clap::{Args as _, Command, CommandFactory as _};
use herd_node::telemetry::LogSettings;
use herd_proto::topology::Topology;

use super::files::{container, deploy, document, documents, gateway, herd, node, port, text};

const NODE: &str = "base/node/statefulset.yaml";
const GATEWAY: &str = "base/herd/gateway.yaml";

#[test]
fn the_base_herd_file_suits_nodes_that_dns_names_and_gateways_for_them() {
    let herd = herd("base/herd/herd.toml");
    let (statefulset, deployment) = (document(NODE), document(GATEWAY));
    let config = node(&herd, "herd-node-17");
    let grpc = port(container(&statefulset), "grpc");
    assert_eq!(u64::from(config.listen.port()), grpc);
    assert!(config.listen.ip().is_unspecified());
    let admin = u64::from(config.admin.unwrap().port());
    assert_eq!(admin, port(container(&statefulset), "admin"));
    let services = documents("base/herd/node-services.yaml");
    let dns = config.peers_dns.unwrap();
    let headless = services.iter().find(|service| service["spec"]["clusterIP"] == "None").unwrap();
    assert_eq!(headless["metadata"]["name"], dns.domain());
    assert_eq!(headless["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(statefulset["spec"]["serviceName"], dns.domain());
    assert!(dns.name.starts_with(&format!(
        "_{}._tcp.",
        headless["spec"]["ports"][0]["name"].as_str().unwrap()
    )));
    let gateway = gateway(&herd);
    let listen = u64::from(gateway.ports[0].listen.port());
    assert_eq!(listen, port(container(&deployment), "text"));
    let upstream: Vec<_> = gateway.nodes.iter().map(|node| &*node.address).collect();
    assert_eq!(upstream, [format!("herd-node:{grpc}")]);
    assert!(services.iter().any(|service| {
        service["metadata"]["name"] == "herd-node" && service["spec"]["ports"][0]["port"] == grpc
    }));
}

#[test]
fn the_named_herds_have_the_graph_of_the_original() {
    let seed = Topology::seed();
    for path in ["overlays/local/herd.toml", "local/herd.toml"] {
        let herd = herd(path);
        for (ours, original) in herd.nodes.iter().zip(&seed.nodes) {
            assert_eq!((&ours.name, &ours.friends), (&original.name, &original.friends), "{path}");
            let config = node(&herd, ours.name.as_str());
            assert!(config.listen.ip().is_unspecified(), "{path}: others must reach it");
            let text = |node: &herd_proto::topology::NodeEntry| node.text.unwrap().port();
            assert_eq!(text(ours), text(original), "{path}");
        }
        assert_eq!(herd.nodes.len(), seed.nodes.len());
        assert_eq!(gateway(&herd).ports.len(), seed.nodes.len());
    }
}

#[test]
fn each_named_node_of_the_local_overlay_is_at_its_address() {
    for node in herd("overlays/local/herd.toml").nodes {
        let lower = node.name.as_str().to_lowercase();
        assert_eq!(node.address, format!("herd-node-{lower}-0.herd-node-peers:50051"));
        let kustomization = document(&format!("overlays/local/nodes/{lower}/kustomization.yaml"));
        assert_eq!(kustomization["nameSuffix"], format!("-{lower}"));
        let patch = kustomization["patches"][0]["patch"].as_str().unwrap();
        assert!(patch.contains(&format!("name: HERD_NAME\n    value: {}\n", node.name)), "{patch}");
    }
    // The patch counts on this place in the list.
    let statefulset = document(NODE);
    assert_eq!(container(&statefulset)["env"][1]["name"], "HERD_NAME");
}

/// The HERD_* variables that the programs read.
fn known() -> BTreeSet<String> {
    let node = LogSettings::augment_args(herd_node::Settings::augment_args(Command::new("node")));
    let gateway = herd_gateway::args::Args::command();
    let variables = [node, gateway].into_iter().flat_map(|command| {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        variables.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    // Of herd-node's own flags; the tests of `--help` hold them.
    variables.chain(["HERD_NAME", "HERD_FILE", "HERD_LISTEN"].map(Into::into)).collect()
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_variable_that_is_set_is_one_that_a_program_reads() {
    let known = known();
    let word = regex::Regex::new(r"\bHERD_[A-Z_]+\b").unwrap();
    let mut seen = BTreeSet::new();
    for path in files(&deploy()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for name in word.find_iter(&text).map(|name| name.as_str().to_owned()) {
            // Of the manifests alone, to make up another.
            if name == "HERD_NAMESPACE" {
                continue;
            }
            assert!(known.contains(&name), "{}: {name}", path.display());
            seen.insert(name);
        }
    }
    for name in ["HERD_PEERS_DNS", "HERD_DATA_DIR", "HERD_TLS_CA", "HERD_TOKENS_FILE"] {
        assert!(seen.contains(name), "{name} is set nowhere");
    }
}

#[test]
fn what_mtls_and_persistence_mount_is_what_they_set() {
    let mount = regex::Regex::new(r"mountPath: (\S+)").unwrap();
    let path_value = regex::Regex::new(r"value: (/\S+)").unwrap();
    for path in ["components/mtls", "components/persistence", "components/tokens"] {
        let text = text(&format!("{path}/kustomization.yaml"));
        let mounts: Vec<_> = mount.captures_iter(&text).map(|found| found[1].to_owned()).collect();
        let mut count = 0;
        for value in path_value.captures_iter(&text) {
            assert!(mounts.iter().any(|mount| value[1].starts_with(mount)), "{}", &value[1]);
            count += 1;
        }
        assert!(count > 0, "{path} sets no path");
    }
    let certificates = documents("components/mtls/certificates.yaml");
    let of_node = certificates.iter().find(|document| {
        document["kind"] == "Certificate" && document["metadata"]["name"] == "herd-node"
    });
    let statefulset = document(NODE);
    let variables = container(&statefulset)["env"].as_array().unwrap();
    let peers = variables.iter().find(|v| v["name"] == "HERD_PEERS_DNS").unwrap()["value"].clone();
    let domain = peers.as_str().unwrap().replace("$(HERD_NAMESPACE)", "herd");
    let domain = domain.trim_start_matches("_grpc._tcp.");
    assert_eq!(of_node.unwrap()["spec"]["dnsNames"][0], format!("*.{domain}"));
}
