use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use herd_proto::topology::Problems;
use reqwest::Url;

use super::key::Key;
use super::{embedded, google_legacy};

/// The environment variable of the key. There is no flag for it: flags show in `ps`.
pub const KEY_VARIABLE: &str = "HERD_PLACES_KEY";

/// What was typed about places, unchecked: from a file, the environment or flags.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacesSettings {
    /// Where places come from: embedded (built in, no network) or google-legacy [default:
    /// embedded]
    #[arg(long = "places-provider", env = "HERD_PLACES_PROVIDER", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,

    /// Scheme, host and port that speak the provider's form; its own path is appended [default:
    /// the provider's own]
    #[arg(long = "places-url", env = "HERD_PLACES_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// File that holds the provider's API key (or set HERD_PLACES_KEY)
    #[arg(
        long = "places-key-file",
        env = "HERD_PLACES_KEY_FILE",
        value_name = "FILE",
        // clap's own parser of paths refuses an empty variable.
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// The key as typed; only ever from [`KEY_VARIABLE`].
    #[arg(skip)]
    #[serde(skip)]
    key: TypedKey,
}

/// A key before it is checked, which is as secret as after.
#[derive(Clone, Default)]
struct TypedKey(Option<String>);

impl std::fmt::Debug for TypedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "[redacted]" } else { "None" })
    }
}

impl PlacesSettings {
    /// Takes what clap cannot, the key, from the environment or a map that stands in for it.
    #[must_use]
    pub fn with_key_from(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.key = TypedKey(filled(variable(KEY_VARIABLE)).or(self.key.0));
        self
    }

    /// Takes everything from the environment or a map that stands in for it.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let settings = Self {
            provider: filled(variable("HERD_PLACES_PROVIDER")),
            url: filled(variable("HERD_PLACES_URL")),
            key_file: filled(variable("HERD_PLACES_KEY_FILE")).map(PathBuf::from),
            key: TypedKey::default(),
        };
        settings.with_key_from(variable)
    }

    /// Fills what is not set here from settings that rank lower. A key and a file for one are
    /// the same setting.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        let key_file = self.key_file.filter(|path| !path.as_os_str().is_empty());
        let keyless = self.key.0.is_none() && key_file.is_none();
        let (key, key_file) =
            if keyless { (lower.key, lower.key_file) } else { (self.key, key_file) };
        Self {
            provider: filled(self.provider).or(lower.provider),
            url: filled(self.url).or(lower.url),
            key_file,
            key,
        }
    }
}

/// An empty variable counts as one that is not set, as it often stands so in compose files.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// Where places come from, checked, and within which limits.
#[derive(Debug, Clone, Default)]
pub struct PlacesConfig {
    /// The provider and what it needs.
    pub provider: ProviderKind,
    /// What a network provider may use.
    pub limits: Limits,
}

/// A provider and what it needs.
#[derive(Debug, Clone, Default)]
pub enum ProviderKind {
    /// The built-in table.
    #[default]
    Embedded,
    /// Google's Nearby Search (legacy), or a stand-in for it.
    GoogleLegacy(Upstream),
}

/// An address to ask, and the key for it.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(super) base: Url,
    pub(super) key: Option<Key>,
}

/// What a network provider may use of time, memory and the other side's patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a connection, TLS included. Default 2 s: a lost SYN is sent again after one.
    pub connect_timeout: Duration,
    /// For a request from its start to the last byte of the answer. Default 8 s: twice what a
    /// slow answer takes, and less than scripts wait.
    pub total_timeout: Duration,
    /// Requests in flight. Default 64: at a usual 100 ms each that is 640 a second.
    pub max_in_flight: usize,
    /// For one of those to become free. Default 5 s: a burst is answered late rather than not
    /// at all, within the caller's own deadline.
    pub max_wait: Duration,
    /// Size of an answer after decompression, in bytes. Default 2 MiB, a hundred times what
    /// twenty results take.
    pub max_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            total_timeout: Duration::from_secs(8),
            max_in_flight: 64,
            max_wait: Duration::from_secs(5),
            max_answer_bytes: 2 << 20,
        }
    }
}

impl PlacesConfig {
    /// Checks what was typed, and reads the key's file. All problems come together.
    pub fn from_settings(settings: &PlacesSettings) -> Result<Self, Problems> {
        let provider = match filled(settings.provider.clone()).as_deref().map(str::trim) {
            None if filled(settings.url.clone()).is_some() => {
                return Err(Problems::one(format_args!(
                    "places url: says whom to ask but not in which form; set the places \
                     provider too, such as {}",
                    google_legacy::NAME
                )));
            }
            None | Some(embedded::NAME) => ProviderKind::Embedded,
            Some(google_legacy::NAME) => ProviderKind::GoogleLegacy(upstream(settings)?),
            Some(other) => {
                return Err(Problems::one(format_args!(
                    "places provider: must be {} or {}, got {other:?}",
                    embedded::NAME,
                    google_legacy::NAME
                )));
            }
        };
        Ok(Self { provider, limits: Limits::default() })
    }
}

fn upstream(settings: &PlacesSettings) -> Result<Upstream, Problems> {
    let mut problems = Problems::default();
    let url = filled(settings.url.clone());
    let base = read_base(url.as_deref().unwrap_or(google_legacy::DEFAULT_BASE));
    if base.is_none() {
        // Not quoted: people paste whole URLs, key included.
        problems.add(
            "places url: must be scheme, host and port and nothing else, such as \
             https://maps.googleapis.com",
        );
    }
    let file = settings.key_file.as_deref().filter(|path| !path.as_os_str().is_empty());
    let key = match (&settings.key.0, file) {
        (Some(_), Some(_)) => {
            problems.add(format_args!("places key: give {KEY_VARIABLE} or a key file, not both"));
            return Err(problems);
        }
        (Some(text), None) => Key::parse(text)
            .map_err(|error| problems.add(format_args!("places key: {KEY_VARIABLE} {error}")))
            .map(Some),
        (None, Some(path)) => read_key(path).map_err(|problem| problems.add(problem)).map(Some),
        (None, None) => Ok(None),
    };
    if let (Some(base), Ok(None)) = (&base, &key)
        && base.scheme() == "https"
    {
        let need = "is needed to ask over https";
        problems.add(format_args!("places key: {KEY_VARIABLE} or a key file {need}"));
    }
    match (base, key) {
        (Some(base), Ok(key)) => problems.into_result(Upstream { base, key }),
        _ => Err(problems),
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

/// Reads no more than a key can have, so that a wrong path such as a device cannot block or
/// fill the memory.
fn read_key(path: &Path) -> Result<Key, String> {
    let problem =
        |what: &dyn std::fmt::Display| format!("places key: file {} {what}", path.display());
    let read = || -> io::Result<String> {
        let mut text = String::new();
        // Room for white space around the longest key.
        File::open(path)?.take(2 * Key::MAX_BYTES as u64).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| problem(&format_args!("cannot be read: {error}")))?;
    Key::parse(&text).map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> PlacesSettings {
        PlacesSettings::from_variables(|name| {
            let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
            Some((*value).to_owned())
        })
    }

    fn legacy(variables: &[(&str, &str)]) -> Result<Upstream, String> {
        let provider = [("HERD_PLACES_PROVIDER", "google-legacy")];
        let config = PlacesConfig::from_settings(&settings(&[&provider, variables].concat()));
        match config.map_err(|problems| problems.to_string())?.provider {
            ProviderKind::GoogleLegacy(upstream) => Ok(upstream),
            ProviderKind::Embedded => panic!("asked for google-legacy"),
        }
    }

    #[test]
    fn nothing_set_is_the_built_in_table() {
        for variables in [&[][..], &[("HERD_PLACES_PROVIDER", "")], &[(KEY_VARIABLE, "k")]] {
            let config = PlacesConfig::from_settings(&settings(variables)).unwrap();
            assert!(matches!(config.provider, ProviderKind::Embedded));
        }
    }

    #[test]
    fn a_url_without_a_provider_is_a_mistake() {
        let settings = settings(&[("HERD_PLACES_URL", "http://127.0.0.1:1")]);
        let problem = PlacesConfig::from_settings(&settings).unwrap_err().to_string();
        assert!(problem.contains("google-legacy"), "{problem}");
    }

    #[test]
    fn an_unknown_provider_is_told_which_there_are() {
        let settings = settings(&[("HERD_PLACES_PROVIDER", "bing")]);
        let problem = PlacesConfig::from_settings(&settings).unwrap_err().to_string();
        assert_eq!(problem, "places provider: must be embedded or google-legacy, got \"bing\"");
    }

    #[test]
    fn a_key_is_needed_over_https_only() {
        let google = legacy(&[(KEY_VARIABLE, " k ")]).unwrap();
        assert_eq!(google.base.as_str(), "https://maps.googleapis.com/");
        assert_eq!(google.key, Key::parse("k").ok());
        assert!(legacy(&[]).unwrap_err().contains("is needed to ask over https"));
        let stand_in = legacy(&[("HERD_PLACES_URL", "http://127.0.0.1:8080")]).unwrap();
        assert_eq!((stand_in.base.port(), stand_in.key), (Some(8080), None));
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
            let problem = legacy(&[("HERD_PLACES_URL", url), (KEY_VARIABLE, "k")]).unwrap_err();
            assert!(problem.contains("scheme, host and port"), "{url}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        assert!(legacy(&[("HERD_PLACES_URL", "http://h:1/")]).is_ok());
    }

    #[test]
    fn a_key_file_is_read_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-a-file").unwrap();
        let path = file.path().to_str().unwrap();
        let upstream = legacy(&[("HERD_PLACES_KEY_FILE", path)]).unwrap();
        assert_eq!(upstream.key, Key::parse("from-a-file").ok());
        let both = legacy(&[("HERD_PLACES_KEY_FILE", path), (KEY_VARIABLE, "k")]).unwrap_err();
        assert!(both.contains("not both"), "{both}");
    }

    #[test]
    fn a_key_file_that_is_empty_missing_or_endless_is_a_problem() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let path = empty.path().to_str().unwrap();
        assert!(legacy(&[("HERD_PLACES_KEY_FILE", path)]).unwrap_err().contains("is empty"));
        let missing = legacy(&[("HERD_PLACES_KEY_FILE", "/nonexistent/key")]).unwrap_err();
        assert!(missing.contains("/nonexistent/key cannot be read"), "{missing}");
        let mut endless = tempfile::NamedTempFile::new().unwrap();
        endless.write_all(&vec![b'k'; 1 << 20]).unwrap();
        let path = endless.path().to_str().unwrap();
        assert!(legacy(&[("HERD_PLACES_KEY_FILE", path)]).unwrap_err().contains("longer than"));
    }

    #[test]
    fn all_problems_come_together() {
        let wrong = [("HERD_PLACES_URL", "nowhere"), ("HERD_PLACES_KEY_FILE", "/nonexistent/key")];
        let problems = legacy(&wrong).unwrap_err();
        assert!(problems.starts_with("2 problems:"), "{problems}");
    }

    #[test]
    fn higher_settings_win_and_the_key_stays_hidden() {
        let low = settings(&[("HERD_PLACES_PROVIDER", "low"), ("HERD_PLACES_KEY_FILE", "low")]);
        let high = settings(&[("HERD_PLACES_PROVIDER", "high"), (KEY_VARIABLE, "s3cret")]);
        let merged = high.clone().or(low.clone());
        assert_eq!(merged.provider.as_deref(), Some("high"));
        assert_eq!((merged.key.0.as_deref(), &merged.key_file), (Some("s3cret"), &None));
        let shown = format!("{merged:?} {}", toml::to_string(&merged).unwrap());
        assert!(!shown.contains("s3cret") && shown.contains("[redacted]"), "{shown}");
        assert_eq!(low.or(high).key_file, Some("low".into()));
    }

    #[derive(Debug, clap::Parser)]
    #[command(about = "the program")]
    struct Program {
        #[command(flatten)]
        places: PlacesSettings,
    }

    #[test]
    fn flags_are_read_there_is_none_for_the_key_and_empty_ones_hide_nothing() {
        let help = Program::command().render_long_help().to_string();
        assert!(help.starts_with("the program") && !help.contains("--places-key "), "{help}");
        let parse = |flags: [&str; 4]| Program::try_parse_from(flags).unwrap().places;
        let typed = parse(["x", "--places-provider=p", "--places-url=u", "--places-key-file=f"]);
        assert_eq!((typed.provider.as_deref(), typed.url.as_deref()), (Some("p"), Some("u")));
        let empty = parse(["x", "--places-provider=", "--places-url=", "--places-key-file="]);
        let merged = empty.or(typed);
        assert_eq!((merged.provider.as_deref(), merged.url.as_deref()), (Some("p"), Some("u")));
        assert_eq!(merged.key_file.as_deref(), Some(Path::new("f")));
    }

    #[test]
    fn the_file_form_takes_no_key_and_no_unknown_field() {
        let file = "provider = 'google-legacy'\nurl = 'http://h'\nkey_file = 'f'";
        let settings: PlacesSettings = toml::from_str(file).unwrap();
        assert_eq!(settings.url.as_deref(), Some("http://h"));
        assert!(toml::from_str::<PlacesSettings>("key = 'k'").is_err());
    }
}
