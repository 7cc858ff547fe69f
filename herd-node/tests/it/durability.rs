//! What was acknowledged survives the node.

use std::fs;
use std::path::Path;

use herd_node::durability::{AckLevel, DataConfig};
use herd_node::{Config, Node};
use herd_proto::v1::{GetRequest, ReportStreamRequest};
use std::time::Duration;

use crate::support::{config, eventually, locations, report, start, status};

fn kept_in(directory: &Path, ack_level: AckLevel) -> Config {
    let mut config = config("Bailey", &[]);
    let directory = directory.to_path_buf();
    config.data = Some(DataConfig { directory, ack_level, sync_interval: Duration::from_secs(1) });
    config
}

#[tokio::test]
async fn what_was_answered_is_there_again_after_a_stop_at_every_level() {
    for level in [AckLevel::Memory, AckLevel::Process, AckLevel::Disk] {
        let home = tempfile::tempdir().unwrap();
        let node = Node::start(kept_in(home.path(), level)).await.unwrap();
        let mut client = locations(&node).await;
        for number in 0..50 {
            client.report(report(&format!("c{number}"))).await.unwrap();
        }
        let before = status(&node).await;
        assert!(before.store.unwrap().healthy);
        node.stop().await;
        let node = Node::start(kept_in(home.path(), level)).await.unwrap();
        let after = status(&node).await;
        assert_eq!((after.digest, after.clients), (before.digest, 50), "{level:?}");
        assert_eq!(after.store.unwrap().restored_records, 50);
    }
}

#[tokio::test]
async fn at_process_level_the_file_has_a_report_before_its_client_has_the_answer() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(kept_in(home.path(), AckLevel::Process)).await.unwrap();
    let mut client = locations(&node).await;
    for number in 0..20 {
        let id = format!("unique-client-{number}");
        client.report(report(&id)).await.unwrap();
        let written = fs::read_dir(home.path()).unwrap().any(|entry| {
            let bytes = fs::read(entry.unwrap().path()).unwrap_or_default();
            bytes.windows(id.len()).any(|window| window == id.as_bytes())
        });
        assert!(written, "{id} was answered and not written");
    }
}

#[tokio::test]
async fn a_stream_is_answered_in_order_while_writes_cover_several_messages() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(kept_in(home.path(), AckLevel::Disk)).await.unwrap();
    let messages: Vec<_> = (0..200)
        .map(|number| {
            let reports = vec![report(&format!("c{number}")); number % 3 + 1];
            ReportStreamRequest { reports, ..Default::default() }
        })
        .collect();
    let stream = locations(&node).await.report_stream(tokio_stream::iter(messages)).await.unwrap();
    let mut answers = stream.into_inner();
    for _ in 0..200 {
        assert_eq!(answers.message().await.unwrap().unwrap().applied, 1);
    }
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn what_friends_told_is_kept_too() {
    let home = tempfile::tempdir().unwrap();
    let bona = start("Bona", &[]).await;
    let mut settings = kept_in(home.path(), AckLevel::Process);
    settings.friends = vec![("Bona".parse().unwrap(), bona.address().to_string())];
    let node = Node::start(settings).await.unwrap();
    locations(&bona).await.report(report("kiwi")).await.unwrap();
    eventually(async || status(&node).await.clients, |clients| *clients == 1).await;
    node.stop().await;
    drop(bona);
    let node = Node::start(kept_in(home.path(), AckLevel::Process)).await.unwrap();
    let found = locations(&node).await.get(GetRequest { client_id: "kiwi".into() }).await;
    assert_eq!(found.unwrap().into_inner().location.unwrap().origin, "Bona");
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused_with_who_has_it() {
    let home = tempfile::tempdir().unwrap();
    let first = Node::start(kept_in(home.path(), AckLevel::Process)).await.unwrap();
    let error = Node::start(kept_in(home.path(), AckLevel::Process)).await.unwrap_err();
    let expected = format!("in use by process {}", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    first.stop().await;
    assert!(Node::start(kept_in(home.path(), AckLevel::Process)).await.is_ok());
}
