//! A caller's own token, sent as `authorization: Bearer TOKEN`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// How long a token that was read is used before its file is looked at again.
const LOOK: Duration = Duration::from_secs(2);

/// The token that calls carry, if there is one. Clones share it.
#[derive(Clone, Default)]
pub struct Bearer(Option<Arc<Source>>);

struct Source {
    /// `None` for a token that came from the environment and does not change.
    path: Option<PathBuf>,
    header: RwLock<(MetadataValue<Ascii>, SystemTime)>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is no token.
    #[error("{from}: a token is one word of visible ASCII characters")]
    Form {
        /// Where it came from.
        from: String,
    },
}

impl Bearer {
    /// The token in a file, which is read again when it changes; else the one that is given;
    /// else none.
    pub fn new(file: Option<&Path>, given: Option<&str>) -> Result<Self, BearerError> {
        let (path, header) = match (file, given) {
            (Some(path), _) => (Some(path.to_owned()), read(path)?),
            (None, Some(token)) => (None, header(token, &"the environment")?),
            (None, None) => return Ok(Self::default()),
        };
        let header = RwLock::new((header, SystemTime::now()));
        Ok(Self(Some(Arc::new(Source { path, header }))))
    }

    /// Whether there is a token.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    fn header(&self) -> Option<MetadataValue<Ascii>> {
        let source = self.0.as_ref()?;
        let fresh = |at: SystemTime| at.elapsed().is_ok_and(|age| age < LOOK);
        {
            let held = source.header.read().unwrap_or_else(PoisonError::into_inner);
            if source.path.is_none() || fresh(held.1) {
                return Some(held.0.clone());
            }
        }
        let mut held = source.header.write().unwrap_or_else(PoisonError::into_inner);
        // A file that is being replaced is looked at again later; the last good token stays.
        if let Some(Ok(header)) = source.path.as_deref().map(read) {
            held.0 = header;
        }
        held.1 = SystemTime::now();
        Some(held.0.clone())
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = self.header() {
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_some() { "Bearer(hidden)" } else { "Bearer(none)" })
    }
}

fn read(path: &Path) -> Result<MetadataValue<Ascii>, BearerError> {
    let text = fs::read_to_string(path)
        .map_err(|source| BearerError::Read { path: path.into(), source })?;
    header(text.trim(), &path.display())
}

fn header(token: &str, from: &dyn fmt::Display) -> Result<MetadataValue<Ascii>, BearerError> {
    let wrong = || BearerError::Form { from: from.to_string() };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut header: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| wrong())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bearer: &mut Bearer) -> Option<String> {
        let request = bearer.call(Request::new(())).unwrap();
        let header = request.metadata().get("authorization")?;
        Some(header.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_token_comes_from_a_file_or_from_the_environment_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "from-file\n").unwrap();
        let mut bearer = Bearer::new(Some(&file), Some("given")).unwrap();
        assert_eq!(sent(&mut bearer).unwrap(), "Bearer from-file");
        assert_eq!(format!("{bearer:?}"), "Bearer(hidden)");
        assert_eq!(sent(&mut Bearer::new(None, Some("given")).unwrap()).unwrap(), "Bearer given");
        assert_eq!(sent(&mut Bearer::default()), None);
    }

    #[test]
    fn what_is_no_token_is_said_without_showing_it() {
        for wrong in ["", "two words", "line\nbreak", "caf\u{e9}"] {
            let error = Bearer::new(None, Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("the environment:"), "{error}");
        }
        let error = Bearer::new(Some(Path::new("/nowhere/token")), None).unwrap_err();
        assert!(error.to_string().contains("/nowhere/token"));
    }
}
