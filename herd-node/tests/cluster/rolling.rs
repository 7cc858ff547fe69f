//! A rolling upgrade under load, as a StatefulSet does it: one node after the other leaves the endpoints,
//! is told to stop, ends, and is replaced under its name. Clients notice nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herd_gateway::Gateway;
use herd_gateway::args::Args;
use herd_gateway::settings::Settings;
use herd_node::health::{LIVENESS, READINESS};
use herd_proto::topology::Topology;
use herd_proto::v1::GetRequest;
use herd_proto::v1::locations_client::LocationsClient;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::processes::{Process, all_linked, view};
use crate::server::{NameServer, View};
use crate::service::Service;
use crate::support::{eventually, node};

const NODES: usize = 3;

/// Text clients that talk all the while, and how many things each of them reports about.
const CLIENTS: usize = 8;
const IDS: usize = 5;

/// The preStop pause: until endpoints are known to have changed, which here is at once.
const PRE_STOP: Duration = Duration::from_millis(300);

/// The default of `drain_grace`, and what a busy machine adds.
const GRACE: Duration = Duration::from_secs(12);

/// What a text client saw.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    /// The newest answer about each client.
    newest: BTreeMap<String, String>,
}

fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// One connection for all the while: reports and asks in turn, and insists on each answer.
async fn talk(number: usize, gateway: std::net::SocketAddr, stop: Arc<AtomicBool>) -> Seen {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut seen = Seen::default();
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let (client, time) = (format!("client-{number}-{}", turn % IDS), now());
        turn += 1;
        let question = format!("IAMAT {client} +34.068930-118.445127 {time}\n");
        writer.write_all(question.as_bytes()).await.unwrap();
        let answer = lines.next_line().await.unwrap().expect("the gateway hung up");
        let end = format!(" {client} +34.068930-118.445127 {time}");
        assert!(answer.starts_with("AT ") && answer.ends_with(&end), "{question} {answer}");
        seen.newest.insert(client.clone(), answer);
        writer.write_all(format!("WHATSAT {client} 1 1\n").as_bytes()).await.unwrap();
        let answer = lines.next_line().await.unwrap().expect("the gateway hung up");
        // Whichever node answers may not yet have heard of this report, but of an earlier one.
        let start = answer.split(' ').take(4).collect::<Vec<_>>();
        assert!(matches!(*start, ["AT", _, _, of] if of == client), "{client}: {answer}");
        // The places, to the empty line at their end.
        while !lines.next_line().await.unwrap().expect("the gateway hung up").is_empty() {}
        seen.answers += 2;
        sleep(Duration::from_millis(2)).await;
    }
    seen
}

async fn gateway(service: &Service) -> Gateway {
    let args = Args {
        listen: Some("127.0.0.1:0".into()),
        upstream: vec![service.address.to_string()],
        ..Args::default()
    };
    let settings = Settings::new(&args, &Topology::seed()).unwrap();
    Gateway::start(settings.config).await.unwrap()
}

fn request(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.into() }
}

/// What a probe gets; `None` where nobody answers.
async fn probe(process: &Process, name: &str) -> Option<ServingStatus> {
    let channel = connect(process).await?;
    let answer = HealthClient::new(channel).check(request(name)).await.ok()?;
    Some(answer.into_inner().status())
}

async fn connect(process: &Process) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", process.address)).unwrap();
    endpoint.connect_timeout(Duration::from_secs(2)).connect().await.ok()
}

/// Follows two names from now to the node's end, and tells in which order they changed.
async fn follow(process: &Process) -> JoinSet<Vec<(&'static str, ServingStatus, Duration)>> {
    let mut health = HealthClient::new(connect(process).await.unwrap());
    let started = std::time::Instant::now();
    let mut following = JoinSet::new();
    for name in [READINESS[1], LIVENESS] {
        let mut changes = health.watch(request(name)).await.unwrap().into_inner();
        following.spawn(async move {
            let mut seen = Vec::new();
            while let Ok(Some(change)) = changes.message().await {
                seen.push((name, change.status(), started.elapsed()));
            }
            seen.push((name, ServingStatus::Unknown, started.elapsed()));
            seen
        });
    }
    following
}

/// Replaces one node, and checks that its health says the right thing at each step.
async fn replace(herd: &mut [Process], number: usize, dns: &NameServer, service: &Service) {
    let process = &mut herd[number];
    let following = follow(process).await;
    // The pod is told to go: first it leaves the endpoints, and still answers whoever is there.
    service.remove(&node(number));
    sleep(PRE_STOP).await;
    for name in READINESS.into_iter().chain([LIVENESS]) {
        assert_eq!(probe(process, name).await, Some(ServingStatus::Serving), "{name:?} at preStop");
    }
    process.signal(Signal::TERM);
    let ended = tokio::time::timeout(GRACE, process.ended()).await;
    assert!(ended.expect("it ends within its grace").success(), "it drains and ends well");
    let mut changes: Vec<_> = following.join_all().await.into_iter().flatten().collect();
    changes.sort_by_key(|(.., at)| *at);
    let order: Vec<_> = changes.iter().map(|(name, status, _)| (*name, *status)).collect();
    let not_ready = order.iter().position(|c| *c == (READINESS[1], ServingStatus::NotServing));
    let not_alive = order.iter().position(|c| *c == (LIVENESS, ServingStatus::Unknown));
    assert!(not_ready.is_some() && not_ready < not_alive, "{order:?}");
    let dead = (LIVENESS, ServingStatus::NotServing);
    assert!(!order.contains(&dead), "whoever drains is not to be killed for it: {order:?}");
    // The new pod has the old one's name. It lives before it is ready, and is ready once it has
    // heard its friends.
    let address = process.address;
    *process = Process::start_at(address, number, dns);
    let alive = async || probe(&herd[number], LIVENESS).await;
    eventually(alive, |status| *status == Some(ServingStatus::Serving)).await;
    for name in READINESS {
        let ready = async || probe(&herd[number], name).await;
        eventually(ready, |status| *status == Some(ServingStatus::Serving)).await;
    }
    service.add(&node(number), address);
}

#[tokio::test]
async fn a_rolling_upgrade_under_load_fails_no_call_and_loses_no_report() {
    let (dns, service) = (NameServer::start(View::Nobody).await, Service::start().await);
    let mut herd: Vec<_> = (0..NODES).map(|number| Process::start(number, &dns)).collect();
    dns.now_says(view(&herd));
    all_linked(&herd).await;
    for (number, process) in herd.iter().enumerate() {
        service.add(&node(number), process.address);
    }
    let gateway = gateway(&service).await;
    let (_, text) = gateway.addresses()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(talk(number, text, Arc::clone(&stop)));
    }
    for number in 0..NODES {
        replace(&mut herd, number, &dns, &service).await;
        assert!(clients.try_join_next().is_none(), "no client gives up");
    }
    all_linked(&herd).await;
    stop.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    let answers = seen.iter().map(|seen| seen.answers).sum::<u64>();
    assert!(answers > 100, "{answers} answers are no load");
    let newest: BTreeMap<_, _> = seen.into_iter().flat_map(|seen| seen.newest).collect();
    assert_eq!(newest.len(), CLIENTS * IDS);
    for process in &herd {
        let mut locations = LocationsClient::new(connect(process).await.unwrap());
        for (client, answer) in &newest {
            let asked = GetRequest { client_id: client.clone() };
            let known = async || {
                let location = locations.get(asked.clone()).await.ok()?.into_inner().location?;
                let time = location.time?;
                Some(format!("{}.{:09}", time.seconds, time.nanos))
            };
            let time = answer.rsplit(' ').next().map(str::to_owned);
            eventually(known, |known| *known == time).await;
        }
    }
    assert_eq!(gateway.stop().await.connections_cut, 0);
}
