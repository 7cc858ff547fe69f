//! What stands before ready nodes in a cluster: one address, behind which each new connection goes to
//! some endpoint. As with a Kubernetes Service, a connection that is open stays where it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The endpoints by the names of their nodes.
type Endpoints = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// The service; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    endpoints: Endpoints,
    _tasks: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoints = Endpoints::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&endpoints)));
        Self { address, endpoints, _tasks: tasks }
    }

    pub(crate) fn add(&self, node: &str, address: SocketAddr) {
        self.endpoints.lock().unwrap().insert(node.into(), address);
    }

    pub(crate) fn remove(&self, node: &str) {
        self.endpoints.lock().unwrap().remove(node);
    }
}

async fn serve(listener: TcpListener, endpoints: Endpoints) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    while let Ok((mut client, _)) = listener.accept().await {
        turn += 1;
        let endpoint = {
            let endpoints = endpoints.lock().unwrap();
            endpoints.values().nth(turn % endpoints.len().max(1)).copied()
        };
        connections.spawn(async move {
            if let Some(endpoint) = endpoint
                && let Ok(mut node) = TcpStream::connect(endpoint).await
            {
                let _ = copy_bidirectional(&mut client, &mut node).await;
            }
        });
    }
}
