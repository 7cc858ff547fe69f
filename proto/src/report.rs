use compact_str::CompactString;

use crate::record::Extras;
use crate::{ClientId, LocationRecord, NodeName, Position, Timestamp, Violations, v1};

/// A client's report, checked: what an IAMAT line or a `ReportRequest` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub client: ClientId,
    /// Where it is.
    pub position: Position,
    /// Its clock; `None` leaves it to the node's.
    pub time: Option<Timestamp>,
    /// Empty where canonical.
    pub(crate) position_text: CompactString,
    /// Empty where canonical.
    pub(crate) time_text: CompactString,
}

impl Report {
    /// A report whose operands are spelled canonically.
    pub fn new(client: ClientId, position: Position, time: Option<Timestamp>) -> Self {
        let (position_text, time_text) = Default::default();
        Self { client, position, time, position_text, time_text }
    }

    /// Reads the three operands of an IAMAT line. The violations name them by the fields of
    /// `ReportRequest`.
    pub fn from_operands(client: &str, position: &str, time: &str) -> Result<Self, Violations> {
        let mut wrong = Violations::default();
        let client = wrong.check("client_id", ClientId::parse(client));
        let position = position_operand(&mut wrong, position);
        let time = time_operand(&mut wrong, time);
        let report = (|| {
            let ((position, position_text), (time, time_text)) = (position?, time?);
            let time = Some(time);
            Some(Self { client: client?, position, time, position_text, time_text })
        })();
        wrong.into_result(report)
    }

    /// Checks a request; all broken rules are reported together.
    pub fn from_request(request: &v1::ReportRequest) -> Result<Self, Violations> {
        let mut wrong = Violations::default();
        let client = wrong.check("client_id", ClientId::parse(&request.client_id));
        let position = request_position(&mut wrong, request);
        let time = request_time(&mut wrong, request);
        let report = (|| {
            let ((position, position_text), (time, time_text)) = (position?, time?);
            Some(Self { client: client?, position, time, position_text, time_text })
        })();
        wrong.into_result(report)
    }

    /// The report as a request. Texts stand in for the typed fields where they are kept.
    pub fn into_request(self) -> v1::ReportRequest {
        let position = self.position_text.is_empty().then(|| self.position.into());
        let time = self.time.filter(|_| self.time_text.is_empty()).map(Into::into);
        v1::ReportRequest {
            client_id: self.client.as_str().into(),
            position,
            time,
            position_text: self.position_text,
            time_text: self.time_text,
            min_peers: 0,
        }
    }

    /// The record that `origin` makes of the report at `receive_time`.
    pub fn into_record(
        self,
        origin: NodeName,
        receive_time: Timestamp,
        generation: u32,
    ) -> LocationRecord {
        let extras = Extras {
            position_text: self.position_text,
            time_text: self.time_text,
            unknown: Vec::new(),
        };
        LocationRecord {
            client: self.client,
            position: self.position,
            time: self.time.unwrap_or(receive_time),
            receive_time,
            origin,
            generation,
            forgotten: false,
            extras: extras.boxed(),
        }
    }
}

/// A position and its text where that is not canonical.
fn position_operand(wrong: &mut Violations, text: &str) -> Option<(Position, CompactString)> {
    short_enough(wrong, "position_text", text)?;
    let position = wrong.check("position_text", Position::parse(text))?;
    let kept = if position.is_canonical(text) { "" } else { text };
    Some((position, CompactString::new(kept)))
}

/// A time and its text where that is not canonical.
fn time_operand(wrong: &mut Violations, text: &str) -> Option<(Timestamp, CompactString)> {
    short_enough(wrong, "time_text", text)?;
    let time = wrong.check("time_text", Timestamp::parse(text))?;
    let kept = if Timestamp::is_canonical(text) { "" } else { text };
    Some((time, CompactString::new(kept)))
}

fn short_enough(wrong: &mut Violations, field: &str, text: &str) -> Option<()> {
    let max = LocationRecord::MAX_TEXT_BYTES;
    if text.len() > max {
        wrong.add(field, format_args!("must be at most {max} bytes, got {}", text.len()));
        return None;
    }
    Some(())
}

fn request_position(
    wrong: &mut Violations,
    request: &v1::ReportRequest,
) -> Option<(Position, CompactString)> {
    let typed = match &request.position {
        Some(position) => Some(typed_position(wrong, "position", position)?),
        None => None,
    };
    if request.position_text.is_empty() {
        if typed.is_none() {
            wrong.add("position", "must be set, or position_text");
        }
        return typed.map(|position| (position, CompactString::default()));
    }
    let read = position_operand(wrong, &request.position_text)?;
    if typed.is_some_and(|position| position != read.0) {
        wrong.add("position_text", "must say the same as position");
        return None;
    }
    Some(read)
}

/// Checks the degrees of the field at `path`.
pub(crate) fn typed_position(
    wrong: &mut Violations,
    path: &str,
    position: &v1::Position,
) -> Option<Position> {
    let (latitude, longitude) = (position.latitude, position.longitude);
    if let Ok(position) = Position::from_degrees(latitude, longitude) {
        return Some(position);
    }
    // Both are looked at, so that both can be named.
    if Position::from_degrees(latitude, 0.0).is_err() {
        let rule = format!("must be between -90 and 90 degrees, got {latitude}");
        wrong.add(&format!("{path}.latitude"), rule);
    }
    if Position::from_degrees(0.0, longitude).is_err() {
        let rule = format!("must be between -180 and 180 degrees, got {longitude}");
        wrong.add(&format!("{path}.longitude"), rule);
    }
    None
}

fn request_time(
    wrong: &mut Violations,
    request: &v1::ReportRequest,
) -> Option<(Option<Timestamp>, CompactString)> {
    let typed = match &request.time {
        Some(time) => Some(wrong.check("time", Timestamp::try_from(time))?),
        None => None,
    };
    if request.time_text.is_empty() {
        return Some((typed, CompactString::default()));
    }
    let (time, text) = time_operand(wrong, &request.time_text)?;
    if typed.is_some_and(|typed| typed != time) {
        wrong.add("time_text", "must say the same as time");
        return None;
    }
    Some((Some(time), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(result: Result<Report, Violations>) -> Vec<String> {
        result.unwrap_err().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn canonical_operands_need_no_text() {
        let report =
            Report::from_operands("kiwi", "+34.068930-118.445127", "1700000000.123456789").unwrap();
        let request = report.clone().into_request();
        assert!(request.position_text.is_empty() && request.time_text.is_empty());
        assert_eq!(Report::from_request(&request), Ok(report));
    }

    #[test]
    fn other_spellings_are_kept_to_the_byte() {
        for (position, time) in [
            ("+27.5916+086.5640", "0"),
            ("+12-118", "1700000000.5"),
            ("+34.000000-118.100000", "1700000000.1234567891"),
            ("+034.0689301234-118.445127", "00.100000000"),
        ] {
            let report = Report::from_operands("kiwi", position, time).unwrap();
            let request = report.clone().into_request();
            assert_eq!(Report::from_request(&request), Ok(report.clone()));
            let record =
                report.into_record(NodeName::parse("Bailey").unwrap(), Timestamp::EPOCH, 0);
            assert_eq!(record.position_text().to_string(), position);
            assert_eq!(record.time_text().to_string(), time);
        }
    }

    #[test]
    fn every_broken_rule_is_named_by_its_field() {
        let request = v1::ReportRequest {
            client_id: "two words".into(),
            position: Some(v1::Position { latitude: 91.0, longitude: f64::NAN }),
            time: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(
            fields(Report::from_request(&request)),
            ["client_id", "position.latitude", "position.longitude", "time"]
        );
        assert_eq!(
            fields(Report::from_request(&v1::ReportRequest::default())),
            ["client_id", "position"]
        );
        assert_eq!(
            fields(Report::from_operands("", "here", "noon")),
            ["client_id", "position_text", "time_text"]
        );
        let long = "1".repeat(129);
        assert_eq!(fields(Report::from_operands("kiwi", "+1-1", &long)), ["time_text"]);
    }

    #[test]
    fn typed_fields_and_texts_must_agree() {
        let request = |text: &str, latitude| v1::ReportRequest {
            client_id: "kiwi".into(),
            position: Some(v1::Position { latitude, longitude: -118.0 }),
            position_text: text.into(),
            ..Default::default()
        };
        assert!(Report::from_request(&request("+12-118", 12.0)).is_ok());
        assert_eq!(fields(Report::from_request(&request("+12-118", 13.0))), ["position_text"]);
    }
}
