//! What DNS says: which nodes belong to the herd, and where their hosts are.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herd_edge::Lookup;
use herd_proto::NodeName;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

/// Longest wait for one name server, and how often it is asked: together less than the pause until
/// the next look, and than a dial may take.
const TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 2;

/// Asks the system's name servers, or one of the operator's.
///
/// Nodes are found by SRV records (RFC 2782), which carry what a bare address does not: the port, and
/// a host whose first label is the node's name. A headless Kubernetes Service has them
/// for each named port, under `_port._tcp.service`.
pub(crate) struct Dns {
    resolver: TokioResolver,
    /// Where the SRV records are.
    name: String,
}

/// Why there is no answer to work with.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The name servers know of no node.
    Empty,
    /// They do not answer, or with an error.
    Failed(String),
}

impl Dns {
    /// Looks for nodes under `name`, at `server` if there is one.
    ///
    /// # Errors
    /// What is wrong with the system's own configuration, in words.
    pub(crate) fn new(name: &str, server: Option<SocketAddr>) -> Result<Self, String> {
        let mut builder = match server {
            None => Resolver::builder_tokio().map_err(|error| error.to_string())?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (TIMEOUT, ATTEMPTS);
        // What is asked for again is asked because it may have changed.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { resolver, name: name.to_owned() })
    }

    /// The nodes that are named, each with host and port. Targets whose first label is no node's
    /// name are left out.
    ///
    /// # Cancel safety
    /// Dropping the future ends the question.
    pub(crate) async fn nodes(&self) -> Result<Vec<(NodeName, String)>, NoAnswer> {
        let answer = self.resolver.lookup(self.name.as_str(), RecordType::SRV).await;
        let answer = answer.map_err(|error| NoAnswer::from(&error))?;
        let targets = answer.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.target.to_ascii(), srv.port)),
            _ => None,
        });
        let nodes: Vec<_> = targets.filter_map(|(host, port)| node(&host, port)).collect();
        if nodes.is_empty() { Err(NoAnswer::Empty) } else { Ok(nodes) }
    }

    /// Finds the hosts that [`Dns::nodes`] named.
    pub(crate) fn lookup(self: &Arc<Self>) -> Lookup {
        let dns = Arc::clone(self);
        Arc::new(move |host, port| {
            let dns = Arc::clone(&dns);
            Box::pin(async move {
                // They are whole names: nothing is to be appended.
                let answer = dns.resolver.lookup_ip(format!("{host}.")).await;
                let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
                Ok(answer.iter().map(|ip| SocketAddr::new(ip, port)).collect())
            })
        })
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<&NetError> for NoAnswer {
    fn from(error: &NetError) -> Self {
        if error.is_no_records_found() || error.is_nx_domain() {
            Self::Empty
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// The node at an SRV record's target.
fn node(target: &str, port: u16) -> Option<(NodeName, String)> {
    let host = target.trim_end_matches('.');
    let label = host.split('.').next()?;
    Some((NodeName::parse(label).ok()?, format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_by_the_first_label_of_its_host() {
        let (name, address) = node("herd-node-0.peers.herd.svc.cluster.local.", 50051).unwrap();
        assert_eq!(name.as_str(), "herd-node-0");
        assert_eq!(address, "herd-node-0.peers.herd.svc.cluster.local:50051");
        assert!(node(".", 1).is_none(), "RFC 2782: the service is decidedly not available");
        assert!(node("b\\195\\188ro.example.", 1).is_none());
    }
}
