use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The parts do not fit together, such as a key of another certificate.
    #[error("{}: {source}", path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

impl TlsError {
    pub(crate) fn content(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Content { path: path.into(), problem: problem.into() }
    }
}

/// Whether an error goes back to TLS itself: one side does not accept the other's certificate, or
/// does not speak TLS. Dialling again soon will not help; an operator has to act.
pub fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |&cause| cause.source()).any(|cause| {
        cause.is::<rustls::Error>()
            || cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>)
    })
}
