//! What was said to the herd, and what the herd has promised to keep.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use herd_proto::{ClientId, LocationRecord, Position, Report, Timestamp};

/// For each client the time stamps of the newest report that was sent and of the newest that was
/// acknowledged, in nanoseconds since 1970; 0 for none.
#[derive(Debug)]
pub(crate) struct Ledger {
    sent: Vec<AtomicI64>,
    acknowledged: Vec<AtomicI64>,
    newest: AtomicI64,
    sent_reports: AtomicU64,
    acknowledged_reports: AtomicU64,
    refused_reports: AtomicU64,
}

/// What is wrong with what a node holds of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It holds nothing, or something older than what was acknowledged.
    Lost,
    /// It holds what was never sent.
    Invented,
}

impl Ledger {
    /// A ledger of so many clients.
    pub(crate) fn new(clients: usize) -> Self {
        let zeros = || (0..clients).map(|_| AtomicI64::new(0)).collect();
        Self {
            sent: zeros(),
            acknowledged: zeros(),
            newest: AtomicI64::new(0),
            sent_reports: AtomicU64::new(0),
            acknowledged_reports: AtomicU64::new(0),
            refused_reports: AtomicU64::new(0),
        }
    }

    /// How many clients.
    pub(crate) fn clients(&self) -> usize {
        self.sent.len()
    }

    /// A new report of a client, newer than all before it; noted as sent.
    pub(crate) fn next_report(&self, client: usize) -> (i64, Report) {
        let now = Timestamp::from(SystemTime::now()).unix_nanos();
        let later = |newest: i64| Some(now.max(newest + 1));
        let before = self.newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        let time = now.max(before.unwrap_or_default() + 1);
        self.sent[client].fetch_max(time, Ordering::Relaxed);
        self.sent_reports.fetch_add(1, Ordering::Relaxed);
        (time, report(client, time))
    }

    /// Notes that a report was answered.
    pub(crate) fn acknowledge(&self, client: usize, time: i64) {
        self.acknowledged[client].fetch_max(time, Ordering::Relaxed);
        self.acknowledged_reports.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a report was refused.
    pub(crate) fn refuse(&self) {
        self.refused_reports.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports sent, acknowledged and refused.
    pub(crate) fn reports(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent_reports), read(&self.acknowledged_reports), read(&self.refused_reports))
    }

    /// The newest acknowledged report of a client, if any was.
    pub(crate) fn acknowledged(&self, client: usize) -> Option<i64> {
        Some(self.acknowledged[client].load(Ordering::Relaxed)).filter(|time| *time > 0)
    }

    /// Judges what a node holds of a client.
    pub(crate) fn judge(&self, client: usize, held: Option<&LocationRecord>) -> Option<Wrong> {
        let sent = self.sent[client].load(Ordering::Relaxed);
        let Some(held) = held else { return self.acknowledged(client).map(|_| Wrong::Lost) };
        let time = held.time.unix_nanos();
        if time > sent || held.position != position(client, time) {
            return Some(Wrong::Invented);
        }
        self.acknowledged(client).is_some_and(|least| time < least).then_some(Wrong::Lost)
    }
}

/// What a client is called.
pub(crate) fn client_id(client: usize) -> String {
    format!("client-{client:07}")
}

/// Which client is called so.
pub(crate) fn client_index(id: &ClientId) -> Option<usize> {
    id.as_str().strip_prefix("client-")?.parse().ok()
}

/// A report whose position follows from the rest, so that a mixed-up record shows.
fn report(client: usize, time: i64) -> Report {
    // An id made of letters, digits and a dash breaks no rule.
    let id = ClientId::parse(&client_id(client)).unwrap_or_else(|error| unreachable!("{error}"));
    Report::new(id, position(client, time), Timestamp::from_unix_nanos(time))
}

fn position(client: usize, time: i64) -> Position {
    let latitude = (time / 1000).rem_euclid(1_700_000_000) as i32 - 850_000_000;
    let longitude = (client as i64 * 7919 + time).rem_euclid(3_500_000_000) - 1_750_000_000;
    Position::from_e7(latitude, longitude as i32).unwrap_or_else(|| unreachable!("within 90, 180"))
}

#[cfg(test)]
mod tests {
    use herd_proto::NodeName;

    use super::*;

    fn held(client: usize, time: i64) -> LocationRecord {
        let origin = NodeName::parse("Bailey").unwrap();
        report(client, time).into_record(origin, Timestamp::EPOCH, 0)
    }

    #[test]
    fn time_stamps_grow_even_within_a_nanosecond() {
        let ledger = Ledger::new(2);
        let times: Vec<_> = (0..1000).map(|n| ledger.next_report(n % 2).0).collect();
        assert!(times.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn an_acknowledged_report_must_be_held() {
        let ledger = Ledger::new(1);
        let (first, _) = ledger.next_report(0);
        assert_eq!(ledger.judge(0, None), None, "nothing was promised");
        ledger.acknowledge(0, first);
        assert_eq!(ledger.judge(0, None), Some(Wrong::Lost));
        assert_eq!(ledger.judge(0, Some(&held(0, first))), None);
        let (second, _) = ledger.next_report(0);
        assert_eq!(ledger.judge(0, Some(&held(0, first))), None);
        assert_eq!(ledger.judge(0, Some(&held(0, second))), None, "sent and not answered");
        ledger.acknowledge(0, second);
        assert_eq!(ledger.judge(0, Some(&held(0, first))), Some(Wrong::Lost));
    }

    #[test]
    fn what_was_never_sent_must_not_be_held() {
        let ledger = Ledger::new(2);
        let (time, _) = ledger.next_report(0);
        assert_eq!(ledger.judge(0, Some(&held(0, time + 1))), Some(Wrong::Invented));
        let mut mixed_up = held(0, time);
        mixed_up.position = position(1, time);
        assert_eq!(ledger.judge(0, Some(&mixed_up)), Some(Wrong::Invented));
        assert_eq!(ledger.judge(1, Some(&held(1, time))), Some(Wrong::Invented));
    }

    #[test]
    fn a_client_is_known_by_its_name() {
        let id = ClientId::parse(&client_id(1_234_567)).unwrap();
        assert_eq!(client_index(&id), Some(1_234_567));
        assert_eq!(client_index(&ClientId::parse("kiwi").unwrap()), None);
    }
}
