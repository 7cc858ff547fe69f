//! How a location is shown.

use std::fmt::Write as _;
use std::time::Duration;

use herd_proto::LocationRecord;
use serde::Serialize;

use crate::moment;
use crate::output::printable;

/// A location in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct LocationView {
    pub(crate) client_id: String,
    pub(crate) position: PositionView,
    /// RFC 3339 with nanoseconds.
    pub(crate) time: String,
    /// As the client wrote it, or POSIX seconds with nine decimals.
    pub(crate) time_text: String,
    /// RFC 3339 with nanoseconds.
    pub(crate) receive_time: String,
    /// Receive time minus time, in seconds with nine decimals.
    pub(crate) difference: String,
    pub(crate) origin: String,
    /// The line of the text protocol.
    pub(crate) at: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct PositionView {
    /// Degrees north.
    pub(crate) latitude: f64,
    /// Degrees east.
    pub(crate) longitude: f64,
    /// As the client wrote it, or ISO 6709 with six or seven decimals.
    pub(crate) text: String,
}

impl From<&LocationRecord> for LocationView {
    fn from(record: &LocationRecord) -> Self {
        Self {
            client_id: record.client.to_string(),
            position: PositionView {
                latitude: record.position.latitude(),
                longitude: record.position.longitude(),
                text: record.position_text().to_string(),
            },
            time: moment::shown(record.time),
            time_text: record.time_text().to_string(),
            receive_time: moment::shown(record.receive_time),
            difference: record.difference().to_string(),
            origin: record.origin.to_string(),
            at: at_line(record),
        }
    }
}

impl LocationView {
    /// For people, a fact a line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let PositionView { latitude, longitude, .. } = self.position;
        for (label, value) in [
            ("client", &self.client_id),
            ("position", &format!("{latitude}, {longitude}")),
            ("time", &self.time),
            (
                "received",
                &format!("{} by {} ({} s)", self.receive_time, self.origin, self.difference),
            ),
            ("line", &self.at),
        ] {
            let _ = writeln!(text, "{label:9} {}", printable(value));
        }
        text
    }
}

/// The answer of the text protocol, without the newline.
pub(crate) fn at_line(record: &LocationRecord) -> String {
    format!(
        "AT {} {} {} {} {}",
        record.origin,
        record.difference(),
        record.client,
        record.position_text(),
        record.time_text()
    )
}

/// A distance for people.
pub(crate) fn distance(metres: f64) -> String {
    if metres < 1000.0 { format!("{metres:.0} m") } else { format!("{:.1} km", metres / 1000.0) }
}

/// For how long something has been so, for people: to the second, and to the minute after an hour.
pub(crate) fn age(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let shown = if seconds < 3600 { seconds } else { seconds - seconds % 60 };
    humantime::format_duration(Duration::from_secs(shown)).to_string()
}
