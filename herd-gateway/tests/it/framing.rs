use crate::fake_node::{FakeNode, Script};
use crate::support::{Client, ask, ask_bytes, iamat, named, recorded, start};

#[tokio::test]
async fn a_half_close_is_answered_and_then_closed() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
}

#[tokio::test]
async fn a_connection_without_a_word_is_closed_without_a_word() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    assert_eq!(ask(address, "").await, "");
    assert_eq!(ask(address, "\n \t\r\n").await, "");
}

#[tokio::test]
async fn an_answer_does_not_wait_for_a_half_close() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let mut client = Client::connect(address).await;
    for name in ["kiwi", "moa"] {
        client.send(iamat(name)).await;
        client.expect(&recorded(name)).await;
    }
}

#[tokio::test]
async fn a_command_may_come_byte_by_byte() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let mut client = Client::connect(address).await;
    client.0.set_nodelay(true).unwrap();
    for byte in iamat("kiwi").bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    client.expect(&recorded("kiwi")).await;
}

#[tokio::test]
async fn ten_thousand_lines_through_one_connection_come_back_complete_and_in_order() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let names: Vec<_> = (0..10_000).map(|index| format!("client-{index}.example.org")).collect();
    let input: String = names.iter().map(|name| iamat(name)).collect();
    let expected: String = names.iter().map(|name| recorded(name)).collect();
    assert!(ask(address, input).await == expected, "answers are missing or out of order");
    assert!(script.reported() == names, "the node saw another order");
}

#[tokio::test]
async fn ten_thousand_short_lines_in_one_go_do_not_exceed_a_message() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let answer = ask(address, "IAMAT a +0+0 0\n".repeat(10_000)).await;
    assert_eq!(answer.lines().count(), 10_000);
    assert!(script.messages().iter().all(|reports| *reports <= 1024), "{:?}", script.messages());
}

#[tokio::test]
async fn lines_good_and_bad_are_answered_in_their_order() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let input = ["one\n", &iamat("a"), "two\n", &iamat("refused-b"), &iamat("c"), "three"].concat();
    let expected =
        ["? one\n", &recorded("a"), "? two\n? ", &iamat("refused-b"), &recorded("c"), "? three\n"];
    assert_eq!(ask(address, input).await, expected.concat());
}

#[tokio::test]
async fn a_line_of_a_megabyte_is_copied_and_the_next_one_is_served() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let line = "IAMAT ".repeat(170_000);
    let answer = ask(address, format!("{line}\r\n{}", iamat("kiwi"))).await;
    assert!(answer == format!("? {line}\n{}", recorded("kiwi")), "not an exact copy");
}

#[tokio::test]
async fn binary_noise_is_copied_to_the_byte() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    // A fixed pseudo-random sequence, with long and short lines in it.
    let mut state = 7_u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (state >> 24) as u8;
            // A stretch of 20,000 bytes without a line end.
            if (50_000..70_000).contains(&index) && byte == b'\n' { 0 } else { byte }
        })
        .collect();
    let white = |line: &[u8]| line.iter().all(|byte| b" \t\n\x0b\x0c\r".contains(byte));
    let mut expected = Vec::new();
    for line in noise.split(|byte| *byte == b'\n').filter(|line| !white(line)) {
        expected.extend_from_slice(b"? ");
        expected.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        expected.push(b'\n');
    }
    assert!(ask_bytes(address, &noise).await == expected, "not an exact copy");
    assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
}
