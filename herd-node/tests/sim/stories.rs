//! Named situations, each with what must come of it.

use std::time::Duration;

use herd_proto::ClientId;

use crate::faults::Fault;
use crate::graph::SEED_GRAPH;
use crate::network::Herd;

const MOMENT: Duration = Duration::from_millis(200);

fn position(herd: &Herd, node: usize, client: &str) -> Option<String> {
    let client = ClientId::parse(client).unwrap();
    herd.state(node).location(&client).map(|record| record.position_text().to_string())
}

#[test]
fn a_report_at_any_node_is_known_to_all_with_the_same_words() {
    let mut herd = Herd::started(1, SEED_GRAPH);
    herd.run(MOMENT);
    for node in 0..5 {
        herd.report_exactly(node, &format!("c{node}"), "+12-118", "1000000.5");
    }
    herd.run(MOMENT);
    herd.check_agreement();
    herd.check_nothing_lost();
    assert_eq!(position(&herd, 4, "c0").as_deref(), Some("+12-118"));
}

#[test]
fn equal_times_at_two_nodes_end_in_one_answer_everywhere() {
    let mut herd = Herd::started(2, SEED_GRAPH);
    herd.run(MOMENT);
    herd.report_exactly(0, "kiwi", "+1-1", "1000000");
    herd.report_exactly(4, "kiwi", "+2-2", "1000000");
    herd.run(MOMENT);
    herd.check_agreement();
    herd.check_nothing_lost();
}

#[test]
fn a_nanosecond_decides() {
    let mut herd = Herd::started(3, SEED_GRAPH);
    herd.run(MOMENT);
    herd.report_exactly(0, "kiwi", "+1-1", "1000000.000000002");
    herd.report_exactly(4, "kiwi", "+2-2", "1000000.000000001");
    herd.run(MOMENT);
    for node in 0..5 {
        assert_eq!(position(&herd, node, "kiwi").as_deref(), Some("+1-1"));
    }
}

#[test]
fn two_that_were_cut_off_and_went_on_taking_reports_come_back_with_the_newest() {
    let mut herd = Herd::started(4, SEED_GRAPH);
    herd.run(MOMENT);
    // Bailey loses both its friends, and with them the rest.
    herd.set_cut(0, true);
    herd.set_cut(1, true);
    herd.report_exactly(0, "kiwi", "+1-1", "1000001");
    herd.report_exactly(4, "kiwi", "+2-2", "1000002");
    herd.report_exactly(0, "plum", "+3-3", "1000002");
    herd.report_exactly(4, "plum", "+4-4", "1000001");
    herd.run(Duration::from_hours(1));
    assert_eq!(position(&herd, 0, "kiwi").as_deref(), Some("+1-1"));
    assert_eq!(position(&herd, 4, "kiwi").as_deref(), Some("+2-2"));
    herd.set_cut(0, false);
    herd.set_cut(1, false);
    herd.run(Duration::from_secs(2));
    herd.check_agreement();
    herd.check_nothing_lost();
    assert!(herd.faults.count(Fault::StreamBroken) > 0);
}

#[test]
fn a_peer_that_was_away_is_sent_what_it_missed_and_no_more() {
    let pair = (2, &[(0, 1)][..]);
    let mut herd = Herd::started(5, pair);
    for client in 0..1000 {
        herd.report_exactly(0, &format!("c{client}"), "+1-1", "1000000");
    }
    herd.run(MOMENT * 5);
    herd.check_agreement();
    let before = herd.records_sent;
    herd.set_cut(0, true);
    for _ in 0..50 {
        herd.report(0, 7); // moves fifty times
    }
    herd.run(Duration::from_secs(30));
    herd.set_cut(0, false);
    herd.run(Duration::from_secs(2));
    herd.check_agreement();
    let resent = herd.records_sent - before;
    assert!((1..10).contains(&resent), "{resent} records for one client that moved");
}

#[test]
fn one_changed_client_among_many_is_found_with_little_traffic() {
    let pair = (2, &[(0, 1)][..]);
    let mut herd = Herd::started(8, pair);
    for client in 0..20_000 {
        herd.report_exactly(0, &format!("c{client}"), "+1-1", "1000000");
    }
    herd.run(Duration::from_mins(1));
    herd.check_agreement();
    // While one is away the other hears of a client; when it is back neither remembers who told
    // whom what.
    herd.set_cut(0, true);
    herd.report_exactly(1, "c777", "+2-2", "1000001");
    herd.restart_with_disk(0);
    herd.restart_with_disk(1);
    let (records, bytes) = (herd.records_sent, herd.repair_bytes);
    herd.set_cut(0, false);
    herd.run(Duration::from_secs(4));
    herd.check_agreement();
    herd.check_nothing_lost();
    let (records, bytes) = (herd.records_sent - records, herd.repair_bytes - bytes);
    assert!((1..=2).contains(&records), "{records} records for one that differs");
    assert!((1..2000).contains(&bytes), "{bytes} bytes to find one that differs");
}

#[test]
fn one_that_forgot_its_friend_repairs_what_the_friend_believes_to_be_on_its_way() {
    let pair = (2, &[(0, 1)][..]);
    let mut herd = Herd::started(10, pair);
    for client in 0..5000 {
        herd.report_exactly(0, &format!("c{client}"), "+1-1", "1000000");
    }
    herd.run(Duration::from_mins(1));
    herd.check_agreement();
    herd.set_cut(0, true);
    herd.run(Duration::from_secs(30));
    // With the friend goes what waited for it; the friend still counts on that.
    herd.unfriend(1, 0);
    for client in 0..3000 {
        herd.report_exactly(1, &format!("c{client}"), "+2-2", "1000001");
    }
    let bytes = herd.repair_bytes;
    herd.set_cut(0, false);
    let took = herd.settle(Duration::from_mins(2));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(herd.repair_bytes > bytes);
    herd.check_agreement();
    herd.check_nothing_lost();
    let divergent =
        |node| herd.state(node).peers().iter().map(|(_, peer)| peer.counts.divergent).sum::<u64>();
    assert_eq!((divergent(0), divergent(1)), (0, 0));
}

#[test]
fn thousands_of_differences_on_both_sides_are_found_in_one_descent() {
    let pair = (2, &[(0, 1)][..]);
    let mut herd = Herd::started(9, pair);
    for client in 0..10_000 {
        herd.report_exactly(0, &format!("c{client}"), "+1-1", "1000000");
    }
    herd.run(Duration::from_mins(1));
    herd.check_agreement();
    herd.set_cut(0, true);
    for client in 0..1000 {
        herd.report_exactly(0, &format!("c{client}"), "+2-2", "1000001");
        herd.report_exactly(1, &format!("c{}", client + 500), "+3-3", "1000002");
        herd.report_exactly(1, &format!("new{client}"), "+3-3", "1000002");
    }
    herd.restart_with_disk(0);
    herd.restart_with_disk(1);
    let records = herd.records_sent;
    herd.set_cut(0, false);
    herd.run(Duration::from_secs(10));
    herd.check_agreement();
    herd.check_nothing_lost();
    // 2,500 clients differ; those known to both travel both ways at most.
    let records = herd.records_sent - records;
    assert!((2500..=4000).contains(&records), "{records} records");
}

#[test]
fn a_newcomer_is_told_everything_and_news_do_not_wait_for_it() {
    let pair = (2, &[(0, 1)][..]);
    let mut herd = Herd::started(10, pair);
    herd.crash(1);
    for client in 0..20_000 {
        herd.report_exactly(0, &format!("c{client}"), "+1-1", "1000000");
    }
    herd.start(1);
    while herd.state(1).table().len() < 1000 {
        herd.run(Duration::from_millis(20));
    }
    herd.report_exactly(0, "news", "+2-2", "1000000");
    herd.run(MOMENT);
    assert!(position(&herd, 1, "news").is_some(), "{}", herd.state(1).table().len());
    assert!(herd.state(1).table().len() < 19_000, "the rest was still under way");
    herd.run(Duration::from_mins(1));
    herd.check_agreement();
}

#[test]
fn damage_between_running_nodes_is_noticed_counted_and_healed() {
    let mut herd = Herd::started(11, SEED_GRAPH);
    herd.run(MOMENT);
    herd.plant(0, "kiwi");
    herd.run(MOMENT);
    assert!(position(&herd, 4, "kiwi").is_none(), "nobody was told");
    herd.run(Duration::from_secs(30));
    herd.check_nothing_lost();
    let divergent: u64 = herd
        .states()
        .flat_map(|state| state.peers().iter().map(|(_, peer)| peer.counts.divergent))
        .sum();
    assert!(divergent > 0, "healed and not counted");
}

#[test]
fn reports_under_load_are_sent_in_few_copies() {
    let mut herd = Herd::started(6, SEED_GRAPH);
    herd.run(MOMENT);
    let before = herd.records_sent;
    for round in 0..200 {
        herd.report_exactly(round % 5, &format!("c{round}"), "+1-1", "1000000");
        herd.run(Duration::from_millis(20));
    }
    herd.run(MOMENT);
    herd.check_agreement();
    let copies = (herd.records_sent - before) as f64 / 200.0;
    // Six edges, both directions but the four that bring the news: eight at the very most.
    assert!(copies <= 8.0, "{copies} copies a report");
}
