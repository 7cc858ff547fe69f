use super::*;
use crate::herd::state::{Forgotten, GenerationsExhausted, Interest};

const NOW: Duration = Duration::from_mins(1);

#[test]
fn a_forgotten_client_is_unknown_and_what_was_known_of_it_is_told() {
    let mut state = state("Bailey");
    let (known, _) = state.report(at(NOW), report("kiwi")).unwrap();
    let forgotten = state.forget(at(NOW), client("kiwi"));
    assert_eq!(forgotten, Ok(Forgotten { location: Some(known) }));
    assert_eq!(state.location(&client("kiwi")), None);
    let again = state.forget(at(NOW), client("kiwi"));
    assert_eq!(again, Ok(Forgotten { location: None }), "it is unknown by now");
}

#[test]
fn a_report_after_that_makes_it_known_again_whatever_its_time() {
    let mut state = state("Bailey");
    state.forget(at(NOW), client("kiwi")).unwrap();
    let mut late = report("kiwi");
    late.time = Some(Timestamp::EPOCH);
    assert!(state.report(at(NOW), late).unwrap().1);
    assert!(state.location(&client("kiwi")).is_some());
}

#[test]
fn forgetting_cures_a_client_whose_time_lies_in_the_far_future() {
    let mut state = state("Bailey");
    state.merge(record("kiwi", NOW * 1000, NOW), None);
    assert!(!state.report(at(NOW), report("kiwi")).unwrap().1, "shut out by the wrong time");
    state.forget(at(NOW), client("kiwi")).unwrap();
    assert!(state.report(at(NOW), report("kiwi")).unwrap().1);
}

#[test]
fn a_client_that_is_forgotten_where_it_is_unknown_is_forgotten_where_it_is_known() {
    let (mut here, mut there) = (state("Bailey"), state("Bona"));
    let reader = here.subscribe(Interest::Everything, None);
    there.report(at(NOW), report("kiwi")).unwrap();
    assert_eq!(here.forget(at(NOW), client("kiwi")), Ok(Forgotten { location: None }));
    let (_, mark) = here.pop(reader).unwrap();
    there.merge(mark.clone(), None);
    assert_eq!(there.location(&client("kiwi")), None);
}

#[test]
fn a_generation_at_its_maximum_cannot_be_outdone() {
    let mut state = state("Bailey");
    let mut last = record("kiwi", NOW, NOW);
    last.generation = u32::MAX;
    state.merge(last.clone(), None);
    assert_eq!(state.forget(at(NOW), client("kiwi")), Err(GenerationsExhausted));
    assert_eq!(state.location(&client("kiwi")), Some(&last), "nothing has changed");
}
