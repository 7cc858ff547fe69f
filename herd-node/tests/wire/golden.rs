//! The bytes of protocol version 1, as they stand in `version-1.txt`.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use herd_proto::Record;
use herd_proto::v1::frame::Kind;
use herd_proto::v1::{
    Ack, Batch, Branch, Compare, ForgetRequest, ForgetResponse, Frame, GetRequest, GetResponse,
    GetStatusRequest, GetStatusResponse, Goodbye, Heartbeat, Hello, ItemTrace, Leaf, Leaves,
    Location, PeerStatus, Place, PlacesStatus, Position, Reason, RecordCounts, ReportCounts,
    ReportFailure, ReportRequest, ReportResponse, ReportStreamRequest, ReportStreamResponse,
    ReportViolation, SearchRequest, SearchResponse, SharedSettings, StoreStatus, Want,
    WatchRequest, WatchResponse,
};
use prost::Message;
use prost_types::{Duration, Timestamp};

/// Every line is a message's name here and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("version-1.txt");

/// A message whose bytes must never change.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Fails unless the bytes mean the message.
    check: Check,
}

type Check = Box<dyn Fn(&[u8])>;

fn case<M>(name: &'static str, message: M) -> Case
where
    M: Message + Default + PartialEq + Debug + 'static,
{
    let bytes = message.encode_to_vec();
    let check = move |bytes: &[u8]| assert_eq!(M::decode(bytes).as_ref(), Ok(&message), "{name}");
    Case { name, bytes, check: Box::new(check) }
}

fn time(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn duration(seconds: i64, nanos: i32) -> Duration {
    Duration { seconds, nanos }
}

fn record() -> Record {
    Record {
        client_id: "kiwi".into(),
        latitude_e7: 340_689_300,
        longitude_e7: -1_184_451_270,
        time_unix_nanos: 1_700_000_000_500_000_000,
        receive_time_unix_nanos: 1_700_000_000_763_873_386,
        origin: "Bailey".into(),
        position_text: "+34.06893-118.445127".into(),
        time_text: "1700000000.5".into(),
        generation: 2,
        ..Record::default()
    }
}

fn location() -> Location {
    Location {
        client_id: "kiwi".into(),
        position: Some(Position { latitude: 34.06893, longitude: -118.445_127 }),
        time: Some(time(1_700_000_000, 500_000_000)),
        receive_time: Some(time(1_700_000_000, 763_873_386)),
        origin: "Bailey".into(),
        position_text: "+34.06893-118.445127".into(),
        time_text: "1700000000.5".into(),
    }
}

fn frames() -> Vec<Case> {
    let frame = |name, kind| case(name, Frame { kind: Some(kind) });
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        features: 1,
        cluster: "herd".into(),
        node: "Bailey".into(),
        instance: 0x0123_4567_89ab_cdef,
        clock: Some(time(1_700_000_000, 1)),
        digest: 0xfedc_ba98_7654_3210,
        clients: 300,
        max_frame_bytes: 1 << 20,
        settings: None,
    };
    let settings =
        SharedSettings { retention: Some(duration(60, 0)), max_future: Some(duration(1, 0)) };
    let settled = Hello { settings: Some(settings), ..hello.clone() };
    let heartbeat = Heartbeat {
        digest: 0xfedc_ba98_7654_3210,
        clients: 300,
        pending: 7,
        clock: Some(time(1_700_000_001, 0)),
        sent: Some(duration(5, 250)),
        echo: Some(duration(4, 999_999_999)),
    };
    let goodbye = Goodbye {
        reason: Reason::Draining.into(),
        detail: "the node stops".into(),
        retry_after: Some(duration(1, 0)),
    };
    let branch = Branch { depth: 1, prefix: 15, sums: (0..16).map(|sum| sum << 60 | 5).collect() };
    let leaf = Leaf { prefix: 0xabcd, keys: vec![0xabcd << 48, u64::MAX], versions: vec![1, 2] };
    vec![
        frame("frame-hello", Kind::Hello(hello)),
        frame("frame-hello-settings", Kind::Hello(settled)),
        frame(
            "frame-batch",
            Kind::Batch(Batch { number: 1, records: vec![record()], ..Default::default() }),
        ),
        frame("frame-ack", Kind::Ack(Ack { number: 129, ..Default::default() })),
        frame("frame-heartbeat", Kind::Heartbeat(heartbeat)),
        frame("frame-goodbye", Kind::Goodbye(goodbye)),
        frame("frame-compare", Kind::Compare(Compare { branches: vec![branch], check: true })),
        frame("frame-leaves", Kind::Leaves(Leaves { leaves: vec![leaf], check: true })),
        frame("frame-want", Kind::Want(Want { keys: vec![0xabcd << 48, 7] })),
        case("frame-empty", Frame { kind: None }),
    ]
}

fn records() -> Vec<Case> {
    let mark = Record {
        client_id: "kiwi".into(),
        time_unix_nanos: 1_700_000_000_000_000_000,
        receive_time_unix_nanos: 1_700_000_000_000_000_000,
        origin: "Bona".into(),
        generation: 300,
        forgotten: true,
        ..Record::default()
    };
    // Field 11 as a text and field 300 as a number: what a later release may add.
    let unknown = b"\x5a\x03new\xe0\x12\x07".to_vec();
    vec![
        case("record", record()),
        case("record-forgotten", mark),
        case("record-of-a-later-release", Record { unknown, ..record() }),
    ]
}

fn stream_of(reports: Vec<ReportRequest>, traces: Vec<ItemTrace>) -> ReportStreamRequest {
    ReportStreamRequest { reports, traces }
}

fn report_request() -> ReportRequest {
    ReportRequest {
        client_id: "kiwi".into(),
        position: Some(Position { latitude: 34.06893, longitude: -118.445_127 }),
        time: Some(time(1_700_000_000, 500_000_000)),
        position_text: "+34.06893-118.445127".into(),
        time_text: "1700000000.5".into(),
        min_peers: 0,
    }
}

fn public_messages() -> Vec<Case> {
    let disagreeing = PeerStatus {
        disagreement: "retention is none there and 30days here".into(),
        ..PeerStatus::default()
    };
    let violation =
        ReportViolation { field: "position.latitude".into(), description: "too far north".into() };
    let place = Place {
        place_id: "ChIJ".into(),
        name: "Royce Hall".into(),
        position: Some(Position { latitude: 34.0729, longitude: -118.4422 }),
        types: vec!["museum".into(), "point_of_interest".into()],
        vicinity: "Los Angeles".into(),
        distance_meters: 512.25,
    };
    let search = SearchResponse {
        location: Some(location()),
        places: vec![place],
        legacy_json: "{}".into(),
        status: "OK".into(),
        provider: "embedded".into(),
        ..Default::default()
    };
    vec![
        case("location", location()),
        case("report-request", report_request()),
        case("report-stream-request", stream_of(vec![report_request()], Vec::new())),
        case("report-response", ReportResponse { location: Some(location()), applied: true }),
        case(
            "report-stream-response",
            ReportStreamResponse {
                receive_time: Some(time(1_700_000_000, 763_873_386)),
                origin: "Bailey".into(),
                applied: 300,
                failures: vec![ReportFailure { index: 2, violations: vec![violation] }],
            },
        ),
        case("get-request", GetRequest { client_id: "kiwi".into() }),
        case("get-response", GetResponse { location: Some(location()), ..Default::default() }),
        case("forget-request", ForgetRequest { client_id: "kiwi".into(), ..Default::default() }),
        case("forget-response", ForgetResponse { known: true, location: Some(location()) }),
        case(
            "watch-request",
            WatchRequest {
                client_ids: vec!["kiwi".into()],
                include_current: true,
                ..Default::default()
            },
        ),
        case(
            "watch-response",
            WatchResponse {
                locations: vec![location()],
                current_state_complete: true,
                forgotten: vec!["plum".into()],
                ..Default::default()
            },
        ),
        case(
            "search-request",
            SearchRequest {
                client_id: "kiwi".into(),
                radius_meters: Some(0.0),
                max_results: Some(0),
                view: 3,
            },
        ),
        case("search-response", search),
        case("get-status-request", GetStatusRequest {}),
        case("get-status-response", status()),
        case("peer-disagreement", disagreeing),
    ]
}

fn traced() -> Vec<Case> {
    let trace = ItemTrace {
        index: 1,
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        tracestate: "rojo=00f067aa0ba902b7".into(),
    };
    let traces = vec![trace];
    let batch = Batch { number: 2, traces: traces.clone(), ..Batch::default() };
    vec![
        case("traced-batch", batch),
        case("traced-report-stream-request", stream_of(Vec::new(), traces)),
    ]
}

fn status() -> GetStatusResponse {
    let peer = PeerStatus {
        name: "Bona".into(),
        address: "127.0.0.1:50052".into(),
        state: 2,
        dialled_here: true,
        friend: true,
        since: Some(time(1_700_000_000, 0)),
        pending: 1,
        in_flight: 2,
        records: Some(RecordCounts {
            sent: 1,
            received: 2,
            applied: 3,
            known: 4,
            bad: 5,
            unknown_frames: 6,
            repaired: 7,
            divergent: 8,
            ..RecordCounts::default()
        }),
        digest: 9,
        clients: 10,
        round_trip: Some(duration(0, 250_000)),
        clock_skew: Some(duration(0, -5)),
        last_error: "reset".into(),
        disagreement: String::new(),
        lag: None,
    };
    GetStatusResponse {
        name: "Bailey".into(),
        cluster: "herd".into(),
        version: "0.1.0".into(),
        start_time: Some(time(1_700_000_000, 0)),
        uptime: Some(duration(90, 0)),
        clients: 300,
        digest: 0xfedc_ba98_7654_3210,
        reports: Some(ReportCounts { taken: 3, applied: 2, refused: 1 }),
        peers: vec![peer],
        places: Some(PlacesStatus {
            provider: "embedded".into(),
            healthy: true,
            last_error: "none".into(),
        }),
        watchers: 4,
        ready: true,
        store: Some(StoreStatus {
            ack_level: 2,
            persistent: true,
            healthy: true,
            last_error: "full".into(),
            restored_records: 5,
            damaged_frames: 6,
            bad_records: 7,
            missing_files: 8,
        }),
        ..GetStatusResponse::default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    pairs.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_bytes_of_version_1_mean_what_they_meant_and_are_still_written() {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut golden: BTreeMap<_, _> = lines
        .map(|line| {
            let (name, bytes) = line.split_once(':').expect("a name, a colon, bytes");
            (name, unhex(bytes.trim()))
        })
        .collect();
    let mut missing = String::new();
    let cases = frames().into_iter().chain(records()).chain(public_messages()).chain(traced());
    for case in cases {
        let Some(bytes) = golden.remove(case.name) else {
            writeln!(missing, "{}: {}", case.name, hex(&case.bytes)).unwrap();
            continue;
        };
        (case.check)(&bytes);
        assert_eq!(hex(&case.bytes), hex(&bytes), "{} is written differently", case.name);
    }
    assert!(missing.is_empty(), "not in the file yet:\n{missing}");
    assert!(golden.is_empty(), "nothing is known of {:?}", golden.keys());
}
