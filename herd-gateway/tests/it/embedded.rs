//! Nodes in the gateway's own process, asked without a connection.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use herd_gateway::{Answer, Config, EmbeddedNode, Gateway, Limits};
use herd_proto::{LocationRecord, NodeName, Report, Timestamp, TraceContext, v1};
use tonic::{Code, Status};

use crate::fake_node::{CLOCK, FakeNode, Script};
use crate::support::{ask, iamat, named, recorded};

/// Remembers what was reported, in memory.
#[derive(Debug, Default)]
struct Memory {
    locations: Mutex<BTreeMap<String, LocationRecord>>,
    /// How many reports came together.
    messages: Mutex<Vec<usize>>,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Draining,
    Stuck,
    NoPlaces,
}

impl EmbeddedNode for Memory {
    fn report<'a>(
        &'a self,
        reports: &'a [Report],
        _: Option<TraceContext>,
    ) -> Answer<'a, v1::ReportStreamResponse> {
        Box::pin(async move {
            match self.trouble {
                Some(Trouble::Draining) => return Err(Status::unavailable("stopping")),
                Some(Trouble::Stuck) => pending().await,
                Some(Trouble::NoPlaces) | None => {}
            }
            self.messages.lock().unwrap().push(reports.len());
            let (origin, now) = (NodeName::parse("Bailey").unwrap(), Timestamp::parse(CLOCK));
            let now = now.unwrap();
            for report in reports {
                let record = report.clone().into_record(origin.clone(), now, 0);
                let client = report.client.to_string();
                self.locations.lock().unwrap().insert(client, record);
            }
            Ok(v1::ReportStreamResponse {
                receive_time: Some(now.into()),
                origin: origin.to_string(),
                applied: reports.len() as u32,
                failures: Vec::new(),
            })
        })
    }

    fn search(
        &self,
        request: v1::SearchRequest,
        timeout: Duration,
        _: Option<TraceContext>,
    ) -> Answer<'_, v1::SearchResponse> {
        Box::pin(async move {
            assert_eq!(timeout, Limits::default().search_timeout);
            if matches!(self.trouble, Some(Trouble::NoPlaces)) {
                return Err(Status::unavailable("no provider"));
            }
            let location = self.location(&request.client_id)?;
            Ok(v1::SearchResponse {
                location: Some(location),
                legacy_json: "{}".into(),
                ..Default::default()
            })
        })
    }

    fn get(&self, request: v1::GetRequest) -> Answer<'_, v1::GetResponse> {
        let location = self.location(&request.client_id);
        Box::pin(async move {
            Ok(v1::GetResponse { location: Some(location?), ..v1::GetResponse::default() })
        })
    }
}

impl Memory {
    fn location(&self, client: &str) -> Result<v1::Location, Status> {
        let locations = self.locations.lock().unwrap();
        let known = locations.get(client).map(Into::into);
        known.ok_or_else(|| Status::new(Code::NotFound, "nobody knows"))
    }
}

async fn start(node: &Arc<Memory>, config: Config) -> (Gateway, SocketAddr) {
    let bailey = NodeName::parse("Bailey").unwrap();
    let nodes = BTreeMap::from([(bailey, Arc::clone(node) as Arc<dyn EmbeddedNode>)]);
    let gateway = Gateway::start_with(config, &nodes).await.unwrap();
    let address = gateway.addresses()[0].1;
    (gateway, address)
}

/// Where nobody listens: whoever dialled it would fail.
fn nowhere() -> Config {
    named(([127, 0, 0, 1], 1).into())
}

#[tokio::test]
async fn lines_are_answered_without_a_connection() {
    let node = Arc::new(Memory::default());
    let (_gateway, address) = start(&node, nowhere()).await;
    let input = format!("{}WHATSAT kiwi 10 5\nWHATSAT emu 10 5\n", iamat("kiwi"));
    let expected = format!("{0}{0}{{}}\n\n? WHATSAT emu 10 5\n", recorded("kiwi"));
    assert_eq!(ask(address, input).await, expected);
}

#[tokio::test]
async fn lines_that_come_together_are_taken_together() {
    let node = Arc::new(Memory::default());
    let (_gateway, address) = start(&node, nowhere()).await;
    let names: Vec<_> = (0..600).map(|number| format!("c{number}")).collect();
    let input: String = names.iter().map(|name| iamat(name)).collect();
    let expected: String = names.iter().map(|name| recorded(name)).collect();
    assert_eq!(ask(address, input).await, expected);
    let messages = node.messages.lock().unwrap().clone();
    assert_eq!(messages.iter().sum::<usize>(), 600);
    assert!(messages.len() < 100 && messages.iter().all(|size| *size <= 256), "{messages:?}");
}

#[tokio::test]
async fn a_node_that_stops_or_is_stuck_is_answered_for_with_a_copy() {
    let limits = Limits { report_timeout: Duration::from_millis(50), ..Limits::default() };
    for trouble in [Trouble::Draining, Trouble::Stuck] {
        let node = Arc::new(Memory { trouble: Some(trouble), ..Memory::default() });
        let (_gateway, address) = start(&node, Config { limits, ..nowhere() }).await;
        assert_eq!(ask(address, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
    }
}

#[tokio::test]
async fn the_provider_failing_still_gives_the_location() {
    let node = Arc::new(Memory { trouble: Some(Trouble::NoPlaces), ..Memory::default() });
    let (_gateway, address) = start(&node, nowhere()).await;
    let answer = ask(address, format!("{}WHATSAT kiwi 10 5\n", iamat("kiwi"))).await;
    let rest = answer.strip_prefix(&recorded("kiwi").repeat(2)).unwrap();
    assert!(rest.contains("UNKNOWN_ERROR"), "{rest}");
}

#[tokio::test]
async fn nodes_elsewhere_are_still_dialled() {
    let script = Script::new("Bona");
    let elsewhere = FakeNode::start(&script);
    let mut config = nowhere();
    let bona = NodeName::parse("Bona").unwrap();
    config.nodes[0].name = bona.clone();
    config.nodes[0].address = elsewhere.address.to_string();
    config.ports[0].upstream = herd_gateway::Upstream::Named(bona);
    let (_gateway, address) = start(&Arc::new(Memory::default()), config).await;
    ask(address, iamat("kiwi")).await;
    assert_eq!(script.reported(), ["kiwi"]);
}
