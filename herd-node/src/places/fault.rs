use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long a caller should wait where nothing better is known.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why a provider gave no answer. Nothing in here quotes the provider, the key or a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// No connection, or it broke before the answer was whole.
    #[error("places provider cannot be reached: {0}")]
    Unreachable(String),
    /// Silence for longer than the configured limits.
    #[error("places provider did not answer in time")]
    Timeout,
    /// The caller had less time than the provider needed. Says nothing about the provider.
    #[error("deadline passed before the places provider answered")]
    Deadline,
    /// More questions than the rate or the number at once allows. Our own limit.
    #[error("too many questions to the places provider at once")]
    Busy {
        /// When there may be room.
        retry_after: Duration,
    },
    /// The calls that the operator allows for a day are spent. Our own limit.
    #[error("the day's calls to the places provider are spent")]
    QuotaSpent {
        /// Until the next day.
        retry_after: Duration,
    },
    /// The provider failed so often that it is left alone for a while.
    #[error("places provider is left alone for a while: {why}")]
    Resting {
        /// What made it so.
        why: Trouble,
        /// Until it is asked again.
        retry_after: Duration,
    },
    /// An HTTP status that carries no answer.
    #[error("places provider answered with HTTP status {code}")]
    Http {
        /// The status.
        code: u16,
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// HTTP 429, or the provider's own word for it.
    #[error("places provider refuses so many questions")]
    Throttled {
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// HTTP 401 or 403. The operator must act.
    #[error("places provider refused the credentials")]
    Refused,
    /// More bytes than are read, counted after decompression.
    #[error("places provider's answer exceeds {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not UTF-8, not JSON, or JSON of another shape.
    #[error("places provider's answer is not in its documented form")]
    Malformed,
    /// The provider says that it failed.
    #[error("places provider reports a failure of its own")]
    Failed,
    /// A task of ours ended early: a bug, or the node is stopping.
    #[error("the question to the places provider was given up")]
    GivenUp,
}

/// What kind of trouble a provider is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    /// It fails, or cannot be reached.
    Failing,
    /// It refuses so many questions.
    Throttled,
    /// It refuses the credentials.
    Refused,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failing => "it failed too often",
            Self::Throttled => "it refuses so many questions",
            Self::Refused => "it refused the credentials",
        })
    }
}

impl Fault {
    /// Whether it tells that the provider is ill; the others are the callers' or our own doing.
    pub(super) fn blames_the_provider(&self) -> bool {
        !matches!(
            self,
            Self::Deadline | Self::Busy { .. } | Self::QuotaSpent { .. } | Self::GivenUp
        )
    }

    /// One word for it, for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::Busy { .. } => "busy",
            Self::QuotaSpent { .. } => "quota_spent",
            Self::Resting { .. } => "resting",
            Self::Http { .. } => "http_status",
            Self::Throttled { .. } => "throttled",
            Self::Refused => "refused",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Timeout | Self::Deadline => Code::DeadlineExceeded,
            Self::Busy { .. }
            | Self::QuotaSpent { .. }
            | Self::Throttled { .. }
            | Self::Resting { why: Trouble::Throttled, .. } => Code::ResourceExhausted,
            Self::Refused | Self::Resting { why: Trouble::Refused, .. } => Code::FailedPrecondition,
            // It tells nothing about the provider: another node can answer.
            Self::GivenUp => Code::Aborted,
            Self::Unreachable(_)
            | Self::Http { .. }
            | Self::TooLarge { .. }
            | Self::Malformed
            | Self::Failed
            | Self::Resting { why: Trouble::Failing, .. } => Code::Unavailable,
        }
    }

    /// When to ask again; `None` where that helps nobody before an operator has acted.
    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Refused | Self::Resting { why: Trouble::Refused, .. } => None,
            Self::Busy { retry_after }
            | Self::QuotaSpent { retry_after }
            | Self::Resting { retry_after, .. } => Some(*retry_after),
            Self::Http { retry_after, .. } | Self::Throttled { retry_after } => {
                Some(retry_after.unwrap_or(RETRY_DELAY))
            }
            _ => Some(RETRY_DELAY),
        }
    }
}

impl From<Fault> for Status {
    /// With a `google.rpc.RetryInfo` wherever asking again can help.
    fn from(fault: Fault) -> Self {
        let (code, message) = (fault.code(), fault.to_string());
        match fault.retry_delay() {
            Some(delay) => {
                let details = ErrorDetails::with_retry_info(Some(delay));
                Self::with_error_details(code, message, details)
            }
            None => Self::new(code, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_grpc_code_and_says_when_to_ask_again() {
        let second = Duration::from_secs(1);
        let minute = Duration::from_mins(1);
        let resting = |why| Fault::Resting { why, retry_after: minute };
        let table = [
            (Fault::Unreachable("connection refused".into()), Code::Unavailable, Some(second)),
            (Fault::Timeout, Code::DeadlineExceeded, Some(second)),
            (Fault::Deadline, Code::DeadlineExceeded, Some(second)),
            (Fault::Busy { retry_after: minute }, Code::ResourceExhausted, Some(minute)),
            (Fault::QuotaSpent { retry_after: minute }, Code::ResourceExhausted, Some(minute)),
            (resting(Trouble::Failing), Code::Unavailable, Some(minute)),
            (resting(Trouble::Throttled), Code::ResourceExhausted, Some(minute)),
            (resting(Trouble::Refused), Code::FailedPrecondition, None),
            (Fault::Http { code: 500, retry_after: None }, Code::Unavailable, Some(second)),
            (Fault::Http { code: 503, retry_after: Some(minute) }, Code::Unavailable, Some(minute)),
            (Fault::Throttled { retry_after: None }, Code::ResourceExhausted, Some(second)),
            (Fault::Throttled { retry_after: Some(minute) }, Code::ResourceExhausted, Some(minute)),
            (Fault::Refused, Code::FailedPrecondition, None),
            (Fault::TooLarge { limit: 1 }, Code::Unavailable, Some(second)),
            (Fault::Malformed, Code::Unavailable, Some(second)),
            (Fault::Failed, Code::Unavailable, Some(second)),
            (Fault::GivenUp, Code::Aborted, Some(second)),
        ];
        for (fault, code, delay) in table {
            let status = Status::from(fault.clone());
            assert_eq!(status.code(), code, "{fault}");
            let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
            assert_eq!(told, delay, "{fault}");
        }
    }
}
