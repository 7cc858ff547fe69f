//! The pure work of a report's way through the herd, step by step: what criterion times, whose
//! instructions callgrind counts, and what a test runs once so that none of it can rot.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use herd_gateway::line::{Command, Decoder, Echo, Piece, answer};
use herd_node::herd::Now;
use herd_node::herd::outbox::Outbox;
use herd_node::herd::state::{ConsumerId, Found, Identity, Interest, State};
use herd_proto::{EncodedReports, LocationRecord, NodeName, Record, Report, Timestamp, v1};
use prost::Message as _;

use crate::Population;

/// Reports in one round of each step: those of a message.
pub const BATCH: u32 = 256;

/// Clients in tables: enough for realistic probing, few enough to be filled under valgrind.
const CLIENTS: u32 = 10_000;

/// Friends of the node: the seed's busiest has three.
const FRIENDS: usize = 3;

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its name, a word a part.
    pub name: &'static str,
    prepare: fn() -> Round,
}

/// Does the step for [`BATCH`] reports.
pub type Round = Box<dyn FnMut()>;

impl Step {
    /// Makes everything ready.
    pub fn prepare(&self) -> Round {
        (self.prepare)()
    }
}

/// All steps, in the order of a report's way.
pub const STEPS: [Step; 9] = [
    Step { name: "decode-line", prepare: decode_line },
    Step { name: "encode-report", prepare: encode_report },
    Step { name: "decode-report", prepare: decode_report },
    Step { name: "apply-report", prepare: apply_report },
    Step { name: "mark-and-drain", prepare: mark_and_drain },
    Step { name: "encode-record", prepare: encode_record },
    Step { name: "decode-record", prepare: decode_record },
    Step { name: "apply-record", prepare: apply_record },
    Step { name: "answer-line", prepare: answer_line },
];

fn population() -> Population {
    match Population::new(CLIENTS, 0, 1) {
        Ok(population) => population,
        Err(_) => unreachable!("there are enough clients"),
    }
}

fn lines() -> Vec<u8> {
    let (mut population, mut lines) = (population(), Vec::new());
    for _ in 0..BATCH {
        crate::Dialect::Iamat.put(population.next(), &mut lines);
    }
    lines
}

fn reports() -> Vec<Report> {
    let mut population = population();
    (0..BATCH).map(|_| population.report()).collect()
}

fn now() -> Now {
    Now { wall: std::time::SystemTime::now().into(), monotonic: Duration::ZERO }
}

/// A node that knows all clients, with friends whose links are up and keep up.
fn node() -> (State, Vec<ConsumerId>, Population) {
    let mut state = State::new(Identity {
        name: name("Bailey"),
        cluster: "bench".into(),
        instance: 1,
        index_key: (1, 2),
        max_future: Duration::from_hours(24),
    });
    state.set_retention(Some(Duration::from_hours(720)));
    let friends: Vec<_> = (0..FRIENDS)
        .map(|_| {
            let token = state.new_token();
            state.subscribe(Interest::Everything, Some(token))
        })
        .collect();
    let mut population = population();
    for client in 0..CLIENTS {
        let taken = state.apply(now(), population.report_of(client), Found::default());
        assert!(matches!(taken, Ok(true)), "each report is its client's first");
    }
    drain(&mut state, &friends);
    (state, friends, population)
}

fn drain(state: &mut State, friends: &[ConsumerId]) {
    for friend in friends {
        while state.pop(*friend).is_some() {}
    }
    state.take_woken();
}

fn name(text: &str) -> NodeName {
    match NodeName::parse(text) {
        Ok(name) => name,
        Err(_) => unreachable!("a sound name"),
    }
}

fn records() -> Vec<LocationRecord> {
    let (origin, receive_time) = (name("Bona"), now().wall);
    reports()
        .into_iter()
        .map(|report| report.into_record(origin.clone(), receive_time, 0))
        .collect()
}

/// Cuts what one read brought into lines and reads each as a command.
fn decode_line() -> Round {
    let lines = lines();
    let mut decoder = Decoder::default();
    Box::new(move || {
        decoder.input().extend_from_slice(&lines);
        let mut reports = 0;
        while let Some(piece) = decoder.next_piece() {
            let Piece::Line(line) = piece else { continue };
            reports += u32::from(matches!(black_box(Command::parse(&line)), Command::Iamat(_)));
        }
        decoder.compact();
        assert_eq!(reports, BATCH, "each line is a report");
    })
}

/// Writes reports into a message for a node.
fn encode_report() -> Round {
    let reports = reports();
    Box::new(move || {
        let mut encoded = EncodedReports::default();
        for report in &reports {
            encoded.push(report);
        }
        black_box(encoded.encode_to_vec());
    })
}

/// Reads such a message and checks each report.
fn decode_report() -> Round {
    let mut encoded = EncodedReports::default();
    for report in reports() {
        encoded.push(&report);
    }
    let wire = Bytes::from(encoded.encode_to_vec());
    Box::new(move || {
        let request = v1::ReportStreamRequest::decode(wire.clone()).unwrap_or_default();
        let sound = |request| black_box(Report::from_request(request)).is_ok();
        let sound = request.reports.iter().filter(|request| sound(request)).count();
        assert_eq!(sound, BATCH as usize, "each report is sound");
    })
}

/// Records reports: the order, the table, the digest, the wheel of expiry, a mark for each friend.
fn apply_report() -> Round {
    let (mut state, friends, mut population) = node();
    Box::new(move || {
        let now = now();
        let reports: Vec<_> = (0..BATCH).map(|_| population.report()).collect();
        let found = state.find_all(reports.iter().map(|report| Some(&report.client)));
        for (report, found) in reports.into_iter().zip(found) {
            let taken = state.apply(now, report, found);
            assert!(matches!(taken, Ok(true)), "each report is newer");
        }
        drain(&mut state, &friends);
    })
}

/// Marks slots for one consumer and takes them out again.
fn mark_and_drain() -> Round {
    let mut outbox = Outbox::default();
    Box::new(move || {
        for slot in 0..BATCH {
            black_box(outbox.mark(slot * 37 % CLIENTS));
        }
        let mut drained = 0;
        while outbox.pop().is_some() {
            drained += 1;
        }
        assert_eq!(drained, BATCH, "no slot twice");
    })
}

/// Writes records into a batch for a peer.
fn encode_record() -> Round {
    let records = records();
    Box::new(move || {
        let records = records.iter().map(Record::from).collect();
        black_box(v1::Batch { number: 1, records, ..Default::default() }.encode_to_vec());
    })
}

/// Reads such a batch and checks each record.
fn decode_record() -> Round {
    let records = records().iter().map(Record::from).collect();
    let wire = Bytes::from(v1::Batch { number: 1, records, ..Default::default() }.encode_to_vec());
    Box::new(move || {
        let batch = v1::Batch::decode(wire.clone()).unwrap_or_default();
        let sound = |record| black_box(LocationRecord::try_from(record)).is_ok();
        let sound = batch.records.into_iter().filter(|record| sound(record.clone())).count();
        assert_eq!(sound, BATCH as usize, "each record is sound");
    })
}

/// Merges records that a friend sends, each newer than what is known.
fn apply_record() -> Round {
    let (mut state, friends, mut population) = node();
    let origin = name("Bona");
    Box::new(move || {
        let now = now();
        for _ in 0..BATCH {
            let record = population.report().into_record(origin.clone(), now.wall, 0);
            assert!(state.accept(now, record, friends[0]).is_ok(), "it is in time");
        }
        drain(&mut state, &friends);
    })
}

/// Writes the AT lines that answer reports.
fn answer_line() -> Round {
    let echoes: Vec<Echo> = lines()
        .split(|byte| *byte == b'\n')
        .filter_map(|line| match Command::parse(&Bytes::copy_from_slice(line)) {
            Command::Iamat(iamat) => Some(iamat.echo),
            _ => None,
        })
        .collect();
    let receive_time = Timestamp::from(std::time::SystemTime::now());
    Box::new(move || {
        let mut out = Vec::new();
        for echo in &echoes {
            answer::recorded(&mut out, "Bailey", receive_time.since(echo.time), echo);
        }
        black_box(out);
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_step_works_again_and_again() {
        for step in STEPS {
            let mut round = step.prepare();
            round();
            round();
        }
        let names: BTreeSet<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
    }
}
