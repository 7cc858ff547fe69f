//! Whatever DNS answers, it is a hint: it never costs a link, and in the end all are linked.

use herd_edge::testing::TestCa;
use herd_node::Node;
use herd_node::herd::membership::FULL_MESH;
use herd_node::settings::TlsSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{NameServer, View, here};
use crate::support::{
    clients, entries, eventually, friends, linked, node, report, start, start_with,
};

/// What the admin port says at `path`.
async fn get(node: &Node, path: &str) -> String {
    let mut stream = TcpStream::connect(node.admin_address().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn partial_and_empty_answers_link_whoever_is_named_and_later_ones_the_rest() {
    // Each has a name server of its own, as pods may ask different ones.
    let mut servers = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..3 {
        servers.push(NameServer::start(View::Nobody).await);
        nodes.push(start(number, &servers[number]).await);
    }
    let all = entries(&nodes);
    // The first hears of the second alone, the second of the third, the third of nobody.
    servers[0].now_says(View::Names(all[1..2].to_vec()));
    servers[1].now_says(View::Names(all[1..].to_vec()));
    eventually(
        async || (linked(&nodes[0]), linked(&nodes[1])),
        |(first, second)| *first == [node(1)] && *second == [node(2)],
    )
    .await;
    report(nodes[0].address(), "kiwi").await;
    eventually(async || clients(&nodes[2]), |clients| *clients == 1).await;
    for server in &servers {
        server.now_says(View::Names(all.clone()));
    }
    eventually(
        async || nodes.iter().map(linked).collect::<Vec<_>>(),
        |linked| linked.iter().all(|linked| linked.len() == 2),
    )
    .await;
}

#[tokio::test]
async fn a_name_server_that_fails_empties_or_falls_silent_costs_no_link_and_is_told_of() {
    let server = NameServer::start(View::Silence).await;
    let nodes = [start(0, &server).await, start(1, &server).await];
    let all = View::Names(entries(&nodes));
    server.now_says(all.clone());
    let both = async || nodes.iter().map(linked).collect::<Vec<_>>();
    eventually(both, |linked| linked.iter().all(|linked| linked.len() == 1)).await;
    let since = |node: &Node| {
        node.shared().with(|state, _| state.peers().iter().next().map(|(_, peer)| peer.since))
    };
    let before = since(&nodes[0]);
    for (view, outcome) in [(View::Broken, "failed"), (View::Nobody, "empty")] {
        server.now_says(view);
        // More often than a name must be missing before it is let go.
        let line = format!("herd_dns_lookups_total{{outcome=\"{outcome}\"}} ");
        let count = async || {
            let metrics = get(&nodes[0], "/metrics").await;
            let value = metrics.lines().find_map(|text| text.strip_prefix(&line)).unwrap();
            value.parse::<f64>().unwrap()
        };
        let least = if outcome == "failed" { 3.0 } else { 15.0 };
        eventually(count, |count| *count >= least).await;
        let ready = get(&nodes[0], "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("dns: "), "{ready}");
    }
    server.now_says(View::Silence);
    report(nodes[0].address(), "kiwi").await;
    eventually(async || clients(&nodes[1]), |clients| *clients == 1).await;
    assert_eq!(since(&nodes[0]), before, "it is the same stream as ever");
    server.now_says(all);
    eventually(async || get(&nodes[0], "/readyz").await, |text| !text.contains("dns: ")).await;
}

#[tokio::test]
async fn a_newcomer_is_not_ready_before_it_has_heard_what_those_that_dns_names_know() {
    let server = NameServer::start(View::Nobody).await;
    let old = start(0, &server).await;
    server.now_says(View::Names(entries([&old])));
    for number in 0..500 {
        let client = format!("c{number}");
        old.shared().with(|state, now| {
            let report = herd_proto::Report::from_operands(&client, "+1+1", "1700000000").unwrap();
            state.report(now, report).unwrap();
        });
    }
    let new = start(1, &server).await;
    let ready = async || get(&new, "/readyz").await;
    eventually(ready, |text| text.starts_with("HTTP/1.1 200")).await;
    assert_eq!(clients(&new), 500);
}

#[tokio::test]
async fn with_certificates_a_name_in_dns_makes_nobody_a_node() {
    let (server, ca) = (NameServer::start(View::Nobody).await, TestCa::new("herd CA"));
    let of = |name: &str| {
        let files = ca.files(name.split('.').next().unwrap(), &[name]);
        let pair = files.pair.unwrap();
        TlsSettings { cert: Some(pair.cert), key: Some(pair.key), ca: files.ca, client_auth: None }
    };
    let domain = "herd-node-peers.herd.svc.cluster.local";
    let one = start_with(0, &server, of(&format!("node-0.{domain}"))).await;
    let all = ca.files("all", &[&format!("*.{domain}")]);
    let pair = all.pair.unwrap();
    let wildcard =
        TlsSettings { cert: Some(pair.cert), key: Some(pair.key), ca: all.ca, client_auth: None };
    let another = start_with(1, &server, wildcard).await;
    // The CA knows it, and DNS names it; its certificate is for something else.
    let stranger = start_with(2, &server, of("node-2.herd-gateway.herd.svc.cluster.local")).await;
    server.now_says(View::Names(entries([&one, &another, &stranger])));
    let links = async || (linked(&one), linked(&another));
    eventually(links, |(one, another)| *one == [node(1)] && *another == [node(0)]).await;
    let refused = async || {
        stranger.shared().with(|state, _| {
            state.peers().iter().map(|(_, peer)| peer.last_error.clone()).collect::<Vec<_>>()
        })
    };
    let seen = eventually(refused, |errors| {
        errors.len() == 2 && errors.iter().all(|error| !error.is_empty())
    });
    seen.await;
    assert_eq!((linked(&one), linked(&stranger)), (vec![node(1)], vec![]));
}

#[tokio::test]
async fn a_large_herd_has_few_links_and_a_report_reaches_all_of_it() {
    let server = NameServer::start(View::Nobody).await;
    let mut nodes = Vec::new();
    for number in 0..FULL_MESH + 4 {
        nodes.push(start(number, &server).await);
    }
    // More than fits into a datagram, and a name that leads nowhere.
    let mut all = entries(&nodes);
    all.push(("node-of-the-past".into(), here(1)));
    server.now_says(View::Names(all));
    // Strides of 1, 3 and 9 places in a circle of 17; the stray name may be one of six.
    let counts = |node: &Node| (linked(node).len(), friends(node).len());
    let links = async || nodes.iter().map(counts).collect::<Vec<_>>();
    eventually(links, |links| links.iter().all(|(up, all)| *up >= 5 && *all == 6)).await;
    assert!(server.asked_over_tcp() > 0, "the answer was to be too long for UDP");
    report(nodes[3].address(), "kiwi").await;
    let known = async || nodes.iter().map(clients).collect::<Vec<_>>();
    eventually(known, |known| known.iter().all(|clients| *clients == 1)).await;
}
