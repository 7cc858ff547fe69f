//! Leaves a provider alone while it is in trouble. Pure: it is told the time and draws nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::verdict::Verdict;
use crate::places::fault::Trouble;

/// How far back outcomes count, in steps of a second.
const WINDOW_SECONDS: usize = 10;

/// Fewer outcomes within the window tell too little.
const MIN_OUTCOMES: u32 = 10;

/// So many failures without an answer in between tell enough, however long they took: callers
/// that wait for one time-out after the other never fill the window.
const MAX_STREAK: u32 = 10;

/// How long it is left alone the first time; doubled each time that it is still not well.
const FIRST_REST: Duration = Duration::from_secs(5);

const MAX_REST: Duration = Duration::from_mins(1);

/// So many refusals of the credentials in a row are not about one question: Google says
/// `REQUEST_DENIED` of either, and whoever asks next must not suffer for one.
const MAX_REFUSALS: u32 = 3;

/// How long it is left alone after that: no other question will fare better, some providers
/// charge for refusals, and an operator needs minutes.
const REFUSED_REST: Duration = Duration::from_mins(1);

/// Longest rest that a provider may ask for; another look after that costs one call.
const MAX_ASKED_REST: Duration = Duration::from_mins(10);

/// Told to callers while one question tries whether the provider is well again.
const TRIAL_DELAY: Duration = Duration::from_secs(1);

/// The breaker of one provider: closed (questions pass), open (none does), or half open (one at a
/// time tries).
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    window: Window,
    /// Failures since the last answer.
    streak: u32,
    /// Refusals of the credentials since the last answer.
    refusals: u32,
    next_rest: Duration,
    /// Raised with each key, so that what became of another key's questions does not count.
    key_number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open { why: Trouble, until: Instant },
    HalfOpen { why: Trouble, trying: bool },
}

/// How a breaker stands, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Closed,
    HalfOpen,
    Open,
}

/// The leave of one question to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leave {
    key_number: u64,
}

/// A question that may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resting {
    pub(super) why: Trouble,
    pub(super) left: Duration,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            window: Window::new(now),
            streak: 0,
            refusals: 0,
            next_rest: FIRST_REST,
            key_number: 0,
        }
    }

    /// Lets a question pass, or not. One that passes must be followed by [`Self::record`].
    pub(super) fn admit(&mut self, now: Instant) -> Result<Leave, Resting> {
        match self.state {
            State::Closed => {}
            State::Open { why, until } if now < until => {
                return Err(Resting { why, left: until - now });
            }
            State::HalfOpen { why, trying: true } => {
                return Err(Resting { why, left: TRIAL_DELAY });
            }
            State::Open { why, .. } | State::HalfOpen { why, trying: false } => {
                self.state = State::HalfOpen { why, trying: true };
            }
        }
        Ok(Leave { key_number: self.key_number })
    }

    /// Takes in how a question that passed went.
    pub(super) fn record(&mut self, now: Instant, leave: Leave, verdict: Verdict) {
        if leave.key_number != self.key_number {
            return;
        }
        let Some(trouble) = verdict.trouble() else {
            match (verdict, self.state) {
                (Verdict::Answered, _) => self.answered(now),
                // It was no trial after all; the next question is.
                (_, State::HalfOpen { why, .. }) => {
                    self.state = State::HalfOpen { why, trying: false };
                }
                _ => {}
            }
            return;
        };
        self.window.add(now, false);
        self.streak += 1;
        self.refusals += u32::from(verdict == Verdict::Refused);
        if let Some(rest) = self.rest_after(now, verdict) {
            self.open(now, trouble, rest);
        }
    }

    /// Forgets what was, for a provider that is asked with another key from now on.
    pub(super) fn start_over(&mut self, now: Instant) {
        *self = Self { key_number: self.key_number + 1, ..Self::new(now) };
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Closed => Standing::Closed,
            State::Open { until, .. } if now < until => Standing::Open,
            State::Open { .. } | State::HalfOpen { .. } => Standing::HalfOpen,
        }
    }

    fn answered(&mut self, now: Instant) {
        match self.state {
            // The answer of a question that passed before it opened; the trial decides.
            State::Open { .. } => {}
            State::HalfOpen { .. } => {
                *self = Self { key_number: self.key_number, ..Self::new(now) };
            }
            State::Closed => {
                self.window.add(now, true);
                self.streak = 0;
                self.refusals = 0;
            }
        }
    }

    /// How long to leave the provider alone from now on; `None` to go on.
    fn rest_after(&self, now: Instant, verdict: Verdict) -> Option<Duration> {
        let half_open = matches!(self.state, State::HalfOpen { .. });
        match verdict {
            Verdict::Refused if half_open || self.refusals >= MAX_REFUSALS => Some(REFUSED_REST),
            Verdict::Throttled { retry_after } => match retry_after {
                // One that says "at once" was asked again at once, and still refuses.
                None | Some(Duration::ZERO) => Some(self.next_rest),
                Some(asked) => Some(asked.min(MAX_ASKED_REST)),
            },
            _ if half_open || self.streak >= MAX_STREAK || self.window.is_bad(now) => {
                Some(self.next_rest)
            }
            _ => None,
        }
    }

    fn open(&mut self, now: Instant, why: Trouble, rest: Duration) {
        let until = now + rest;
        // Questions that passed together fail together: that is one opening.
        if let State::Open { until: already, .. } = self.state {
            self.state = State::Open { why, until: already.max(until) };
            return;
        }
        self.state = State::Open { why, until };
        self.next_rest = (self.next_rest * 2).min(MAX_REST);
        self.window = Window::new(now);
        self.streak = 0;
    }
}

/// Counts of the last seconds.
#[derive(Debug)]
struct Window {
    begin: Instant,
    seconds: [Second; WINDOW_SECONDS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    /// Since the window's begin.
    number: u64,
    good: u32,
    bad: u32,
}

impl Window {
    fn new(begin: Instant) -> Self {
        Self { begin, seconds: Default::default() }
    }

    fn add(&mut self, now: Instant, good: bool) {
        let number = now.duration_since(self.begin).as_secs();
        let second = &mut self.seconds[number as usize % WINDOW_SECONDS];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        *(if good { &mut second.good } else { &mut second.bad }) += 1;
    }

    /// Whether at least half of enough outcomes are bad.
    fn is_bad(&self, now: Instant) -> bool {
        let number = now.duration_since(self.begin).as_secs();
        let recent =
            self.seconds.iter().filter(|second| second.number + WINDOW_SECONDS as u64 > number);
        let (good, bad) =
            recent.fold((0, 0), |(good, bad), second| (good + second.good, bad + second.bad));
        good + bad >= MIN_OUTCOMES && bad >= good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Verdict = Verdict::Failed { again: false, retry_after: None };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn new() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(now), now)
    }

    fn record(breaker: &mut Breaker, now: Instant, verdict: Verdict, times: u32) {
        for _ in 0..times {
            let leave = breaker.admit(now).unwrap();
            breaker.record(now, leave, verdict);
        }
    }

    #[test]
    fn half_of_ten_failing_within_ten_seconds_open_it_and_fewer_do_not() {
        let (mut breaker, now) = new();
        record(&mut breaker, now, Verdict::Answered, 5);
        record(&mut breaker, now + seconds(1), FAILED, 4);
        assert_eq!(breaker.standing(now + seconds(1)), Standing::Closed);
        record(&mut breaker, now + seconds(2), FAILED, 1);
        assert_eq!(breaker.standing(now + seconds(2)), Standing::Open);

        let (mut breaker, now) = new();
        record(&mut breaker, now, Verdict::Answered, 6);
        record(&mut breaker, now, FAILED, 4);
        assert_eq!(breaker.standing(now), Standing::Closed, "four of ten");
        let later = now + seconds(10);
        record(&mut breaker, later, FAILED, 1);
        assert_eq!(breaker.standing(later), Standing::Closed, "the first ten are too old");
    }

    #[test]
    fn ten_failures_in_a_row_open_it_however_slow_they_are() {
        let (mut breaker, mut now) = new();
        for _ in 0..9 {
            record(&mut breaker, now, FAILED, 1);
            now += seconds(4);
        }
        assert_eq!(breaker.standing(now), Standing::Closed);
        record(&mut breaker, now, FAILED, 1);
        let why = Trouble::Failing;
        assert_eq!(breaker.admit(now), Err(Resting { why, left: FIRST_REST }));
    }

    #[test]
    fn one_question_at_a_time_tries_and_an_answer_closes_it() {
        let (mut breaker, now) = new();
        record(&mut breaker, now, FAILED, 10);
        let now = now + FIRST_REST;
        assert_eq!(breaker.standing(now), Standing::HalfOpen);
        let leave = breaker.admit(now).unwrap();
        assert!(breaker.admit(now).is_err(), "a trial is under way");
        breaker.record(now, leave, Verdict::Unjudged);
        let leave = breaker.admit(now).expect("the trial never reached the provider");
        breaker.record(now, leave, Verdict::Answered);
        assert_eq!(breaker.standing(now), Standing::Closed);
        record(&mut breaker, now, FAILED, 9);
        assert_eq!(breaker.standing(now), Standing::Closed, "what was before is forgotten");
    }

    #[test]
    fn each_trial_that_fails_doubles_the_rest_up_to_a_minute() {
        let (mut breaker, mut now) = new();
        record(&mut breaker, now, FAILED, 10);
        for rest in [5, 10, 20, 40, 60, 60].map(seconds) {
            let Err(Resting { left, .. }) = breaker.admit(now) else { panic!("closed") };
            assert_eq!(left, rest);
            now += rest;
            record(&mut breaker, now, FAILED, 1);
        }
    }

    #[test]
    fn three_refusals_of_the_key_in_a_row_open_it_for_a_minute_and_so_does_each_trial() {
        let (mut breaker, mut now) = new();
        record(&mut breaker, now, Verdict::Refused, 2);
        record(&mut breaker, now, Verdict::Answered, 1);
        record(&mut breaker, now, Verdict::Refused, 2);
        let why = Trouble::Refused;
        for _ in 0..3 {
            record(&mut breaker, now, Verdict::Refused, 1);
            assert_eq!(breaker.admit(now), Err(Resting { why, left: REFUSED_REST }));
            now += REFUSED_REST;
            assert_eq!(breaker.standing(now), Standing::HalfOpen);
        }
        record(&mut breaker, now, Verdict::Answered, 1);
        assert_eq!(breaker.standing(now), Standing::Closed);
    }

    #[test]
    fn another_key_closes_it_at_once_and_is_not_blamed_for_the_one_before() {
        let (mut breaker, now) = new();
        let late = breaker.admit(now).unwrap();
        record(&mut breaker, now, Verdict::Refused, 3);
        breaker.start_over(now);
        assert_eq!(breaker.standing(now), Standing::Closed);
        breaker.record(now, late, Verdict::Refused);
        assert_eq!(breaker.standing(now), Standing::Closed, "it was asked with the other key");
        record(&mut breaker, now, Verdict::Refused, 3);
        assert_eq!(breaker.standing(now), Standing::Open);
    }

    #[test]
    fn a_provider_that_says_when_to_come_back_is_left_alone_until_then() {
        let (mut breaker, now) = new();
        record(&mut breaker, now, Verdict::Throttled { retry_after: Some(seconds(7)) }, 1);
        let why = Trouble::Throttled;
        assert_eq!(breaker.admit(now), Err(Resting { why, left: seconds(7) }));
        let now = now + seconds(7);
        let for_ever = Some(Duration::from_secs(u64::MAX));
        record(&mut breaker, now, Verdict::Throttled { retry_after: for_ever }, 1);
        assert_eq!(breaker.admit(now), Err(Resting { why, left: MAX_ASKED_REST }));
    }

    #[test]
    fn throttling_without_a_word_of_when_opens_it_for_longer_each_time() {
        for said in [None, Some(Duration::ZERO)] {
            let (mut breaker, mut now) = new();
            let why = Trouble::Throttled;
            for rest in [5, 10, 20].map(seconds) {
                record(&mut breaker, now, Verdict::Throttled { retry_after: said }, 1);
                assert_eq!(breaker.admit(now), Err(Resting { why, left: rest }));
                now += rest;
            }
        }
    }

    #[test]
    fn questions_that_passed_before_it_opened_change_little() {
        let (mut breaker, now) = new();
        let leaves: Vec<_> = (0..12).map(|_| breaker.admit(now).unwrap()).collect();
        let (last, failing) = leaves.split_last().unwrap();
        for leave in failing {
            breaker.record(now, *leave, FAILED);
        }
        breaker.record(now, *last, Verdict::Answered);
        let why = Trouble::Failing;
        assert_eq!(breaker.admit(now), Err(Resting { why, left: FIRST_REST }));
    }
}
