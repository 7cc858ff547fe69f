//! Text fields of messages that are decoded by hand, without a detour through `String`.

use bytes::{Buf, BufMut, Bytes};
use compact_str::CompactString;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

/// Writes a text field, unless the text is empty.
#[inline]
pub(crate) fn put(tag: u32, text: &str, buf: &mut impl BufMut) {
    if !text.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, buf);
        encoding::encode_varint(text.len() as u64, buf);
        buf.put_slice(text.as_bytes());
    }
}

/// How many bytes [`put`] writes for a tag up to 15.
pub(crate) fn len(text: &str) -> usize {
    if text.is_empty() {
        0
    } else {
        1 + encoding::encoded_len_varint(text.len() as u64) + text.len()
    }
}

/// What a text field brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Merged {
    Text,
    /// Bytes that are no UTF-8; `text` is as it was.
    NotUtf8,
}

/// Reads a text field into `text`.
pub(crate) fn merge(
    wire_type: WireType,
    text: &mut CompactString,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<Merged, DecodeError> {
    // Nearly always one byte tells the length, and the text lies there in one piece.
    let read = if let (WireType::LengthDelimited, [length @ 0..0x80, rest @ ..]) =
        (wire_type, buf.chunk())
        && let Some(bytes) = rest.get(..usize::from(*length))
    {
        let read = CompactString::from_utf8(bytes);
        let taken = 1 + bytes.len();
        buf.advance(taken);
        read
    } else {
        let mut bytes = Bytes::new();
        encoding::bytes::merge(wire_type, &mut bytes, buf, ctx)?;
        CompactString::from_utf8(bytes)
    };
    match read {
        Ok(read) => {
            *text = read;
            Ok(Merged::Text)
        }
        Err(_) => Ok(Merged::NotUtf8),
    }
}
