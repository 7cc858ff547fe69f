use herd_gateway::args::Args;
use herd_node::{Config, Settings};
use herd_proto::topology::Topology;

/// Configuration: whatever a herd file says, all its problems are told in words, and one without
/// any is a herd in which every node can be configured or says why not.
///
/// # Panics
/// Where that does not hold.
pub fn config(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut herd = match Topology::parse(text) {
        Ok(herd) => herd,
        Err(problems) => {
            assert!(!problems.is_empty() && !problems.to_string().is_empty());
            return;
        }
    };
    // Files that a fuzzer names are not ours to read.
    herd.node_settings.remove("peer_token_file");
    herd.node_settings.remove("places");
    assert!(!herd.nodes.is_empty());
    for node in &herd.nodes {
        assert!(!node.friends.contains(&node.name));
        for friend in &node.friends {
            let entry = herd.node(friend);
            assert!(entry.is_some_and(|entry| entry.friends.contains(&node.name)));
        }
        match Config::new(&herd, &node.name, Settings::default()) {
            Ok(config) => assert_eq!(config.friends.len(), node.friends.len()),
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }
    }
    match herd_gateway::settings::Settings::new(&Args::default(), &herd) {
        Ok(settings) => assert!(!settings.config.ports.is_empty()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}
