//! The bearer tokens that a node takes, from a file that may change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use herd_proto::ClientId;
use herd_proto::topology::Problems;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use tokio::fs;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the file is looked at: how long a revoked token may live on.
const LOOK: Duration = Duration::from_secs(2);

/// Shortest token: shorter ones can be guessed.
const MIN_BYTES: usize = 16;

/// Most tokens in a file, since each call is compared with all of them: some 20 µs.
const MAX_TOKENS: usize = 1000;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Ask: where clients are, what is near them, how the node is.
    Read,
    /// Report.
    Report,
    /// All of that, and forget clients.
    Admin,
    /// Gossip, in a herd without mTLS of its own.
    Peer,
}

impl Role {
    /// The role's name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Report => "report",
            Self::Admin => "admin",
            Self::Peer => "peer",
        }
    }
}

/// One token's bearer.
#[derive(Debug)]
pub(crate) struct Bearer {
    /// What the file calls it.
    pub(crate) name: String,
    roles: Vec<Role>,
    /// Whom it may report for; `None` for anybody.
    clients: Option<Vec<Pattern>>,
    /// Cancelled when the token is no longer in the file as it was.
    pub(crate) revoked: CancellationToken,
    sha256: [u8; SHA256_OUTPUT_LEN],
}

/// A client id, or how it must begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    Prefix(String),
}

impl Bearer {
    pub(crate) fn has(&self, role: Role) -> bool {
        let implied = role != Role::Peer && self.roles.contains(&Role::Admin);
        implied || self.roles.contains(&role)
    }

    pub(crate) fn may_report_for(&self, client: &ClientId) -> bool {
        self.clients.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| match pattern {
                Pattern::Exactly(id) => client.as_str() == id,
                Pattern::Prefix(start) => client.as_str().starts_with(&**start),
            })
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
            && self.name == other.name
            && self.roles == other.roles
            && self.clients == other.clients
    }
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct TokensError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong. Tokens are not quoted.
    pub problem: String,
}

/// The tokens in force.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    bearers: Vec<Arc<Bearer>>,
    seen: Option<Vec<u8>>,
    last_error: String,
}

impl Tokens {
    /// Reads the file for the first time.
    pub(crate) async fn load(path: &Path) -> Result<Arc<Self>, TokensError> {
        let failed = |problem| TokensError { path: path.into(), problem };
        let bytes = fs::read(path).await.map_err(|error| failed(error.to_string()))?;
        let bearers = parse(&bytes).map_err(|problems| failed(problems.to_string()))?;
        let inner = Inner { bearers, seen: Some(bytes), last_error: String::new() };
        Ok(Arc::new(Self { path: path.into(), inner: RwLock::new(inner) }))
    }

    /// Who bears a token. Takes the same time whichever it is, if any: what is compared are
    /// digests, all of them and to the end.
    pub(crate) fn bearer(&self, token: &str) -> Option<Arc<Bearer>> {
        let shown = sha256(token.as_bytes());
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for bearer in &inner.bearers {
            if bool::from(bearer.sha256.ct_eq(&shown)) {
                found = Some(bearer);
            }
        }
        found.cloned()
    }

    /// Follows the file for as long as it is polled.
    pub(crate) async fn follow(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let read = fs::read(&self.path).await;
            self.take(read);
        }
    }

    /// Puts what was read in force, if it has changed and is sound. The streams of tokens that
    /// are gone or have changed end.
    fn take(&self, read: io::Result<Vec<u8>>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let parsed = match read {
            Ok(bytes) if inner.seen.as_ref() == Some(&bytes) => return,
            Ok(bytes) => {
                let parsed = parse(&bytes).map_err(|problems| problems.to_string());
                inner.seen = Some(bytes);
                parsed
            }
            Err(error) => {
                inner.seen = None;
                Err(error.to_string())
            }
        };
        match parsed {
            Ok(mut bearers) => {
                for bearer in &mut bearers {
                    if let Some(same) = inner.bearers.iter().find(|old| old.is_like(bearer)) {
                        *bearer = Arc::clone(same);
                    }
                }
                let gone = inner
                    .bearers
                    .iter()
                    .filter(|old| !bearers.iter().any(|bearer| Arc::ptr_eq(bearer, old)));
                gone.for_each(|old| old.revoked.cancel());
                info!(tokens = bearers.len(), "tokens read again");
                inner.bearers = bearers;
                inner.last_error.clear();
            }
            Err(error) => {
                if inner.last_error != error {
                    let path = self.path.display();
                    warn!(%path, %error, "tokens cannot be read, the last good ones stay");
                }
                inner.last_error = error;
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    token: Option<String>,
    sha256: Option<String>,
    roles: Vec<Role>,
    clients: Option<Vec<String>>,
}

fn parse(bytes: &[u8]) -> Result<Vec<Arc<Bearer>>, Problems> {
    let text = str::from_utf8(bytes).map_err(|_| Problems::one("is no UTF-8"))?;
    // Without the line that the parser would show, which may hold a token.
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count()) + 1;
        Problems::one(format_args!("line {line}: {}", error.message()))
    })?;
    let mut problems = Problems::default();
    // What a writer leaves for a moment that cuts the file off before it writes.
    if file.tokens.is_empty() {
        problems.add("has no token");
    }
    if file.tokens.len() > MAX_TOKENS {
        problems.add(format_args!("has {} tokens, {MAX_TOKENS} at most", file.tokens.len()));
    }
    let mut bearers: Vec<Arc<Bearer>> = Vec::new();
    for entry in file.tokens {
        let name = entry.name.clone();
        match bearer(entry) {
            Err(problem) => problems.add(format_args!("token {name:?}: {problem}")),
            Ok(new) => {
                if bearers.iter().any(|other| other.name == name || other.sha256 == new.sha256) {
                    problems.add(format_args!("token {name:?}: name or token is there twice"));
                }
                bearers.push(Arc::new(new));
            }
        }
    }
    problems.into_result(bearers)
}

fn bearer(entry: Entry) -> Result<Bearer, String> {
    let Entry { name, token, sha256: hex, roles, clients } = entry;
    let sha256 = match (token, hex) {
        (Some(token), None) => {
            let sound = token.len() >= MIN_BYTES && token.bytes().all(|b| b.is_ascii_graphic());
            if !sound {
                return Err(format!("must be at least {MIN_BYTES} visible ASCII characters"));
            }
            sha256(token.as_bytes())
        }
        (None, Some(hex)) => from_hex(&hex).ok_or("sha256 must be 64 hexadecimal digits")?,
        _ => return Err("needs either token or sha256".into()),
    };
    if roles.is_empty() {
        return Err("has no role: read, report, admin or peer".into());
    }
    let clients = clients.map(|clients| clients.iter().map(|text| pattern(text)).collect());
    Ok(Bearer { name, roles, clients, revoked: CancellationToken::new(), sha256 })
}

fn pattern(text: &str) -> Pattern {
    match text.strip_suffix('*') {
        Some(start) => Pattern::Prefix(start.into()),
        None => Pattern::Exactly(text.into()),
    }
}

fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut out = [0; SHA256_OUTPUT_LEN];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn from_hex(text: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let mut out = [0; SHA256_OUTPUT_LEN];
    if text.len() != out.len() * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: &str = "[[tokens]]\nname='map'\ntoken='map-0123456789abcdef'\nroles=['read']\n";

    fn tokens(text: &str) -> Tokens {
        let bearers = parse(text.as_bytes()).unwrap();
        let inner = Inner { bearers, seen: None, last_error: String::new() };
        Tokens { path: "tokens.toml".into(), inner: RwLock::new(inner) }
    }

    fn id(text: &str) -> ClientId {
        ClientId::parse(text).unwrap()
    }

    #[test]
    fn a_token_has_its_roles_and_admin_has_all_but_gossip() {
        let tokens = tokens(&format!(
            "{READER}[[tokens]]\nname='op'\n\
             sha256='E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855'\n\
             roles=['admin']"
        ));
        let map = tokens.bearer("map-0123456789abcdef").unwrap();
        assert!(map.has(Role::Read) && !map.has(Role::Report) && !map.has(Role::Peer));
        // The digest of nothing.
        let op = tokens.bearer("").unwrap();
        assert!(op.has(Role::Read) && op.has(Role::Report) && op.has(Role::Admin));
        assert!(!op.has(Role::Peer));
        assert!(tokens.bearer("map-0123456789abcdeF").is_none());
    }

    #[test]
    fn a_bound_token_reports_for_its_own_clients_only() {
        let tokens = tokens(&format!("{READER}clients=['kiwi', 'fleet-7/*']"));
        let bearer = tokens.bearer("map-0123456789abcdef").unwrap();
        assert!(bearer.may_report_for(&id("kiwi")) && bearer.may_report_for(&id("fleet-7/x")));
        assert!(!bearer.may_report_for(&id("kiwi2")) && !bearer.may_report_for(&id("fleet-70")));
    }

    #[test]
    fn a_token_that_left_the_file_is_revoked_and_the_others_live_on() {
        let tokens = tokens(&format!(
            "{READER}[[tokens]]\nname='b'\ntoken='b-0123456789abcdef'\nroles=['report']"
        ));
        let map = tokens.bearer("map-0123456789abcdef").unwrap();
        let gone = tokens.bearer("b-0123456789abcdef").unwrap();
        tokens.take(Ok(READER.into()));
        assert!(gone.revoked.is_cancelled() && !map.revoked.is_cancelled());
        assert!(tokens.bearer("b-0123456789abcdef").is_none());
        // A file that cannot be used changes nothing.
        for wrong in ["", "nonsense", "[[tokens]]\nname='c'\ntoken='short'\nroles=['read']"] {
            tokens.take(Ok(wrong.into()));
            assert!(tokens.bearer("map-0123456789abcdef").is_some());
        }
        tokens.take(Err(io::ErrorKind::NotFound.into()));
        assert!(tokens.bearer("map-0123456789abcdef").is_some());
        let other = "[[tokens]]\nname='d'\ntoken='other-0123456789abcdef'\nroles=['read']";
        tokens.take(Ok(other.into()));
        assert!(tokens.bearer("map-0123456789abcdef").is_none() && map.revoked.is_cancelled());
    }

    #[test]
    fn a_changed_role_ends_what_was_begun_with_the_old_one() {
        let tokens = tokens(READER);
        let before = tokens.bearer("map-0123456789abcdef").unwrap();
        tokens.take(Ok(READER.replace("read", "report").into()));
        assert!(before.revoked.is_cancelled());
        assert!(tokens.bearer("map-0123456789abcdef").unwrap().has(Role::Report));
    }

    #[test]
    fn all_problems_are_said_at_once_and_no_token_is_quoted() {
        let file = "
            [[tokens]]\nname='a'\ntoken='secret'\nroles=['read']
            [[tokens]]\nname='b'\nsha256='secret'\nroles=['read']
            [[tokens]]\nname='c'\ntoken='secret-secret-secret'\nroles=[]
            [[tokens]]\nname='d'\nroles=['read']";
        let shown = parse(file.as_bytes()).unwrap_err().to_string();
        for part in ["\"a\": must be at least 16", "64 hex", "has no role", "either token or"] {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
        let unclosed = "[[tokens]]\nname='a'\ntoken='secret-secret-secret\nroles=['read']";
        let error = parse(unclosed.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 3"), "{error}");
        let role = "[[tokens]]\nname='a'\ntoken='secret-secret-secret'\nroles=['root']";
        let error = parse(role.as_bytes()).unwrap_err().to_string();
        assert!(!(shown + &error).contains("secret"), "{error}");
    }
}
