use std::time::Duration;

use crate::places::fault::{Fault, Trouble};
use crate::places::page::Page;

/// What an outcome tells about the provider, and whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered.
    Answered,
    /// Our own limits or the caller's ended it: the provider was not tried.
    Unjudged,
    /// It failed.
    Failed {
        /// Whether the same question may well be answered now.
        again: bool,
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It refuses so many questions.
    Throttled {
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It refuses the credentials.
    Refused,
}

impl Verdict {
    /// The table of outcomes. `retry_after` is what the reply's head said.
    pub(super) fn of(outcome: &Result<Page, Fault>, retry_after: Option<Duration>) -> Self {
        let failed = |again| Self::Failed { again, retry_after };
        match outcome {
            Ok(page) => match page.status() {
                "UNKNOWN_ERROR" => failed(true),
                "OVER_QUERY_LIMIT" | "OVER_DAILY_LIMIT" => Self::Throttled { retry_after },
                "REQUEST_DENIED" => Self::Refused,
                // INVALID_REQUEST too: our own mistake, told by a provider that is well.
                _ => Self::Answered,
            },
            Err(Fault::Unreachable(_) | Fault::Http { code: 502..=504, .. }) => failed(true),
            // Silence has used up the time; the others would say the same again.
            Err(
                Fault::Timeout
                | Fault::Http { .. }
                | Fault::TooLarge { .. }
                | Fault::Malformed
                | Fault::Failed,
            ) => failed(false),
            Err(Fault::Throttled { .. }) => Self::Throttled { retry_after },
            Err(Fault::Refused) => Self::Refused,
            Err(
                Fault::Deadline
                | Fault::Busy { .. }
                | Fault::QuotaSpent { .. }
                | Fault::Resting { .. }
                | Fault::GivenUp,
            ) => Self::Unjudged,
        }
    }

    /// The trouble that it is a sign of.
    pub(super) fn trouble(self) -> Option<Trouble> {
        match self {
            Self::Answered | Self::Unjudged => None,
            Self::Failed { .. } => Some(Trouble::Failing),
            Self::Throttled { .. } => Some(Trouble::Throttled),
            Self::Refused => Some(Trouble::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_verdict() {
        let said = Some(Duration::from_secs(3));
        let page = |status: &str| Ok(Page::refusal(status, ""));
        let again = Verdict::Failed { again: true, retry_after: said };
        let failed = Verdict::Failed { again: false, retry_after: said };
        let throttled = Verdict::Throttled { retry_after: said };
        let http = |code| Err(Fault::Http { code, retry_after: None });
        let zero = Duration::ZERO;
        let table = [
            (page("OK"), Verdict::Answered),
            (page("ZERO_RESULTS"), Verdict::Answered),
            (page("INVALID_REQUEST"), Verdict::Answered),
            (page("NEVER_HEARD_OF"), Verdict::Answered),
            (page("UNKNOWN_ERROR"), again),
            (page("OVER_QUERY_LIMIT"), throttled),
            (page("OVER_DAILY_LIMIT"), throttled),
            (page("REQUEST_DENIED"), Verdict::Refused),
            (Err(Fault::Unreachable("reset".into())), again),
            (http(502), again),
            (http(503), again),
            (http(504), again),
            (http(500), failed),
            (http(501), failed),
            (http(302), failed),
            (http(404), failed),
            (Err(Fault::Timeout), failed),
            (Err(Fault::TooLarge { limit: 1 }), failed),
            (Err(Fault::Malformed), failed),
            (Err(Fault::Failed), failed),
            (Err(Fault::Throttled { retry_after: None }), throttled),
            (Err(Fault::Refused), Verdict::Refused),
            (Err(Fault::Deadline), Verdict::Unjudged),
            (Err(Fault::Busy { retry_after: zero }), Verdict::Unjudged),
            (Err(Fault::QuotaSpent { retry_after: zero }), Verdict::Unjudged),
            (Err(Fault::Resting { why: Trouble::Failing, retry_after: zero }), Verdict::Unjudged),
            (Err(Fault::GivenUp), Verdict::Unjudged),
        ];
        for (outcome, verdict) in table {
            assert_eq!(Verdict::of(&outcome, said), verdict, "{outcome:?}");
        }
    }
}
