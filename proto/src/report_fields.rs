//! `herd.v1.ReportRequest`, decoded by hand: a message has hundreds of them, and the generated
//! type would allocate for each text.

use bytes::{Buf, BufMut};
use compact_str::CompactString;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use crate::v1;
use crate::wire_text::{self, Merged};

/// One report of one client, as it crosses the wire; the fields are explained in
/// `locations.proto`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReportRequest {
    /// Who is reporting.
    pub client_id: CompactString,
    /// Where the client is, in degrees.
    pub position: Option<v1::Position>,
    /// The client's clock.
    pub time: Option<prost_types::Timestamp>,
    /// The position as the client wrote it.
    pub position_text: CompactString,
    /// The time as the client wrote it.
    pub time_text: CompactString,
    /// How many friends must have applied it before it is answered.
    pub min_peers: u32,
}

impl prost::Message for ReportRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        wire_text::put(1, &self.client_id, buf);
        if let Some(position) = &self.position {
            encoding::message::encode(2, position, buf);
        }
        if let Some(time) = &self.time {
            encoding::message::encode(3, time, buf);
        }
        wire_text::put(4, &self.position_text, buf);
        wire_text::put(5, &self.time_text, buf);
        if self.min_peers != 0 {
            encoding::uint32::encode(6, &self.min_peers, buf);
        }
    }

    fn encoded_len(&self) -> usize {
        let position = self.position.as_ref();
        let time = self.time.as_ref();
        let min_peers = Some(&self.min_peers).filter(|min_peers| **min_peers != 0);
        wire_text::len(&self.client_id)
            + position.map_or(0, |position| encoding::message::encoded_len(2, position))
            + time.map_or(0, |time| encoding::message::encoded_len(3, time))
            + wire_text::len(&self.position_text)
            + wire_text::len(&self.time_text)
            + min_peers.map_or(0, |min_peers| encoding::uint32::encoded_len(6, min_peers))
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => merge_text(wire_type, &mut self.client_id, buf, ctx),
            2 => {
                let position = self.position.get_or_insert_default();
                encoding::message::merge(wire_type, position, buf, ctx)
            }
            3 => {
                let time = self.time.get_or_insert_default();
                encoding::message::merge(wire_type, time, buf, ctx)
            }
            4 => merge_text(wire_type, &mut self.position_text, buf, ctx),
            5 => merge_text(wire_type, &mut self.time_text, buf, ctx),
            6 => encoding::uint32::merge(wire_type, &mut self.min_peers, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn merge_text(
    wire_type: WireType,
    text: &mut CompactString,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    match wire_text::merge(wire_type, text, buf, ctx.clone())? {
        Merged::Text => Ok(()),
        Merged::NotUtf8 => Err(not_utf8(ctx)),
    }
}

/// The error that generated code gives. It cannot be made but by decoding what causes it.
fn not_utf8(ctx: DecodeContext) -> DecodeError {
    let invalid: &[u8] = &[1, 0xff];
    let decoded =
        encoding::string::merge(WireType::LengthDelimited, &mut String::new(), &mut &*invalid, ctx);
    match decoded {
        Err(error) => error,
        Ok(()) => unreachable!("0xff is no UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// What `prost-build` would generate.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Generated {
        #[prost(string, tag = "1")]
        client_id: String,
        #[prost(message, optional, tag = "2")]
        position: Option<v1::Position>,
        #[prost(message, optional, tag = "3")]
        time: Option<prost_types::Timestamp>,
        #[prost(string, tag = "4")]
        position_text: String,
        #[prost(string, tag = "5")]
        time_text: String,
        #[prost(uint32, tag = "6")]
        min_peers: u32,
        /// Of a newer release.
        #[prost(string, tag = "7")]
        note: String,
    }

    fn generated() -> [Generated; 4] {
        let full = Generated {
            client_id: "kiwi".into(),
            position: Some(v1::Position { latitude: -1.5, longitude: 0.0 }),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            position_text: "+1-1".into(),
            time_text: "1.5".into(),
            min_peers: 300,
            note: String::new(),
        };
        let empty_parts = Generated {
            position: Some(v1::Position::default()),
            time: Some(prost_types::Timestamp::default()),
            ..Generated::default()
        };
        let long = Generated { client_id: "é".repeat(300), ..full.clone() };
        [full, empty_parts, long, Generated::default()]
    }

    #[test]
    fn the_wire_is_that_of_the_generated_message_in_both_directions() {
        for message in generated() {
            let wire = message.encode_to_vec();
            let read = ReportRequest::decode(&*wire).unwrap();
            assert_eq!(read.encode_to_vec(), wire);
            assert_eq!(read.encoded_len(), wire.len());
            assert_eq!(read.client_id, message.client_id);
            assert_eq!((read.position, read.time), (message.position, message.time));
            assert_eq!(read.min_peers, message.min_peers);
        }
    }

    #[test]
    fn text_in_pieces_is_read_like_text_in_one() {
        let wire = generated()[0].encode_to_vec();
        for cut in 0..wire.len() {
            let pieces = (&wire[..cut]).chain(&wire[cut..]);
            assert_eq!(ReportRequest::decode(pieces), ReportRequest::decode(&*wire), "{cut}");
        }
    }

    #[test]
    fn fields_of_newer_releases_are_passed_over() {
        let [message, ..] = generated();
        let newer = Generated { note: "later".into(), ..message.clone() };
        let read = |message: &Generated| ReportRequest::decode(&*message.encode_to_vec());
        assert_eq!(read(&newer), read(&message));
    }

    #[test]
    fn what_is_cut_or_no_text_is_an_error_as_in_generated_code() {
        let wire = generated()[0].encode_to_vec();
        for end in 0..wire.len() {
            let (ours, theirs) =
                (ReportRequest::decode(&wire[..end]), Generated::decode(&wire[..end]));
            assert_eq!(ours.is_err(), theirs.is_err(), "{end}");
        }
        let error = ReportRequest::decode(&[0x0a, 1, 0xff][..]).unwrap_err().to_string();
        assert!(error.contains("not UTF-8"), "{error}");
    }
}
