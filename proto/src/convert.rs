//! From the wire to the domain, which can fail, and back, which cannot.

use crate::record::Extras;
use crate::{
    ClientId, ClientIdError, LocationRecord, NodeName, NodeNameError, Position, PositionError,
    Record, Timestamp, TimestampError, Violations, v1,
};

/// Most bytes of unknown fields that a record may carry.
const MAX_UNKNOWN_BYTES: usize = 4096;

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        Self { latitude: position.latitude(), longitude: position.longitude() }
    }
}

impl From<&LocationRecord> for v1::Location {
    fn from(record: &LocationRecord) -> Self {
        Self {
            client_id: record.client.as_str().into(),
            position: Some(record.position.into()),
            time: Some(record.time.into()),
            receive_time: Some(record.receive_time.into()),
            origin: record.origin.as_str().into(),
            position_text: record.original_position_text().into(),
            time_text: record.original_time_text().into(),
        }
    }
}

impl TryFrom<v1::Location> for LocationRecord {
    type Error = Violations;

    /// Reads an answer. The fields that answers leave out are those of a first report.
    fn try_from(wire: v1::Location) -> Result<Self, Violations> {
        let mut wrong = Violations::default();
        let client = wrong.check("client_id", ClientId::parse(&wire.client_id));
        let origin = wrong.check("origin", NodeName::parse(&wire.origin));
        let moment =
            |wire: &Option<prost_types::Timestamp>| Timestamp::try_from(&wire.unwrap_or_default());
        let time = wrong.check("time", moment(&wire.time));
        let receive_time = wrong.check("receive_time", moment(&wire.receive_time));
        let degrees = wire.position.unwrap_or_default();
        let position =
            wrong.check("position", Position::from_degrees(degrees.latitude, degrees.longitude));
        let record = (|| {
            let mut record = Self::new(client?, position?, time?, receive_time?, origin?);
            record.extras = Extras {
                position_text: wire.position_text.into(),
                time_text: wire.time_text.into(),
                unknown: Vec::new(),
            }
            .boxed();
            Some(record)
        })();
        wrong.into_result(record)
    }
}

impl From<&LocationRecord> for Record {
    fn from(record: &LocationRecord) -> Self {
        let extras = record.extras.as_deref().cloned().unwrap_or_default();
        Self {
            client_id: record.client.as_str().into(),
            latitude_e7: record.position.latitude_e7(),
            longitude_e7: record.position.longitude_e7(),
            time_unix_nanos: record.time.unix_nanos(),
            receive_time_unix_nanos: record.receive_time.unix_nanos(),
            origin: record.origin.as_str().into(),
            position_text: extras.position_text,
            time_text: extras.time_text,
            generation: record.generation,
            forgotten: record.forgotten,
            unknown: extras.unknown,
            damaged: false,
        }
    }
}

impl TryFrom<Record> for LocationRecord {
    type Error = RecordError;

    fn try_from(wire: Record) -> Result<Self, RecordError> {
        if wire.damaged {
            return Err(RecordError::NotUtf8);
        }
        let position = Position::from_e7(wire.latitude_e7, wire.longitude_e7)
            .ok_or(RecordError::PositionOutOfRange)?;
        let moment = |nanos| Timestamp::from_unix_nanos(nanos).ok_or(TimestampError::OutOfRange);
        let (time, receive_time) =
            (moment(wire.time_unix_nanos)?, moment(wire.receive_time_unix_nanos)?);
        for text in [&wire.position_text, &wire.time_text] {
            if text.len() > Self::MAX_TEXT_BYTES {
                return Err(RecordError::TextTooLong);
            }
        }
        let agrees = (wire.position_text.is_empty()
            || Position::parse(&wire.position_text)? == position)
            && (wire.time_text.is_empty() || Timestamp::parse(&wire.time_text)? == time);
        if !agrees {
            return Err(RecordError::TextDisagrees);
        }
        if wire.unknown.len() > MAX_UNKNOWN_BYTES {
            return Err(RecordError::TooManyUnknown);
        }
        let extras = Extras {
            position_text: wire.position_text,
            time_text: wire.time_text,
            unknown: wire.unknown,
        };
        Ok(Self {
            client: ClientId::parse(&wire.client_id)?,
            position,
            time,
            receive_time,
            origin: NodeName::parse(&wire.origin)?,
            generation: wire.generation,
            forgotten: wire.forgotten,
            extras: extras.boxed(),
        })
    }
}

/// Why a `Record` from a peer is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A text field is no UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// The client id breaks a rule.
    #[error("client_id {0}")]
    Client(#[from] ClientIdError),
    /// The origin is no node name.
    #[error("origin {0}")]
    Origin(#[from] NodeNameError),
    /// Latitude or longitude out of range.
    #[error("position is out of range")]
    PositionOutOfRange,
    /// A time out of range, or a text that is no time.
    #[error("time {0}")]
    Time(#[from] TimestampError),
    /// A text that is no position.
    #[error("position_text {0}")]
    PositionText(#[from] PositionError),
    /// A text of more than [`LocationRecord::MAX_TEXT_BYTES`] bytes.
    #[error("a text is too long")]
    TextTooLong,
    /// A text says something else than the number beside it.
    #[error("a text and its number disagree")]
    TextDisagrees,
    /// More than 4,096 bytes of unknown fields.
    #[error("too many unknown fields")]
    TooManyUnknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Report;

    fn record() -> LocationRecord {
        Report::from_operands("kiwi", "+12-118", "1700000000.5").unwrap().into_record(
            NodeName::parse("Bailey").unwrap(),
            Timestamp::parse("1700000001").unwrap(),
            3,
        )
    }

    #[test]
    fn a_record_survives_both_wire_forms() {
        let mut record = record();
        assert_eq!(LocationRecord::try_from(Record::from(&record)), Ok(record.clone()));
        record.generation = 0; // answers to clients leave it out
        assert_eq!(LocationRecord::try_from(v1::Location::from(&record)), Ok(record));
    }

    #[test]
    fn each_broken_rule_of_a_peers_record_has_its_error() {
        let refused = |change: fn(&mut Record)| {
            let mut wire = Record::from(&record());
            change(&mut wire);
            LocationRecord::try_from(wire).unwrap_err()
        };
        assert_eq!(refused(|r| r.damaged = true), RecordError::NotUtf8);
        assert_eq!(refused(|r| r.client_id = "".into()), ClientIdError::Empty.into());
        assert_eq!(refused(|r| r.origin = "a b".into()), NodeNameError.into());
        assert_eq!(refused(|r| r.latitude_e7 = i32::MIN), RecordError::PositionOutOfRange);
        assert_eq!(refused(|r| r.time_unix_nanos = -1), TimestampError::OutOfRange.into());
        assert_eq!(refused(|r| r.position_text = "x".into()), PositionError::NotIso6709.into());
        assert_eq!(refused(|r| r.time_text = "1".repeat(200).into()), RecordError::TextTooLong);
        assert_eq!(refused(|r| r.time_text = "7".into()), RecordError::TextDisagrees);
        assert_eq!(refused(|r| r.unknown = vec![0; 5000]), RecordError::TooManyUnknown);
    }
}
