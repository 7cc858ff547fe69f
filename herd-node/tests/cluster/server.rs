//! A small name server on loopback, over UDP and TCP, that says whatever a test wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Where the SRV records are, as under a headless Service.
pub(crate) const PEERS: &str = "_grpc._tcp.herd-node-peers.herd.svc.cluster.local";

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum View {
    /// These nodes.
    Names(Vec<(String, SocketAddr)>),
    /// NXDOMAIN, as for a Service without endpoints.
    Nobody,
    /// SERVFAIL, as from a server that has lost its own source.
    Broken,
    /// Nothing at all.
    Silence,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    view: Arc<Mutex<View>>,
    /// Answers that were too long for UDP and were asked for again over TCP.
    over_tcp: Arc<Mutex<u32>>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    pub(crate) async fn start(view: View) -> Self {
        // The same port for both, which somebody else may have for one of them.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (view, over_tcp) = (Arc::new(Mutex::new(view)), Arc::new(Mutex::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&view)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&view), Arc::clone(&over_tcp)));
        Self { address, view, over_tcp, _tasks: tasks }
    }

    /// Answers so from now on.
    pub(crate) fn now_says(&self, view: View) {
        *self.view.lock().unwrap() = view;
    }

    pub(crate) fn asked_over_tcp(&self) -> u32 {
        *self.over_tcp.lock().unwrap()
    }
}

async fn serve_udp(socket: UdpSocket, view: Arc<Mutex<View>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let view = view.lock().unwrap().clone();
        let Some(answer) = answer(&buffer[..length], &view) else { continue };
        let mut bytes = answer.to_vec().unwrap();
        // As servers do that take no part in EDNS.
        if bytes.len() > 512 {
            bytes = answer.truncate().to_vec().unwrap();
        }
        let _ = socket.send_to(&bytes, from).await;
    }
}

async fn serve_tcp(listener: TcpListener, view: Arc<Mutex<View>>, asked: Arc<Mutex<u32>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (view, asked) = (Arc::clone(&view), Arc::clone(&asked));
        connections.spawn(async move {
            let _ = converse(stream, &view, &asked).await;
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    view: &Mutex<View>,
    asked: &Mutex<u32>,
) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        *asked.lock().unwrap() += 1;
        let view = view.lock().unwrap().clone();
        if let Some(answer) = answer(&question, &view) {
            let bytes = answer.to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await?;
            stream.write_all(&bytes).await?;
        }
    }
}

fn host(node: &str) -> Name {
    Name::from_ascii(format!("{node}.herd-node-peers.herd.svc.cluster.local.")).unwrap()
}

fn answer(question: &[u8], view: &View) -> Option<Message> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let nodes = match view {
        View::Silence => return None,
        View::Broken => {
            answer.metadata.response_code = ResponseCode::ServFail;
            return Some(answer);
        }
        View::Nobody => &[][..],
        View::Names(nodes) => nodes,
    };
    let record = |data| Record::from_rdata(query.name.clone(), 5, data);
    if query.query_type == RecordType::SRV && query.name.to_ascii().trim_end_matches('.') == PEERS {
        for (node, address) in nodes {
            answer.add_answer(record(RData::SRV(SRV::new(0, 1, address.port(), host(node)))));
        }
    } else if query.query_type == RecordType::A
        && let Some((_, address)) = nodes.iter().find(|(node, _)| host(node) == query.name)
    {
        let IpAddr::V4(ip) = address.ip() else { return None };
        answer.add_answer(record(RData::A(A(ip))));
    }
    if answer.answers.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    Some(answer)
}

/// The address of a node that serves on this port.
pub(crate) fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
