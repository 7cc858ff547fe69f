use bytes::{Buf, BufMut};
use compact_str::CompactString;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use crate::LocationRecord;
use crate::wire_text::{self, Merged};

/// The message `herd.v1.Record` as it stands on the wire, unchecked.
///
/// Decoded by hand for three reasons: text that is no UTF-8 must spoil the record and not the
/// whole batch, short texts need no allocation, and fields that only newer nodes know are kept
/// and forwarded, which generated code does not do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// Field 1.
    pub client_id: CompactString,
    /// Field 2.
    pub latitude_e7: i32,
    /// Field 3.
    pub longitude_e7: i32,
    /// Field 4.
    pub time_unix_nanos: i64,
    /// Field 5.
    pub receive_time_unix_nanos: i64,
    /// Field 6.
    pub origin: CompactString,
    /// Field 7.
    pub position_text: CompactString,
    /// Field 8.
    pub time_text: CompactString,
    /// Field 9.
    pub generation: u32,
    /// Field 10.
    pub forgotten: bool,
    /// All other fields, encoded, in the order of arrival.
    pub unknown: Vec<u8>,
    /// Whether a text was no UTF-8; never encoded.
    pub damaged: bool,
}

/// What is written of a record, whoever holds it.
struct Fields<'a> {
    client_id: &'a str,
    latitude_e7: i32,
    longitude_e7: i32,
    time_unix_nanos: i64,
    receive_time_unix_nanos: i64,
    origin: &'a str,
    position_text: &'a str,
    time_text: &'a str,
    generation: u32,
    forgotten: bool,
    unknown: &'a [u8],
}

impl Fields<'_> {
    fn put(&self, buf: &mut impl BufMut) {
        wire_text::put(1, self.client_id, buf);
        if self.latitude_e7 != 0 {
            encoding::sfixed32::encode(2, &self.latitude_e7, buf);
        }
        if self.longitude_e7 != 0 {
            encoding::sfixed32::encode(3, &self.longitude_e7, buf);
        }
        if self.time_unix_nanos != 0 {
            encoding::sfixed64::encode(4, &self.time_unix_nanos, buf);
        }
        if self.receive_time_unix_nanos != 0 {
            encoding::sfixed64::encode(5, &self.receive_time_unix_nanos, buf);
        }
        wire_text::put(6, self.origin, buf);
        wire_text::put(7, self.position_text, buf);
        wire_text::put(8, self.time_text, buf);
        if self.generation != 0 {
            encoding::uint32::encode(9, &self.generation, buf);
        }
        if self.forgotten {
            encoding::bool::encode(10, &self.forgotten, buf);
        }
        buf.put_slice(self.unknown);
    }

    fn len(&self) -> usize {
        let fixed = |present: bool, bytes: usize| if present { bytes } else { 0 };
        wire_text::len(self.client_id)
            + fixed(self.latitude_e7 != 0, 5)
            + fixed(self.longitude_e7 != 0, 5)
            + fixed(self.time_unix_nanos != 0, 9)
            + fixed(self.receive_time_unix_nanos != 0, 9)
            + wire_text::len(self.origin)
            + wire_text::len(self.position_text)
            + wire_text::len(self.time_text)
            + fixed(self.generation != 0, encoding::uint32::encoded_len(9, &self.generation))
            + fixed(self.forgotten, 2)
            + self.unknown.len()
    }
}

impl<'a> From<&'a Record> for Fields<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            client_id: &record.client_id,
            latitude_e7: record.latitude_e7,
            longitude_e7: record.longitude_e7,
            time_unix_nanos: record.time_unix_nanos,
            receive_time_unix_nanos: record.receive_time_unix_nanos,
            origin: &record.origin,
            position_text: &record.position_text,
            time_text: &record.time_text,
            generation: record.generation,
            forgotten: record.forgotten,
            unknown: &record.unknown,
        }
    }
}

impl<'a> From<&'a LocationRecord> for Fields<'a> {
    fn from(record: &'a LocationRecord) -> Self {
        Self {
            client_id: record.client.as_str(),
            latitude_e7: record.position.latitude_e7(),
            longitude_e7: record.position.longitude_e7(),
            time_unix_nanos: record.time.unix_nanos(),
            receive_time_unix_nanos: record.receive_time.unix_nanos(),
            origin: record.origin.as_str(),
            position_text: record.original_position_text(),
            time_text: record.original_time_text(),
            generation: record.generation,
            forgotten: record.forgotten,
            unknown: record.extras.as_ref().map_or(&[], |extras| &extras.unknown),
        }
    }
}

impl LocationRecord {
    /// Appends the record in the form of the wire, as a [`Record`] of it is encoded.
    pub fn put_wire(&self, buf: &mut Vec<u8>) {
        Fields::from(self).put(buf);
    }
}

impl prost::Message for Record {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        Fields::from(self).put(buf);
    }

    fn encoded_len(&self) -> usize {
        Fields::from(self).len()
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let damaged = &mut self.damaged;
        match tag {
            1 => merge_text(wire_type, &mut self.client_id, damaged, buf, ctx),
            2 => encoding::sfixed32::merge(wire_type, &mut self.latitude_e7, buf, ctx),
            3 => encoding::sfixed32::merge(wire_type, &mut self.longitude_e7, buf, ctx),
            4 => encoding::sfixed64::merge(wire_type, &mut self.time_unix_nanos, buf, ctx),
            5 => encoding::sfixed64::merge(wire_type, &mut self.receive_time_unix_nanos, buf, ctx),
            6 => merge_text(wire_type, &mut self.origin, damaged, buf, ctx),
            7 => merge_text(wire_type, &mut self.position_text, damaged, buf, ctx),
            8 => merge_text(wire_type, &mut self.time_text, damaged, buf, ctx),
            9 => encoding::uint32::merge(wire_type, &mut self.generation, buf, ctx),
            10 => encoding::bool::merge(wire_type, &mut self.forgotten, buf, ctx),
            _ => keep_unknown(tag, wire_type, &mut self.unknown, buf, ctx),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn merge_text(
    wire_type: WireType,
    text: &mut CompactString,
    damaged: &mut bool,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    *damaged |= wire_text::merge(wire_type, text, buf, ctx)? == Merged::NotUtf8;
    Ok(())
}

/// Copies a field of any kind but the obsolete groups, which are dropped.
fn keep_unknown(
    tag: u32,
    wire_type: WireType,
    kept: &mut Vec<u8>,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    match wire_type {
        WireType::Varint => {
            let value = encoding::decode_varint(buf)?;
            encoding::encode_key(tag, wire_type, kept);
            encoding::encode_varint(value, kept);
        }
        WireType::SixtyFourBit => {
            let mut value = 0_u64;
            encoding::fixed64::merge(wire_type, &mut value, buf, ctx)?;
            encoding::fixed64::encode(tag, &value, kept);
        }
        WireType::ThirtyTwoBit => {
            let mut value = 0_u32;
            encoding::fixed32::merge(wire_type, &mut value, buf, ctx)?;
            encoding::fixed32::encode(tag, &value, kept);
        }
        WireType::LengthDelimited => {
            let mut value = Vec::new();
            encoding::bytes::merge(wire_type, &mut value, buf, ctx)?;
            encoding::bytes::encode(tag, &value, kept);
        }
        WireType::StartGroup | WireType::EndGroup => {
            encoding::skip_field(wire_type, tag, buf, ctx)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// What a newer release might send: the same message with more fields.
    #[derive(Clone, PartialEq, prost::Message)]
    struct NewerRecord {
        #[prost(string, tag = "1")]
        client_id: String,
        #[prost(sfixed32, tag = "2")]
        latitude_e7: i32,
        #[prost(sfixed64, tag = "4")]
        time_unix_nanos: i64,
        #[prost(uint32, tag = "9")]
        generation: u32,
        #[prost(bool, tag = "10")]
        forgotten: bool,
        #[prost(string, tag = "11")]
        note: String,
        #[prost(sint64, tag = "300")]
        number: i64,
        #[prost(double, tag = "301")]
        ratio: f64,
        #[prost(float, tag = "302")]
        small: f32,
    }

    fn newer() -> NewerRecord {
        NewerRecord {
            client_id: "kiwi".into(),
            latitude_e7: -5,
            time_unix_nanos: i64::MAX,
            generation: 300,
            forgotten: true,
            note: "later".into(),
            number: -1,
            ratio: 0.5,
            small: 0.25,
        }
    }

    #[test]
    fn fields_of_newer_releases_pass_through_untouched() {
        let record = Record::decode(&*newer().encode_to_vec()).unwrap();
        assert_eq!((record.client_id.as_str(), record.generation), ("kiwi", 300));
        assert!(!record.unknown.is_empty());
        assert_eq!(NewerRecord::decode(&*record.encode_to_vec()).unwrap(), newer());
        assert_eq!(record.encoded_len(), record.encode_to_vec().len());
    }

    #[test]
    fn a_record_is_written_alike_from_either_form() {
        let mut wire = Record::decode(&*newer().encode_to_vec()).unwrap();
        wire.origin = "Bailey".into();
        wire.time_text = "9223372036.8547758070".into();
        let record = LocationRecord::try_from(wire).unwrap();
        let mut put = b"before".to_vec();
        record.put_wire(&mut put);
        assert_eq!(put, [&b"before"[..], &Record::from(&record).encode_to_vec()].concat());
    }

    #[test]
    fn text_that_is_no_utf8_marks_the_record_and_not_the_message() {
        let mut wire = Vec::new();
        encoding::bytes::encode(1, &vec![0xff_u8], &mut wire);
        encoding::uint32::encode(9, &7, &mut wire);
        let record = Record::decode(&*wire).unwrap();
        assert!(record.damaged);
        assert_eq!(record.generation, 7);
    }

    #[test]
    fn cut_messages_are_errors_and_never_panics() {
        let wire = newer().encode_to_vec();
        for end in 0..wire.len() {
            let _ = Record::decode(&wire[..end]);
        }
        assert!(Record::decode(&wire[..wire.len() - 1]).is_err());
    }
}
