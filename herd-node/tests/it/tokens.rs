//! Tokens: missing, wrong, revoked, too weak, bound.

use std::fs;

use herd_edge::Bearer;
use herd_node::{Config, Node};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{ForgetRequest, GetRequest, ReportStreamRequest, WatchRequest};
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{channel, config, eventually, gossip, report, start};

const READER: &str = "reader-0123456789";
const PHONE: &str = "phone-0123456789";
const ADMIN: &str = "admin-0123456789";
const PEER: &str = "peer-0123456789abc";

/// A file with a token for each role; that of the phone is bound.
struct Herd {
    directory: TempDir,
    node: Node,
}

fn entry(name: &str, token: &str, roles: &str, more: &str) -> String {
    format!("[[tokens]]\nname='{name}'\ntoken='{token}'\nroles=[{roles}]\n{more}\n")
}

fn all_tokens() -> String {
    entry("map", READER, "'read'", "")
        + &entry("phone", PHONE, "'report'", "clients=['kiwi', 'fleet/*']")
        + &entry("operator", ADMIN, "'admin'", "")
        + &entry("node", PEER, "'peer'", "")
}

impl Herd {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let herd = config("Bailey", &[]);
        Self { node: Node::start(guarded(herd, &directory)).await.unwrap(), directory }
    }

    fn write(&self, tokens: &str) {
        fs::write(self.directory.path().join("tokens.toml"), tokens).unwrap();
    }

    async fn client(&self, token: Option<&str>) -> Client {
        let bearer = Bearer::new(None, token).unwrap();
        LocationsClient::with_interceptor(channel(self.node.address()).await, bearer)
    }
}

type Client = LocationsClient<InterceptedService<Channel, Bearer>>;

fn guarded(mut config: Config, directory: &TempDir) -> Config {
    let file = directory.path().join("tokens.toml");
    // Another node of the test may be reading it again just now.
    if !file.exists() {
        fs::write(&file, all_tokens()).unwrap();
    }
    config.tokens = Some(file);
    config
}

fn get(client: &str) -> GetRequest {
    GetRequest { client_id: client.into() }
}

/// How a call ended, and why, in the words of its details.
fn reason(status: &Status) -> (Code, String) {
    let info = status.get_error_details().error_info().map(|info| info.reason.clone());
    (status.code(), info.unwrap_or_default())
}

#[tokio::test]
async fn each_token_does_its_work_and_nothing_else() {
    let herd = Herd::start().await;
    let code =
        |result: Result<(), Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    let denied = Code::PermissionDenied;
    for (token, expected) in [
        (READER, [denied, Code::Ok, denied]),
        (PHONE, [Code::Ok, denied, denied]),
        (ADMIN, [Code::Ok, Code::Ok, Code::Ok]),
        (PEER, [denied, denied, denied]),
    ] {
        herd.client(Some(ADMIN)).await.report(report("kiwi")).await.unwrap();
        let mut client = herd.client(Some(token)).await;
        let reported = code(client.report(report("kiwi")).await.map(drop));
        let got = code(client.get(get("kiwi")).await.map(drop));
        let forget = ForgetRequest { client_id: "kiwi".into(), ..Default::default() };
        let forgotten = code(client.forget(forget).await.map(drop));
        assert_eq!([reported, got, forgotten], expected, "{token}");
    }
}

#[tokio::test]
async fn a_missing_token_a_wrong_one_and_a_weak_one_are_told_apart() {
    let herd = Herd::start().await;
    let asked = async |token| {
        let mut client = herd.client(token).await;
        reason(&client.report(report("kiwi")).await.unwrap_err())
    };
    assert_eq!(asked(None).await, (Code::Unauthenticated, "TOKEN_MISSING".into()));
    let wrong = asked(Some("phone-0123456780")).await;
    assert_eq!(wrong, (Code::Unauthenticated, "TOKEN_UNKNOWN".into()));
    assert_eq!(asked(Some(READER)).await, (Code::PermissionDenied, "ROLE_MISSING".into()));
    // Nor does the message of a refusal quote what was shown.
    let mut client = herd.client(Some("phone-0123456780")).await;
    let refused = client.report(report("kiwi")).await.unwrap_err();
    assert!(!refused.to_string().contains("0123456780"), "{refused}");
}

#[tokio::test]
async fn health_is_open_and_gossip_wants_the_role_of_a_peer() {
    let herd = Herd::start().await;
    let mut health = HealthClient::new(channel(herd.node.address()).await);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    let mut stranger = gossip(&herd.node).await;
    let refused = stranger.propagate(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let mut friend = guarded(config("Bona", &[("Bailey", herd.node.address())]), &herd.directory);
    friend.bearer = Bearer::new(None, Some(PEER)).unwrap();
    let friend = Node::start(friend).await.unwrap();
    herd.client(Some(PHONE)).await.report(report("kiwi")).await.unwrap();
    let clients = async || friend.shared().with(|state, _| state.table().len());
    eventually(clients, |clients| *clients == 1).await;
}

#[tokio::test]
async fn a_bound_token_reports_for_its_own_clients_and_for_nobody_else() {
    let herd = Herd::start().await;
    let mut phone = herd.client(Some(PHONE)).await;
    assert!(phone.report(report("fleet/7")).await.is_ok());
    let refused = phone.report(report("moa")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CLIENT_NOT_ALLOWED");
    let reports = ["kiwi", "moa", "fleet/8"].map(report).into();
    let messages = tokio_stream::iter([ReportStreamRequest { reports, ..Default::default() }]);
    let mut answers = phone.report_stream(messages).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.applied, 2);
    assert_eq!((answer.failures.len(), answer.failures[0].index), (1, 1));
    let mut admin = herd.client(Some(ADMIN)).await;
    assert_eq!(admin.get(get("moa")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_calls_nobody_elses() {
    let herd = Herd::start().await;
    let mut map = herd.client(Some(READER)).await;
    let mut admin = herd.client(Some(ADMIN)).await;
    let mut doomed = map.watch(WatchRequest::default()).await.unwrap().into_inner();
    let mut other = admin.watch(WatchRequest::default()).await.unwrap().into_inner();
    herd.write(&entry("operator", ADMIN, "'admin'", ""));
    let ended = doomed.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert_eq!(ended.get_details_error_info().unwrap().reason, "TOKEN_REVOKED");
    assert_eq!(map.get(get("kiwi")).await.unwrap_err().code(), Code::Unauthenticated);
    admin.report(report("kiwi")).await.unwrap();
    assert!(other.message().await.unwrap().is_some());
}

#[tokio::test]
async fn a_herd_without_tokens_asks_for_none() {
    let node = start("Bailey", &[]).await;
    let bearer = Bearer::new(None, Some("whatever-it-may-be")).unwrap();
    let mut client = LocationsClient::with_interceptor(channel(node.address()).await, bearer);
    assert!(client.report(report("kiwi")).await.is_ok());
}
