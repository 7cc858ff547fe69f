use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use herd_proto::{Violations, violations_of};
use tonic::{Code, Status};

/// Why a call came to nothing. Each variant is a different thing for the caller to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller named no host and port.
    #[error("{address:?} is no address of a node: must be host:port")]
    Address {
        /// What was named.
        address: String,
    },
    /// There is no conversation with the node. Nothing was recorded, unless the connection
    /// broke during a call.
    #[error("cannot reach the node at {address}: {reason}")]
    Unreachable {
        /// Where the node should be.
        address: String,
        /// What stands in the way.
        reason: Unreachable,
    },
    /// The node did not answer in time. Whether it did what was asked is unknown.
    #[error("no answer to {rpc} from {address} within {}", humantime::format_duration(*after))]
    Deadline {
        /// Which node.
        address: String,
        /// The call, such as `Locations/Report`.
        rpc: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The request broke a rule. It will again, unless it is changed.
    #[error("the request breaks a rule: {violations}")]
    Invalid {
        /// The rules.
        violations: Violations,
    },
    /// The node knows no such client.
    #[error("{message}")]
    NotFound {
        /// The node's words.
        message: String,
    },
    /// The node refused for another reason.
    #[error("{rpc} at {address} failed: {message}")]
    Refused {
        /// Which node.
        address: String,
        /// The call.
        rpc: &'static str,
        /// The reason's kind.
        code: Code,
        /// The node's words.
        message: String,
    },
    /// The answer broke a rule of the protocol: the other side is no node of this herd's kind.
    #[error("the answer from {address} makes no sense: {problem}")]
    Answer {
        /// Which node.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What stands between a caller and a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The host has no address.
    #[error("the host name has no address")]
    UnknownHost,
    /// Not even the connection came up in time.
    #[error("no connection within {}", humantime::format_duration(*after))]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// Somebody answers, but not in gRPC.
    #[error("what answers there does not speak gRPC")]
    NotGrpc,
    /// It speaks TLS, and the caller plain text.
    #[error("it speaks TLS only")]
    WantsTls,
    /// The two ends do not agree on TLS: one does not accept the other's certificate, or one
    /// speaks it and the other does not.
    #[error("no TLS with it ({0})")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke ({0})")]
    Broken(String),
}

impl Error {
    /// What the caller can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some("try 127.0.0.1:50051, or a name of the herd file".into()),
            Self::Unreachable { reason, .. } => Some(reason.hint().into()),
            Self::Deadline { .. } => Some(
                "the node may be overloaded, or the port not its own; --timeout waits longer"
                    .into(),
            ),
            Self::Invalid { violations } => hint_for(violations),
            Self::NotFound { .. } => Some(
                "has the client reported yet? `herd-cli watch --current` lists those known".into(),
            ),
            Self::Refused { code: Code::Unimplemented, .. } => {
                Some("the node is of another release; `herd-cli status` shows versions".into())
            }
            Self::Refused { code: Code::Unauthenticated, .. } => {
                Some("give a token of the herd with --token-file or HERD_TOKEN".into())
            }
            Self::Refused { .. } | Self::Answer { .. } => None,
        }
    }

    /// Whether the node is there and turns this caller down, for want of a token or of TLS, say.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::Unreachable { reason: Unreachable::WantsTls | Unreachable::Tls(_), .. }
        )
    }

    /// The kind of the failure as gRPC names it, such as `INVALID_ARGUMENT`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::Invalid { .. } => "INVALID_ARGUMENT",
            Self::Unreachable { .. } => "UNAVAILABLE",
            Self::Deadline { .. } => "DEADLINE_EXCEEDED",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Answer { .. } => "INTERNAL",
            Self::Refused { code, .. } => code_name(*code),
        }
    }

    /// Sorts out why a connection did not come up.
    pub(crate) fn unreachable(
        address: &str,
        error: &(dyn StdError + 'static),
        after: Duration,
    ) -> Self {
        Self::Unreachable { address: address.into(), reason: Unreachable::found_in(error, after) }
    }

    /// Sorts out why a call failed.
    pub(crate) fn from_status(
        address: &str,
        rpc: &'static str,
        status: &Status,
        after: Duration,
    ) -> Self {
        let message = status.message().to_owned();
        let address = address.to_owned();
        // A status with a source was made on this side, out of a failure of the connection.
        if let Some(source) = status.source() {
            if causes(source).any(<dyn StdError>::is::<tonic::TimeoutExpired>) {
                return Self::Deadline { address, rpc, after };
            }
            let reason = Unreachable::found_in(source, after);
            return Self::Unreachable { address, reason };
        }
        match status.code() {
            _ if message.starts_with("grpc-status header missing") => {
                Self::Unreachable { address, reason: Unreachable::NotGrpc }
            }
            Code::DeadlineExceeded => Self::Deadline { address, rpc, after },
            Code::InvalidArgument => {
                let violations = violations_of(status);
                if violations.is_empty() {
                    Self::Refused { address, rpc, code: Code::InvalidArgument, message }
                } else {
                    Self::Invalid { violations }
                }
            }
            Code::NotFound => Self::NotFound { message },
            code => Self::Refused { address, rpc, code, message },
        }
    }
}

impl Unreachable {
    /// Looks through an error and its causes.
    fn found_in(error: &(dyn StdError + 'static), after: Duration) -> Self {
        let mut words = Vec::new();
        for cause in causes(error) {
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => return Self::Refused,
                    io::ErrorKind::TimedOut => return Self::Silent { after },
                    _ => {}
                }
            }
            words.push(cause.to_string());
        }
        if herd_edge::is_refused(error) {
            return Self::Tls(words.pop().unwrap_or_default());
        }
        // These two have no type of their own in the libraries below.
        let said = |part: &str| words.iter().any(|text| text.contains(part));
        if said("dns error") {
            Self::UnknownHost
        } else if said("deadline has elapsed") {
            Self::Silent { after }
        } else if said("http2 error") && said("frame with invalid size") {
            Self::NotGrpc
        } else {
            Self::Broken(words.pop().unwrap_or_default())
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Refused => {
                "is the herd running? `herd-cli up` starts one; --node or HERD_NODE chooses a node"
            }
            Self::UnknownHost => "check the spelling of the host, and the name service",
            Self::Silent { .. } => "is the host up, and does a firewall let the port through?",
            Self::NotGrpc => {
                "this may be a text or HTTP port, or want TLS (--ca); `herd-cli up` prints the ports, \
                 gRPC is 50051 and up"
            }
            Self::WantsTls => "give the file of the herd's CA with --ca or HERD_TLS_CA",
            Self::Tls(_) => {
                "check --ca, --cert and --key, and the end of the certificate; a herd in plain \
                 text wants none of them"
            }
            Self::Broken(_) => {
                "the node may have stopped (`herd-cli status` shows who is up), or want TLS (--ca)"
            }
        }
    }
}

/// An error and what caused it.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

fn hint_for(violations: &Violations) -> Option<String> {
    let broken = |field: &str| violations.iter().any(|violation| violation.field == field);
    let says = |part: &str| violations.iter().any(|rule| rule.description.contains(part));
    if broken("position.latitude") || says("latitude must be between") {
        Some("latitude comes before longitude: did you swap them?".into())
    } else if broken("position_text") || broken("position") {
        Some("write a position as 34.07,-118.44 or +34.07-118.44".into())
    } else if broken("time") || broken("time_text") {
        Some("write a time as 1700000000.5, as 2023-11-14T22:13:20.5Z or as now".into())
    } else if broken("radius_meters") {
        Some("a radius has a unit and is at most 50km".into())
    } else if broken("client_id") {
        Some("a client id is one word of at most 1,024 bytes".into())
    } else {
        None
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use herd_proto::invalid_argument;

    use super::*;

    const AFTER: Duration = Duration::from_secs(2);

    fn from(status: &Status) -> Error {
        Error::from_status("h:1", "Locations/Get", status, AFTER)
    }

    #[test]
    fn a_swapped_pair_is_recognised() {
        let rule = "latitude must be between -90 and 90, got 118";
        let status = invalid_argument(&Violations::one("position.latitude", rule));
        let error = from(&status);
        assert!(error.to_string().contains("position.latitude: latitude must be"), "{error}");
        assert!(error.hint().unwrap().contains("swap"), "{error:?}");
    }

    #[test]
    fn the_nodes_own_words_survive() {
        let error = from(&Status::unavailable("draining"));
        assert_eq!(error.to_string(), "Locations/Get at h:1 failed: draining");
        assert_eq!(error.code(), "UNAVAILABLE");
        assert_eq!(from(&Status::not_found("no kiwi")).to_string(), "no kiwi");
    }

    #[test]
    fn an_io_error_is_found_under_its_wrappings() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] io::Error);
        let wrapped = Wrapped(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(
            Error::unreachable("h:1", &wrapped, AFTER),
            Error::Unreachable { address: "h:1".into(), reason: Unreachable::Refused }
        );
    }
}
