use std::time::Duration;

use herd_gateway::{Config, Limits};
use tonic::Code;

use crate::fake_node::{Behaviour, FakeNode, Script};
use crate::support::{Client, ask, iamat, named, recorded, start};

fn failing(code: Code) -> Behaviour {
    Behaviour { query_error: Some(code), ..Behaviour::default() }
}

/// What stands in place of places.
fn body(status: &str, message: &str) -> String {
    format!(
        "{{\n   \"error_message\" : \"{message}\",\n   \"html_attributions\" : [],\n   \
         \"results\" : [],\n   \"status\" : \"{status}\"\n}}\n\n"
    )
}

#[tokio::test]
async fn each_command_of_a_connection_sees_those_before_it_and_not_those_after() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let input = "IAMAT kiwi +1+1 1700000000\nWHATSAT kiwi 10 5\nIAMAT kiwi +2+2 1700000001\n\
                 WHATSAT kiwi 2.5 0\n";
    let expected = "AT Bailey +1.250000000 kiwi +1+1 1700000000\n\
                    AT Bailey +1.250000000 kiwi +1+1 1700000000\n\
                    {\n   \"meters\" : 10000,\n   \"bound\" : 5\n}\n\n\
                    AT Bailey +0.250000000 kiwi +2+2 1700000001\n\
                    AT Bailey +0.250000000 kiwi +2+2 1700000001\n\
                    {\n   \"meters\" : 2500,\n   \"bound\" : 0\n}\n\n";
    assert_eq!(ask(address, input).await, expected);
}

#[tokio::test]
async fn the_provider_failing_still_gives_the_location() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    ask(address, iamat("kiwi")).await;
    for (code, status, message) in [
        (Code::Unavailable, "UNKNOWN_ERROR", "The places provider could not be asked."),
        (Code::DeadlineExceeded, "UNKNOWN_ERROR", "The places provider did not answer in time."),
        (Code::ResourceExhausted, "OVER_QUERY_LIMIT", "Too many questions about places."),
        (
            Code::FailedPrecondition,
            "REQUEST_DENIED",
            "The places provider refused the credentials.",
        ),
    ] {
        script.behave(failing(code));
        let expected = format!("{}{}", recorded("kiwi"), body(status, message));
        assert_eq!(ask(address, "WHATSAT kiwi 10 5\n").await, expected, "{code}");
    }
    script.behave(failing(Code::Internal));
    assert_eq!(ask(address, "WHATSAT kiwi 10 5\n").await, "? WHATSAT kiwi 10 5\n");
}

#[tokio::test]
async fn an_unknown_client_gives_a_copy_whatever_the_provider_does() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    assert_eq!(ask(address, "WHATSAT moa 10 5\n").await, "? WHATSAT moa 10 5\n");
    script.behave(failing(Code::Unavailable));
    assert_eq!(ask(address, "WHATSAT moa 10 5\n").await, "? WHATSAT moa 10 5\n");
}

#[tokio::test]
async fn a_query_that_takes_long_holds_up_nobody_else() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    ask(address, iamat("kiwi")).await;
    script.behave(Behaviour { holds_queries: true, ..Behaviour::default() });
    let mut patient = Client::connect(address).await;
    patient.send(format!("{}WHATSAT kiwi 1 1\n{}", iamat("kiwi"), iamat("moa"))).await;
    // What is ready does not wait for the query either.
    patient.expect(&recorded("kiwi")).await;
    assert_eq!(ask(address, iamat("takahe")).await, recorded("takahe"));
    script.behave(Behaviour::default());
    patient.expect(&recorded("kiwi")).await;
    patient.expect("{\n   \"meters\" : 1000,\n   \"bound\" : 1\n}\n\n").await;
    patient.expect(&recorded("moa")).await;
}

#[tokio::test]
async fn a_query_without_end_is_given_up() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let config = named(node.address);
    let limits = Limits { search_timeout: Duration::from_millis(200), ..config.limits };
    let (_gateway, address) = start(Config { limits, ..config }).await;
    ask(address, iamat("kiwi")).await;
    script.behave(Behaviour { holds_queries: true, ..Behaviour::default() });
    let message = "The places provider did not answer in time.";
    let expected = format!("{}{}", recorded("kiwi"), body("UNKNOWN_ERROR", message));
    assert_eq!(ask(address, "WHATSAT kiwi 10 5\n").await, expected);
}

#[tokio::test]
async fn a_node_that_answers_no_question_at_all_is_given_up() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let config = named(node.address);
    let limits = Limits { search_timeout: Duration::from_millis(200), ..config.limits };
    let (_gateway, address) = start(Config { limits, ..config }).await;
    ask(address, iamat("kiwi")).await;
    script.behave(Behaviour { holds_queries: true, holds_gets: true, ..Behaviour::default() });
    assert_eq!(ask(address, "WHATSAT kiwi 10 5\n").await, "? WHATSAT kiwi 10 5\n");
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_one_beyond_the_limit_of_messages_is_refused() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    ask(address, iamat("kiwi")).await;
    let large = Behaviour { json_bytes: 900_000, ..Behaviour::default() };
    script.behave(large);
    let answer = ask(address, "WHATSAT kiwi 1 1\n").await;
    assert!(answer.len() > 900_000 && answer.ends_with(" \n}\n\n"));
    script.behave(Behaviour { json_bytes: herd_proto::MAX_MESSAGE_BYTES, ..large });
    assert_eq!(ask(address, "WHATSAT kiwi 1 1\n").await, "? WHATSAT kiwi 1 1\n");
}
