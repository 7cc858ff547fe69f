//! What the program's end tells a script.

use std::process;

use herd_cli::Error;
use tonic::Code;

/// The exit codes, as the help lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    Success = 0,
    Failure = 1,
    /// The same code that clap uses.
    Usage = 2,
    NotFound = 3,
    InvalidArgument = 4,
    Unavailable = 5,
    Deadline = 6,
    Permission = 7,
    Partial = 8,
    Unsupported = 9,
    /// 128 and the number of SIGINT, as shells have it.
    Interrupted = 130,
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        match error {
            Error::Address { .. } => Self::Usage,
            Error::Unreachable { .. } => Self::Unavailable,
            Error::Deadline { .. } => Self::Deadline,
            Error::Invalid { .. } => Self::InvalidArgument,
            Error::NotFound { .. } => Self::NotFound,
            Error::Answer { .. } => Self::Unsupported,
            Error::Refused { code, .. } => match code {
                Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument,
                Code::Unavailable => Self::Unavailable,
                Code::DeadlineExceeded => Self::Deadline,
                Code::PermissionDenied | Code::Unauthenticated => Self::Permission,
                Code::Unimplemented => Self::Unsupported,
                Code::NotFound => Self::NotFound,
                _ => Self::Failure,
            },
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_kind() {
        let refused = |code| {
            let (address, message) = ("h:1".into(), "no".into());
            ExitCode::from(&Error::Refused { address, rpc: "Locations/Get", code, message })
        };
        assert_eq!(refused(Code::Unavailable), ExitCode::Unavailable);
        assert_eq!(refused(Code::PermissionDenied), ExitCode::Permission);
        assert_eq!(refused(Code::Unauthenticated), ExitCode::Permission);
        assert_eq!(refused(Code::Unimplemented), ExitCode::Unsupported);
        assert_eq!(refused(Code::ResourceExhausted), ExitCode::Failure);
    }
}
