use herd_node::places::{ApiKind, Tier, cut_answer, read_answer};

/// Providers' answers: whatever a server sends, it is refused or passed on as text that text
/// clients can read to its end, in the form of Nearby Search (legacy).
///
/// Of the first byte the upper two bits say whose answer it is, the next whether it comes with an
/// HTTP error, and the others to how many results it is cut.
///
/// # Panics
/// Where that does not hold.
pub fn places(input: &[u8]) {
    let Some((options, body)) = input.split_first() else { return };
    let count = usize::from(*options & 0x1f);
    let api = match options >> 6 {
        0 => {
            let Some(cut) = cut_answer(body.to_vec(), count) else { return };
            assert!(cut.len() <= body.len() + 2, "it grew");
            return check(cut, count);
        }
        1 => ApiKind::GoogleLegacy,
        2 => ApiKind::GoogleNew(Tier::Enterprise),
        _ => ApiKind::Wikipedia,
    };
    let status = if options & 0x20 == 0 { 200 } else { 403 };
    if let Some(told) = read_answer(api, status, body.to_vec(), count) {
        check(told, count);
    }
}

fn check(told: String, count: usize) {
    assert!(!told.contains("\n\n") && !told.ends_with('\n'), "its end would be read too soon");
    // What was told is an answer itself, and cutting it again changes nothing.
    assert_eq!(cut_answer(told.clone().into_bytes(), count), Some(told));
}
