//! A gateway in this process, and text clients for it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use herd_edge::TlsFiles;
use herd_gateway::{Config, Gateway, Limits, TextPort, Upstream, UpstreamNode};
use herd_proto::NodeName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

/// Whatever takes this long hangs. Far above any limit of the gateway, because machines that run
/// tests are busy.
pub(crate) const HANG: Duration = Duration::from_secs(40);

/// One port, bound to the node at `address`.
pub(crate) fn named(address: SocketAddr) -> Config {
    let name = NodeName::parse("Bailey").unwrap();
    let nodes = vec![UpstreamNode { name: name.clone(), address: address.to_string() }];
    Config { nodes, ..config(Upstream::Named(name)) }
}

/// One port for any of the nodes at `addresses`.
pub(crate) fn any_of(addresses: &[SocketAddr]) -> Config {
    let node = |(index, address): (usize, &SocketAddr)| UpstreamNode {
        name: NodeName::parse(&format!("node-{index}")).unwrap(),
        address: address.to_string(),
    };
    let nodes = addresses.iter().enumerate().map(node).collect();
    Config { nodes, ..config(Upstream::AnyHealthy) }
}

/// [`named`] with an admin port.
pub(crate) fn with_admin(node: SocketAddr) -> Config {
    Config { admin: Some("127.0.0.1:0".parse().unwrap()), ..named(node) }
}

fn config(upstream: Upstream) -> Config {
    Config {
        ports: vec![TextPort { listen: (Ipv4Addr::LOCALHOST, 0).into(), upstream }],
        nodes: Vec::new(),
        friends: Vec::new(),
        admin: None,
        limits: Limits::default(),
        drain_grace: HANG,
        text_tls: None,
        proxy_protocol: false,
        slow_command: Some(Config::SLOW_COMMAND),
        tls: TlsFiles::default(),
        token_file: None,
        token: None,
        log_lines: None,
    }
}

/// Starts a gateway and returns it with the address of its first port.
pub(crate) async fn start(config: Config) -> (Gateway, SocketAddr) {
    let gateway = Gateway::start(config).await.unwrap();
    let address = gateway.addresses()[0].1;
    (gateway, address)
}

/// Sends `input` on a connection of its own, half-closes and reads to the end.
pub(crate) async fn ask(gateway: SocketAddr, input: impl AsRef<[u8]>) -> String {
    let answer = ask_bytes(gateway, input.as_ref()).await;
    String::from_utf8(answer).unwrap()
}

/// [`ask`] for answers that need not be text. Reads while it writes, as `nc` does.
pub(crate) async fn ask_bytes(gateway: SocketAddr, input: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = TcpStream::connect(gateway).await.unwrap().into_split();
    let mut answer = Vec::new();
    let exchange = async {
        let writing = async {
            writer.write_all(input).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        tokio::join!(writing, async { reader.read_to_end(&mut answer).await.unwrap() });
    };
    in_time("an answer and the end of the connection", exchange).await;
    answer
}

/// A connection that stays open.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(gateway: SocketAddr) -> Self {
        Self(TcpStream::connect(gateway).await.unwrap())
    }

    pub(crate) async fn send(&mut self, input: impl AsRef<[u8]>) {
        self.0.write_all(input.as_ref()).await.unwrap();
    }

    /// Reads exactly as much as `expected` is long, and compares.
    pub(crate) async fn expect(&mut self, expected: &str) {
        let mut answer = vec![0; expected.len()];
        in_time(expected, self.0.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected);
    }

    /// Whether the other side is known to have ended the connection. Nothing unread may be there.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.0.try_read(&mut [0]), Ok(0))
    }

    /// Waits until the other side ends the connection, one way or the other.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = in_time("the end", self.0.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    time::timeout(HANG, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Polls until `holds` does.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        time::sleep(Duration::from_millis(5)).await;
    }
}

/// An IAMAT line whose answer by Bailey is [`recorded`].
pub(crate) fn iamat(client: &str) -> String {
    format!("IAMAT {client} +34.068930-118.445127 1700000000\n")
}

pub(crate) fn recorded(client: &str) -> String {
    recorded_by("Bailey", client)
}

pub(crate) fn recorded_by(node: &str, client: &str) -> String {
    format!("AT {node} +1.250000000 {client} +34.068930-118.445127 1700000000\n")
}

/// Asks the admin port; the whole answer, head included.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks until the answer has a part.
pub(crate) async fn until(address: SocketAddr, path: &str, part: &str) -> String {
    in_time(part, async {
        loop {
            let answer = get(address, path).await;
            if answer.contains(part) {
                return answer;
            }
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}
