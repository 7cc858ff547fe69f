//! The files of deploy/, read.

use std::fs;
use std::path::{Path, PathBuf};

use herd_node::{Config, Settings};
use herd_proto::NodeName;
use herd_proto::topology::Topology;
use serde_json::Value;

/// The folder deploy/.
pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A file of it, by its path.
pub(crate) fn text(path: &str) -> String {
    let path = deploy().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
pub(crate) fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of a YAML file.
pub(crate) fn document(path: &str) -> Value {
    let [document] = <[Value; 1]>::try_from(documents(path)).unwrap();
    document
}

/// The one container of a workload.
pub(crate) fn container(workload: &Value) -> &Value {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The number of a container's port.
pub(crate) fn port(container: &Value, name: &str) -> u64 {
    let ports = container["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == name);
    port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"].as_u64().unwrap()
}

/// A herd file of deploy/.
pub(crate) fn herd(path: &str) -> Topology {
    Topology::parse(&text(path)).unwrap_or_else(|problems| panic!("{path}: {problems}"))
}

/// What a node makes of a herd file.
pub(crate) fn node(herd: &Topology, name: &str) -> Config {
    let name = NodeName::parse(name).unwrap();
    Config::new(herd, &name, Settings::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What a gateway makes of a herd file.
pub(crate) fn gateway(herd: &Topology) -> herd_gateway::Config {
    let args = herd_gateway::args::Args::default();
    herd_gateway::settings::Settings::new(&args, herd).unwrap().config
}
