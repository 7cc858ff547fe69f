use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::{Report, TraceContext, v1, wire_text};

/// A `ReportStreamRequest`, written in the form of the wire report by report.
///
/// Whoever sends many reports needs them in no other form, and two such messages are joined by
/// putting the bytes of one behind those of the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedReports(Vec<u8>);

impl EncodedReports {
    /// The path of the method that takes them.
    pub const METHOD: &str = "/herd.v1.Locations/ReportStream";

    /// Makes room for reports of about so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    /// Adds a report.
    pub fn push(&mut self, report: &Report) {
        // Field 1 of the request, and then the fields of a `ReportRequest` by their numbers.
        put_message(1, &mut self.0, |buf| {
            wire_text::put(1, report.client.as_str(), buf);
            if report.position_text.is_empty() {
                put_message(2, buf, |buf| {
                    put_double(1, report.position.latitude(), buf);
                    put_double(2, report.position.longitude(), buf);
                });
            }
            if let Some(time) = report.time.filter(|_| report.time_text.is_empty()) {
                let time = prost_types::Timestamp::from(time);
                put_message(3, buf, |buf| {
                    put_number(1, time.seconds, buf);
                    put_number(2, time.nanos.into(), buf);
                });
            }
            wire_text::put(4, &report.position_text, buf);
            wire_text::put(5, &report.time_text, buf);
        });
    }

    /// Adds the trace that the report at `index` belongs to.
    pub fn trace(&mut self, index: usize, context: &TraceContext) {
        encoding::message::encode(2, &v1::ItemTrace::new(index, context), &mut self.0);
    }

    /// Adds the reports of another message behind those of this one.
    pub fn append(&mut self, later: &Self) {
        self.0.extend_from_slice(&later.0);
    }
}

// Inlined, as what is called for each report: how the crate is cut into units must not decide it.

/// Writes a field whose length is known once it stands there.
#[inline]
fn put_message(tag: u32, buf: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    let start = buf.len();
    // Nearly always one byte is enough for the length.
    buf.push(0);
    body(buf);
    let length = buf.len() - start - 1;
    if length < 0x80 {
        buf[start] = length as u8;
    } else {
        let mut varint = Vec::new();
        encoding::encode_varint(length as u64, &mut varint);
        buf.splice(start..=start, varint);
    }
}

#[inline]
fn put_double(tag: u32, value: f64, buf: &mut Vec<u8>) {
    if value != 0.0 {
        encoding::double::encode(tag, &value, buf);
    }
}

#[inline]
fn put_number(tag: u32, value: i64, buf: &mut Vec<u8>) {
    if value != 0 {
        encoding::int64::encode(tag, &value, buf);
    }
}

/// Made to be sent. What is decoded into it is checked as a `ReportStreamRequest`.
impl Message for EncodedReports {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut request = v1::ReportStreamRequest::default();
        request.merge_field(tag, wire_type, buf, ctx)?;
        request.encode_raw(&mut self.0);
        Ok(())
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, Position};

    fn reports() -> Vec<Report> {
        let long = "x".repeat(ClientId::MAX_BYTES);
        let mut reports: Vec<_> = [
            ("kiwi", "+34.068930-118.445127", "1700000000.123456789"),
            ("kiwi", "+00.000000+000.000000", "0.000000000"),
            ("kiwi", "+12-118", "1700000000.5"),
            (long.as_str(), "-0.5+0.25", "00"),
        ]
        .iter()
        .map(|(client, position, time)| Report::from_operands(client, position, time).unwrap())
        .collect();
        let client = ClientId::parse("timeless").unwrap();
        reports.push(Report::new(client, Position::from_e7(1, -1).unwrap(), None));
        reports
    }

    #[test]
    fn the_bytes_are_those_of_the_generated_message() {
        let mut encoded = EncodedReports::default();
        for report in reports() {
            encoded.push(&report);
        }
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(parent).unwrap();
        encoded.trace(3, &context);
        let reports = reports().into_iter().map(Report::into_request).collect();
        let traces = vec![v1::ItemTrace::new(3, &context)];
        let request = v1::ReportStreamRequest { reports, traces };
        assert_eq!(encoded.encode_to_vec(), request.encode_to_vec());
        assert_eq!(EncodedReports::decode(&*request.encode_to_vec()).unwrap(), encoded);
    }

    #[test]
    fn joined_messages_hold_the_reports_of_both() {
        let (mut first, mut second) = (EncodedReports::default(), EncodedReports::default());
        first.push(&reports()[0]);
        second.push(&reports()[2]);
        first.append(&second);
        let request = v1::ReportStreamRequest::decode(&*first.encode_to_vec()).unwrap();
        let read: Vec<_> =
            request.reports.iter().map(|report| Report::from_request(report).unwrap()).collect();
        assert_eq!(read, [reports()[0].clone(), reports()[2].clone()]);
    }
}
