//! Nodes as hosts of the simulated network.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use herd_node::link::Connect;
use herd_node::shared::Shared;
use herd_node::{Config, Node, Settings};
use herd_proto::NodeName;
use herd_proto::topology::Topology;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use turmoil::Builder;
use turmoil::net::{TcpListener, TcpStream};

use crate::driver::{self, Faults};

/// How many nodes there are.
pub(crate) const NODES: usize = 5;

/// Their friendships, as in the herd of the seed: every node has two or three.
pub(crate) const EDGES: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)];

/// Where each node serves, on its own host.
const PORT: u16 = 50051;

/// How finely time passes. Coarser than the network's delays, and a hundred times finer than a heartbeat.
const TICK: Duration = Duration::from_millis(10);

/// Longest that a schedule and its healing take, in virtual time.
const LONGEST: Duration = Duration::from_mins(5);

/// What the driver of a schedule shares with the nodes.
#[derive(Default)]
pub(crate) struct Herd {
    /// The state of each node that runs.
    pub(crate) nodes: RefCell<[Option<Arc<Shared>>; NODES]>,
    /// The node to be killed and started anew.
    pub(crate) bounce: Cell<Option<usize>>,
    /// What has happened so far.
    pub(crate) faults: RefCell<Faults>,
}

/// The name of a node's host.
pub(crate) fn host(node: usize) -> String {
    format!("n{node}")
}

/// Runs the schedule of one seed to its end and tells which faults it brought about.
pub(crate) fn simulate(seed: u64) -> Faults {
    let mut sim = Builder::new()
        .rng_seed(seed)
        .enable_random_order()
        .tick_duration(TICK)
        .simulation_duration(LONGEST)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    let herd = Rc::new(Herd::default());
    for node in 0..NODES {
        let herd = Rc::clone(&herd);
        sim.host(host(node), move || serve(node, Rc::clone(&herd)));
    }
    sim.client("driver", driver::drive(seed, Rc::clone(&herd)));
    while !sim.step().unwrap() {
        if let Some(node) = herd.bounce.take() {
            herd.nodes.borrow_mut()[node] = None;
            sim.bounce(host(node));
        }
    }
    herd.faults.take()
}

async fn serve(node: usize, herd: Rc<Herd>) -> turmoil::Result {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
    let listener = TcpListener::bind(address).await?;
    let mut running =
        Node::start_over(config(node), address, incoming(listener), connect()).await?;
    herd.nodes.borrow_mut()[node] = Some(Arc::clone(running.shared()));
    Err(running.failed().await.into())
}

fn config(node: usize) -> Config {
    let name = host(node);
    let file = format!("cluster = 'test'\n[[nodes]]\nname = '{name}'\naddress = '127.0.0.1:0'");
    let topology = Topology::parse(&file).unwrap();
    let own = NodeName::parse(&name).unwrap();
    let mut config = Config::new(&topology, &own, Settings::default()).unwrap();
    config.friends = EDGES
        .iter()
        .filter(|&&(a, b)| a == node || b == node)
        .map(|&(a, b)| host(if a == node { b } else { a }))
        .map(|friend| (NodeName::parse(&friend).unwrap(), format!("{friend}:{PORT}")))
        .collect();
    config
}

fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Socket>> + Send {
    stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Socket(stream));
        Some((accepted, listener))
    })
}

/// Opens connections over the simulated network.
pub(crate) fn connect() -> Connect {
    Arc::new(|_friend, endpoint| {
        let connector = tower::service_fn(async |uri: Uri| {
            let host = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(PORT));
            TcpStream::connect(host).await.map(TokioIo::new)
        });
        Box::pin(async move { endpoint.connect_with_connector(connector).await })
    })
}

/// The address of a node, for a client on the simulated network.
pub(crate) fn url(node: usize) -> String {
    format!("http://{}:{PORT}", host(node))
}

/// A connection that a node accepted.
struct Socket(TcpStream);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
