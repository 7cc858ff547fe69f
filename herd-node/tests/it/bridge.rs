//! A node befriends servers of an original herd through its gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use herd_edge::TlsFiles;
use herd_gateway::{Gateway, Limits, TextFriend, TextPort, Upstream, UpstreamNode};
use herd_node::Node;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{ForgetRequest, GetRequest, Location};
use herd_proto::{NodeName, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::{channel, eventually, locations, report, start, status};

/// Where the text servers of these tests are, so that they can be told from clients.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A server that reads one message of each connection, and keeps the AT lines.
struct TextServer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl TextServer {
    fn start(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::default());
        let mut serving = JoinSet::new();
        serving.spawn(Self::serve(listener, Arc::clone(&heard)));
        Self { address, heard, _serving: serving }
    }

    async fn serve(listener: TcpListener, heard: Arc<Mutex<Vec<String>>>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut message = [0; 1024];
            let length = stream.read(&mut message).await.unwrap();
            heard.lock().unwrap().push(String::from_utf8(message[..length].to_vec()).unwrap());
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// That of a gateway of `node` with these text friends.
fn gateway_config(node: &Node, friends: &[SocketAddr]) -> herd_gateway::Config {
    let name = NodeName::parse("Bailey").unwrap();
    let of = Upstream::Named(name.clone());
    let friend = |address: &SocketAddr| TextFriend { of: of.clone(), address: address.to_string() };
    herd_gateway::Config {
        ports: vec![TextPort { listen: (Ipv4Addr::LOCALHOST, 0).into(), upstream: of.clone() }],
        nodes: vec![UpstreamNode { name, address: node.address().to_string() }],
        friends: friends.iter().map(friend).collect(),
        admin: None,
        limits: Limits::default(),
        drain_grace: herd_gateway::Config::DRAIN_GRACE,
        text_tls: None,
        proxy_protocol: false,
        slow_command: None,
        tls: TlsFiles::default(),
        token_file: None,
        token: None,
        log_lines: None,
    }
}

/// A gateway of `node` with these text friends, and its text port.
async fn gateway(node: &Node, friends: &[SocketAddr]) -> (Gateway, SocketAddr) {
    let gateway = Gateway::start(gateway_config(node, friends)).await.unwrap();
    let port = gateway.addresses()[0].1;
    (gateway, port)
}

/// Says something from an address and returns the whole answer.
async fn say(from: Ipv4Addr, to: SocketAddr, line: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream: TcpStream = socket.connect(to).await.unwrap();
    stream.write_all(line.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The clock, in the canonical form: nodes do not keep what was received a month ago.
fn now() -> Timestamp {
    SystemTime::now().into()
}

async fn location(node: &Node, client: &str) -> Option<Location> {
    let mut locations = LocationsClient::new(channel(node.address()).await);
    let answer = locations.get(GetRequest { client_id: client.into() }).await;
    answer.ok().and_then(|answer| answer.into_inner().location)
}

#[tokio::test]
async fn a_node_and_text_servers_tell_each_other_and_nothing_goes_in_circles() {
    let node = start("Bailey", &[]).await;
    let bona = TextServer::start((ELSEWHERE, 0).into());
    let clark = TextServer::start((Ipv4Addr::new(127, 0, 0, 3), 0).into());
    let (gateway, port) = gateway(&node, &[bona.address, clark.address]).await;
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let told = eventually(async || bona.heard(), |heard| heard.len() == 1).await;
    let known = location(&node, "kiwi").await.unwrap();
    let client = say(Ipv4Addr::LOCALHOST, port, "WHATSAT kiwi 1 0\n").await;
    assert_eq!(client.lines().next(), Some(told[0].trim_end()), "{known:?}");
    assert!(
        told[0].starts_with("AT Bailey +") && told[0].ends_with(" kiwi +12-118 1700000000.5\n")
    );
    let now = now();
    let line = format!("AT Bona -3.1e-05 emu +012.50-0118 {now} Bona Jaquez\n");
    for _ in 0..2 {
        assert_eq!(say(ELSEWHERE, port, &line).await, "", "friends expect no answer");
    }
    let emu = eventually(async || location(&node, "emu").await, Option::is_some).await.unwrap();
    assert_eq!((&*emu.origin, &*emu.position_text), ("Bona", "+012.50-0118"));
    let canonical = format!("AT Bona -0.000031000 emu +012.50-0118 {now}\n");
    let heard = eventually(async || clark.heard(), |heard| heard.len() == 2).await;
    assert_eq!(heard[1], canonical);
    // Clark tells it on, as a circle of friends would have it. The node says something of its own
    // after that, so that all before it must have been said.
    say(Ipv4Addr::new(127, 0, 0, 3), port, &canonical).await;
    locations(&node).await.report(report("moa")).await.unwrap();
    let heard = eventually(async || bona.heard(), |heard| heard.len() >= 2).await;
    assert!(heard.len() == 2 && heard[1].contains(" moa "), "{heard:?}");
    assert_eq!(gateway.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn lines_of_others_are_no_commands() {
    let node = start("Bailey", &[]).await;
    let bona = TextServer::start((ELSEWHERE, 0).into());
    let (_gateway, port) = gateway(&node, &[bona.address]).await;
    let line = "AT Bona +1 emu +1-1 1700000000\n";
    assert_eq!(say(Ipv4Addr::LOCALHOST, port, line).await, format!("? {line}"));
    // A friend's other lines are a client's.
    let nonsense = "AT Bona soon emu +1-1 1700000000\n";
    assert_eq!(say(ELSEWHERE, port, nonsense).await, format!("? {nonsense}"));
    let own = say(ELSEWHERE, port, "IAMAT kiwi +1-1 1700000000\n").await;
    assert!(own.starts_with("AT Bailey +"), "{own}");
    assert!(location(&node, "emu").await.is_none());
}

#[tokio::test]
async fn what_happens_while_a_friend_is_down_is_told_when_it_is_back_newest_only() {
    let node = start("Bailey", &[]).await;
    let address = TextServer::start((ELSEWHERE, 0).into()).address;
    // The server is gone again.
    let (_gateway, port) = gateway(&node, &[address]).await;
    for time in 1..=5 {
        let line = format!("IAMAT kiwi +1-1 170000000{time}\n");
        assert!(say(Ipv4Addr::LOCALHOST, port, &line).await.starts_with("AT Bailey"));
    }
    // The node has told the bridge all it knows.
    let told =
        async || status(&node).await.peers.first().map(|peer| (peer.pending, peer.in_flight));
    eventually(told, |peer| *peer == Some((0, 0))).await;
    let bona = TextServer::start(address);
    let heard = eventually(async || bona.heard(), |heard| !heard.is_empty()).await;
    assert!(heard[0].ends_with(" kiwi +1-1 1700000005\n"), "{heard:?}");
}

#[tokio::test]
async fn a_forgotten_client_is_known_again_by_a_later_line() {
    let node = start("Bailey", &[]).await;
    let bona = TextServer::start((ELSEWHERE, 0).into());
    let (_gateway, port) = gateway(&node, &[bona.address]).await;
    locations(&node).await.report(report("kiwi")).await.unwrap();
    eventually(async || bona.heard(), |heard| heard.len() == 1).await;
    let request = ForgetRequest { client_id: "kiwi".into(), ..Default::default() };
    locations(&node).await.forget(request).await.unwrap();
    locations(&node).await.report(report("moa")).await.unwrap();
    eventually(async || bona.heard(), |heard| heard.len() == 2).await;
    say(ELSEWHERE, port, "AT Bona +1 kiwi +1-1 1700000001\n").await;
    say(ELSEWHERE, port, &format!("AT Bona +1 emu +1-1 {}\n", now())).await;
    eventually(async || location(&node, "emu").await, Option::is_some).await;
    assert!(location(&node, "kiwi").await.is_none(), "from before it was forgotten");
    let soon = Timestamp::from(SystemTime::now() + Duration::from_mins(1));
    say(ELSEWHERE, port, &format!("AT Bona -60 kiwi +2-2 {soon}\n")).await;
    eventually(async || location(&node, "kiwi").await, Option::is_some).await;
}
