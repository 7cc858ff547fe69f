//! Whom a network provider is, and what it is told.

use herd_proto::topology::Problems;
use reqwest::Url;

use super::{ApiKind, trimmed};
use crate::places::api::{google_legacy, google_new, wikipedia};
use crate::places::key::Key;
use crate::places::key_source::KeySource;
use crate::places::limits::Limits;
use crate::places::settings::{KEY_VARIABLE, PlacesSettings};

/// Whom to ask, as whom, and how much.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    pub(in crate::places) base: Url,
    pub(in crate::places) key: KeySource,
    pub(in crate::places) user_agent: String,
    /// What it may use.
    pub limits: Limits,
}

impl UpstreamConfig {
    /// Checks what was typed for `api`. `None` where a problem was found.
    pub(super) fn read(
        api: ApiKind,
        settings: &PlacesSettings,
        problems: &mut Problems,
    ) -> Option<Self> {
        let default_base = match api {
            ApiKind::GoogleLegacy => google_legacy::DEFAULT_BASE,
            ApiKind::GoogleNew(_) => google_new::DEFAULT_BASE,
            ApiKind::Wikipedia => wikipedia::DEFAULT_BASE,
        };
        let base = read_base(settings.url.as_deref().unwrap_or(default_base));
        if base.is_none() {
            // Not quoted: people paste whole URLs, key included.
            problems.add(format_args!(
                "places url: must be scheme, host and port and nothing else, such as {default_base}"
            ));
        }
        let key = match api {
            // It takes none, and must not be told Google's.
            ApiKind::Wikipedia => Some(KeySource::None),
            ApiKind::GoogleLegacy | ApiKind::GoogleNew(_) => key(settings, base.as_ref(), problems),
        };
        let user_agent = user_agent(api, settings, problems);
        let limits = Limits::read(api, settings, problems);
        Some(Self { base: base?, key: key?, user_agent: user_agent?, limits })
    }
}

fn read_base(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    bare.then_some(url)
}

fn key(
    settings: &PlacesSettings,
    base: Option<&Url>,
    problems: &mut Problems,
) -> Option<KeySource> {
    let read = match (&settings.key.0, settings.key_file.as_deref()) {
        (Some(_), Some(_)) => {
            Err(format!("places key: give {KEY_VARIABLE} or a key file, not both"))
        }
        (Some(text), None) => Key::parse(text)
            .map(KeySource::Fixed)
            .map_err(|error| format!("places key: {KEY_VARIABLE} {error}")),
        (None, Some(path)) => KeySource::file(path),
        (None, None) if base.is_some_and(|base| base.scheme() == "https") => {
            Err(format!("places key: {KEY_VARIABLE} or a key file is needed to ask over https"))
        }
        (None, None) => Ok(KeySource::None),
    };
    read.map_err(|problem| problems.add(problem)).ok()
}

/// Wikimedia wants to be told who runs the client: one that names only the program shares its
/// allowance with everybody else's copy, or is refused.
fn user_agent(api: ApiKind, settings: &PlacesSettings, problems: &mut Problems) -> Option<String> {
    let program = concat!("herd/", env!("CARGO_PKG_VERSION"));
    if api != ApiKind::Wikipedia {
        return Some(program.into());
    }
    let contact = trimmed(settings.contact.as_ref()).unwrap_or_default();
    let is_contact = |text: &str| {
        (text.contains('@') || text.contains("://"))
            && text.len() <= 200
            && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
            && !text.contains(['(', ')'])
    };
    if is_contact(contact) {
        return Some(format!("{program} ({contact})"));
    }
    problems.add(format_args!(
        "places contact: {} must be told your own e-mail address or page, in up to 200 letters of \
         ASCII, got {contact:?}",
        wikipedia::NAME
    ));
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    fn keyed(settings: PlacesSettings, key: &str) -> PlacesSettings {
        settings.with_key_from(|name| (name == KEY_VARIABLE).then(|| key.into()))
    }

    fn read(api: ApiKind, settings: &PlacesSettings) -> Result<UpstreamConfig, String> {
        let mut problems = Problems::default();
        UpstreamConfig::read(api, settings, &mut problems).ok_or_else(|| problems.to_string())
    }

    fn legacy(settings: &PlacesSettings) -> Result<UpstreamConfig, String> {
        read(ApiKind::GoogleLegacy, settings)
    }

    fn at(url: &str) -> PlacesSettings {
        PlacesSettings { url: Some(url.into()), ..PlacesSettings::default() }
    }

    fn in_file(path: &Path) -> PlacesSettings {
        PlacesSettings { key_file: Some(path.into()), ..PlacesSettings::default() }
    }

    fn key_of(upstream: &UpstreamConfig) -> Option<Key> {
        upstream.key.current().key
    }

    #[test]
    fn a_key_is_needed_over_https_only() {
        let nothing = PlacesSettings::default;
        let google = legacy(&keyed(nothing(), " k ")).unwrap();
        assert_eq!(google.base.as_str(), "https://maps.googleapis.com/");
        assert_eq!(key_of(&google), Key::parse("k").ok());
        assert!(legacy(&nothing()).unwrap_err().contains("is needed to ask over https"));
        let stand_in = legacy(&at("http://127.0.0.1:8080")).unwrap();
        assert_eq!((stand_in.base.port(), key_of(&stand_in)), (Some(8080), None));
    }

    #[test]
    fn a_url_is_scheme_host_and_port_and_is_not_quoted() {
        for url in [
            "127.0.0.1:80",
            "ftp://h",
            "http://",
            "https://h/path?key=s3cret",
            "https://h/?key=s3cret",
            "https://s3cret@h",
            "https://u:s3cret@h",
            "http://h/#s3cret",
        ] {
            let problem = legacy(&keyed(at(url), "k")).unwrap_err();
            assert!(problem.contains("scheme, host and port"), "{url}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        assert!(legacy(&at("http://h:1/")).is_ok());
    }

    #[test]
    fn a_key_file_is_read_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-a-file").unwrap();
        let upstream = legacy(&in_file(file.path())).unwrap();
        assert_eq!(key_of(&upstream), Key::parse("from-a-file").ok());
        assert!(!format!("{upstream:#?}").contains("from-a-file"));
        let both = legacy(&keyed(in_file(file.path()), "k")).unwrap_err();
        assert!(both.contains("not both"), "{both}");
    }

    #[test]
    fn a_key_file_that_is_empty_missing_or_endless_is_a_problem() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(legacy(&in_file(empty.path())).unwrap_err().contains("is empty"));
        let missing = legacy(&in_file("/nonexistent/key".as_ref())).unwrap_err();
        assert!(missing.contains("/nonexistent/key cannot be read"), "{missing}");
        let mut endless = tempfile::NamedTempFile::new().unwrap();
        endless.write_all(&vec![b'k'; 1 << 20]).unwrap();
        assert!(legacy(&in_file(endless.path())).unwrap_err().contains("longer than"));
    }

    #[test]
    fn wikipedia_wants_a_contact_and_is_told_no_key() {
        let wikipedia = |contact: &str| {
            let contact = Some(contact.into());
            let settings = PlacesSettings { contact, ..PlacesSettings::default() };
            read(ApiKind::Wikipedia, &keyed(settings, "k"))
        };
        for contact in ["", "me", "a@b (c)", "a@b\nx: y", &format!("a@{}", "b".repeat(200))] {
            let problem = wikipedia(contact).unwrap_err();
            assert!(problem.contains("places contact: wikipedia must be told"), "{problem}");
        }
        let upstream = wikipedia("ops@example.org").unwrap();
        assert!(upstream.user_agent.ends_with(" (ops@example.org)"), "{}", upstream.user_agent);
        assert_eq!(key_of(&upstream), None);
    }
}
