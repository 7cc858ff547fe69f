use bytes::Bytes;
use herd_gateway::line::{Command, Decoder, MAX_COMMAND_BYTES, Piece, answer};
use herd_proto::WHITE_SPACE;

/// Text clients: however bytes are cut into packets, they are the same lines, each is a command or
/// is copied back to the byte, and none is kept that is too long to be one.
///
/// The first byte says into how many packets the others are cut.
///
/// # Panics
/// Where that does not hold.
pub fn line(input: &[u8]) {
    let Some((packets, text)) = input.split_first() else { return };
    let packet = text.len().div_ceil(usize::from(*packets).max(1)).max(1);
    let mut decoder = Decoder::default();
    let mut lines = vec![Vec::new()];
    for part in text.chunks(packet) {
        decoder.input().extend_from_slice(part);
        take(&mut decoder, &mut lines);
    }
    decoder.end_line();
    take(&mut decoder, &mut lines);
    assert_eq!(lines.pop().as_deref(), Some(&[][..]), "a line without an end");

    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    let expected: Vec<_> = if text.is_empty() {
        Vec::new()
    } else {
        whole
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .collect()
    };
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line, expected);
    }
}

/// Puts each line that is complete at the end of `lines`, which always has one that is not.
fn take(decoder: &mut Decoder, lines: &mut Vec<Vec<u8>>) {
    while let Some(piece) = decoder.next_piece() {
        let Some(last) = lines.last_mut() else { return };
        match piece {
            Piece::Line(line) => {
                assert!(line.len() <= MAX_COMMAND_BYTES);
                check(&line);
                last.extend_from_slice(&line);
                lines.push(Vec::new());
            }
            Piece::LongStart => assert!(last.is_empty()),
            Piece::LongPart(part) => {
                assert!(!part.is_empty());
                last.extend_from_slice(&part);
            }
            Piece::LongEnd => lines.push(Vec::new()),
        }
    }
    decoder.compact();
}

fn check(line: &Bytes) {
    match Command::parse(line) {
        Command::Iamat(iamat) => {
            let mut words = line.split(|byte| WHITE_SPACE.contains(byte)).filter(|w| !w.is_empty());
            assert_eq!(words.next(), Some(&b"IAMAT"[..]));
            assert!(words.eq(iamat.echo.operands()), "the answer would not echo what was sent");
        }
        Command::Whatsat(query) => assert!(query.client.as_str().len() <= line.len()),
        Command::Blank => assert!(line.iter().all(|byte| WHITE_SPACE.contains(byte))),
        Command::Invalid => {
            let mut out = Vec::new();
            answer::refused(&mut out, line);
            assert_eq!(out, [b"? ", &line[..], b"\n"].concat());
        }
    }
}
