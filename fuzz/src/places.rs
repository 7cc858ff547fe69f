use herd_node::places::cut_answer;

/// Providers' answers: whatever a server sends, it is refused or passed on as text that text
/// clients can read to its end.
///
/// The first byte says to how many results the answer is cut.
///
/// # Panics
/// Where that does not hold.
pub fn places(input: &[u8]) {
    let Some((count, body)) = input.split_first() else { return };
    let count = usize::from(*count);
    let Some(cut) = cut_answer(body.to_vec(), count) else { return };
    assert!(cut.len() <= body.len() + 2, "it grew");
    assert!(!cut.contains("\n\n") && !cut.ends_with('\n'), "its end would be read too soon");
    // What was cut is an answer itself, and cutting it again changes nothing.
    assert_eq!(cut_answer(cut.clone().into_bytes(), count), Some(cut));
}
