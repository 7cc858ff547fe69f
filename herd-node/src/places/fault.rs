use tonic::{Code, Status};

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
    /// All concurrent requests are taken and none became free in time. Our own limit.
    #[error("too many questions to the places provider at once")]
    Busy,
    /// An HTTP status that carries no answer.
    #[error("places provider answered with HTTP status {0}")]
    Http(u16),
    /// HTTP 429.
    #[error("places provider refuses so many questions")]
    Throttled,
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
    #[error("places provider's answer is no Nearby Search JSON")]
    Malformed,
}

impl Fault {
    /// Whether it tells that the provider is ill; the others are the callers' or our own doing.
    pub(super) fn blames_the_provider(&self) -> bool {
        !matches!(self, Self::Deadline | Self::Busy)
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::Timeout | Fault::Deadline => Code::DeadlineExceeded,
            Fault::Busy | Fault::Throttled => Code::ResourceExhausted,
            Fault::Refused => Code::FailedPrecondition,
            Fault::Unreachable(_) | Fault::Http(_) | Fault::TooLarge { .. } | Fault::Malformed => {
                Code::Unavailable
            }
        };
        Self::new(code, fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_grpc_code() {
        let table = [
            (Fault::Unreachable("connection refused".into()), Code::Unavailable),
            (Fault::Timeout, Code::DeadlineExceeded),
            (Fault::Deadline, Code::DeadlineExceeded),
            (Fault::Busy, Code::ResourceExhausted),
            (Fault::Http(503), Code::Unavailable),
            (Fault::Throttled, Code::ResourceExhausted),
            (Fault::Refused, Code::FailedPrecondition),
            (Fault::TooLarge { limit: 1 }, Code::Unavailable),
            (Fault::Malformed, Code::Unavailable),
        ];
        for (fault, code) in table {
            assert_eq!(Status::from(fault.clone()).code(), code, "{fault}");
        }
    }
}
