//! Why a command came to nothing, in the words and the code that its caller gets.

use std::io;

use herd_cli::Error;
use herd_proto::Violation;
use serde::Serialize;

use crate::exit_code::ExitCode;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] Error),
    /// The command's output went nowhere.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
    /// The reader of the output has seen enough.
    #[error("the output was closed")]
    OutputClosed,
    #[error("{0:#}")]
    Other(anyhow::Error),
}

impl Failure {
    pub(crate) fn writing(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Output(error)
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::Usage,
            Self::Client(error) => error.into(),
            Self::OutputClosed => ExitCode::Success,
            Self::Output(_) | Self::Other(_) => ExitCode::Failure,
        }
    }

    pub(crate) fn view(&self) -> FailureView {
        let (code, hint) = match self {
            Self::Usage(_) => ("USAGE", Some("--help shows the usage, with examples".into())),
            Self::Client(error) => (error.code(), error.hint()),
            Self::Output(_) => ("OUTPUT", None),
            Self::OutputClosed | Self::Other(_) => ("FAILURE", None),
        };
        let violations = match self {
            Self::Client(Error::Invalid { violations }) => {
                violations.iter().map(Into::into).collect()
            }
            _ => Vec::new(),
        };
        let message = match self {
            Self::Client(Error::Invalid { .. }) => "the request breaks a rule".into(),
            _ => self.to_string(),
        };
        FailureView { code, message, violations, hint, exit: self.exit_code() as u8 }
    }
}

/// A failure as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct FailureView {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) violations: Vec<ViolationView>,
    pub(crate) hint: Option<String>,
    pub(crate) exit: u8,
}

#[derive(Debug, Serialize)]
pub(crate) struct ViolationView {
    pub(crate) field: String,
    pub(crate) description: String,
}

impl From<&Violation> for ViolationView {
    fn from(rule: &Violation) -> Self {
        Self { field: rule.field.clone(), description: rule.description.clone() }
    }
}
