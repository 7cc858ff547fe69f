//! What was meant about places: checked, and within which limits.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use herd_proto::topology::Problems;
use reqwest::Url;

use super::api::{google_legacy, google_new, wikipedia};
use super::embedded;
use super::key::Key;
use super::key_source::KeySource;
use super::limits::Limits;
use super::settings::{KEY_VARIABLE, PlacesSettings};
use crate::config::Reader;

/// Where places come from.
#[derive(Debug, Clone, Default)]
pub struct PlacesConfig {
    /// The provider and what it needs.
    pub provider: ProviderKind,
    /// The table that answers when a network provider does not.
    pub fallback: Option<EmbeddedConfig>,
}

/// A provider and what it needs.
#[derive(Debug, Clone)]
pub enum ProviderKind {
    /// The table of this node.
    Embedded(EmbeddedConfig),
    /// A network provider.
    Network(ApiKind, UpstreamConfig),
}

impl Default for ProviderKind {
    fn default() -> Self {
        Self::Embedded(EmbeddedConfig::default())
    }
}

/// How a network provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKind {
    /// Google's Nearby Search (legacy), or a stand-in for it.
    GoogleLegacy,
    /// Google's Nearby Search (New).
    GoogleNew(Tier),
    /// MediaWiki's GeoSearch.
    Wikipedia,
}

/// Which fields are bought: the dearest field of a request sets its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// Names, positions, kinds and addresses.
    #[default]
    Pro,
    /// Ratings, price levels and opening hours too.
    Enterprise,
}

impl FromStr for Tier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pro" => Ok(Self::Pro),
            "enterprise" => Ok(Self::Enterprise),
            _ => Err("must be pro or enterprise"),
        }
    }
}

/// The table of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddedConfig {
    /// The operator's own file, in place of what is built in.
    pub path: Option<PathBuf>,
    /// HTML that says whose the data of that file is.
    pub attribution: Option<String>,
    /// What comes first.
    pub rank_by: RankBy,
}

/// The order of the embedded provider's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RankBy {
    /// Well known and near together.
    #[default]
    Blend,
    /// The nearest first.
    Distance,
    /// The best known first.
    Prominence,
}

impl FromStr for RankBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blend" => Ok(Self::Blend),
            "distance" => Ok(Self::Distance),
            "prominence" => Ok(Self::Prominence),
            _ => Err("must be blend, distance or prominence"),
        }
    }
}

/// Whom to ask, as whom, and how much.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    pub(super) base: Url,
    pub(super) key: KeySource,
    pub(super) user_agent: String,
    /// What it may use.
    pub limits: Limits,
}

/// The provider's name, before what it needs is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Embedded,
    GoogleNew,
    GoogleLegacy,
    Wikipedia,
}

impl PlacesConfig {
    /// Checks what was typed, and reads the key's file. All problems come together.
    pub fn from_settings(settings: &PlacesSettings) -> Result<Self, Problems> {
        // Of empty settings none is left.
        let settings = &settings.clone().or(PlacesSettings::default());
        let mut problems = Problems::default();
        let mut reader = Reader { problems: &mut problems };
        let name =
            reader.read("places provider", trimmed(settings.provider.as_ref()), None, |text| {
                provider_name(text).map(Some)
            });
        let fallback =
            reader.read("places fallback", trimmed(settings.fallback.as_ref()), false, fallback);
        let embedded = EmbeddedConfig {
            path: settings.path.clone(),
            attribution: settings.attribution.clone(),
            rank_by: reader.read(
                "places rank_by",
                trimmed(settings.rank_by.as_ref()),
                RankBy::Blend,
                of,
            ),
        };
        let tier = reader.read("places tier", trimmed(settings.tier.as_ref()), Tier::Pro, of);
        if settings.attribution.is_some() && settings.path.is_none() {
            problems.add("places attribution: is for the data of a file; set the places path too");
        }
        let api = match name {
            None if settings.url.is_some() => {
                problems.add(format_args!(
                    "places url: says whom to ask but not in which form; set the places provider \
                     too, such as {}",
                    google_legacy::NAME
                ));
                None
            }
            None | Some(Name::Embedded) => None,
            Some(Name::GoogleLegacy) => Some(ApiKind::GoogleLegacy),
            Some(Name::GoogleNew) => Some(ApiKind::GoogleNew(tier)),
            Some(Name::Wikipedia) => Some(ApiKind::Wikipedia),
        };
        let Some(api) = api else {
            let provider = ProviderKind::Embedded(embedded);
            return problems.into_result(Self { provider, fallback: None });
        };
        if settings.path.is_some() && !fallback {
            problems.add(format_args!(
                "places path: is for {}, which is neither the places provider nor the fallback",
                embedded::NAME
            ));
        }
        match upstream(api, settings, &mut problems) {
            Some(upstream) => problems.into_result(Self {
                provider: ProviderKind::Network(api, upstream),
                fallback: fallback.then_some(embedded),
            }),
            None => Err(problems),
        }
    }
}

/// A text as typed, without white space around it.
pub(super) fn trimmed(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim())
}

fn of<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn provider_name(text: &str) -> Result<Name, String> {
    match text {
        embedded::NAME => Ok(Name::Embedded),
        google_new::NAME => Ok(Name::GoogleNew),
        google_legacy::NAME => Ok(Name::GoogleLegacy),
        wikipedia::NAME => Ok(Name::Wikipedia),
        _ => Err(format!(
            "must be {}, {}, {} or {}",
            embedded::NAME,
            google_new::NAME,
            google_legacy::NAME,
            wikipedia::NAME
        )),
    }
}

fn fallback(text: &str) -> Result<bool, String> {
    match text {
        embedded::NAME => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("must be {} or none", embedded::NAME)),
    }
}

/// `None` where a problem was found.
fn upstream(
    api: ApiKind,
    settings: &PlacesSettings,
    problems: &mut Problems,
) -> Option<UpstreamConfig> {
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
    Some(UpstreamConfig { base: base?, key: key?, user_agent: user_agent?, limits })
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

    use super::*;

    fn legacy() -> PlacesSettings {
        PlacesSettings { provider: Some(google_legacy::NAME.into()), ..PlacesSettings::default() }
    }

    fn keyed(settings: PlacesSettings, key: &str) -> PlacesSettings {
        settings.with_key_from(|name| (name == KEY_VARIABLE).then(|| key.into()))
    }

    fn check(settings: &PlacesSettings) -> Result<UpstreamConfig, String> {
        let config = PlacesConfig::from_settings(settings);
        match config.map_err(|problems| problems.to_string())?.provider {
            ProviderKind::Network(_, upstream) => Ok(upstream),
            ProviderKind::Embedded(_) => panic!("asked for a network provider"),
        }
    }

    fn key_of(upstream: &UpstreamConfig) -> Option<Key> {
        upstream.key.current().key
    }

    #[test]
    fn nothing_set_is_the_built_in_table() {
        let empty = || PlacesSettings { provider: Some(" ".into()), ..PlacesSettings::default() };
        for settings in [PlacesSettings::default(), empty(), keyed(empty(), "k")] {
            let config = PlacesConfig::from_settings(&settings).unwrap();
            assert!(matches!(config.provider, ProviderKind::Embedded(_)));
        }
    }

    #[test]
    fn a_url_without_a_provider_is_a_mistake() {
        let url = Some("http://127.0.0.1:1".into());
        let settings = PlacesSettings { url, ..PlacesSettings::default() };
        let problem = PlacesConfig::from_settings(&settings).unwrap_err().to_string();
        assert!(problem.contains("google-legacy"), "{problem}");
    }

    #[test]
    fn an_unknown_word_is_told_which_there_are() {
        let settings = PlacesSettings {
            provider: Some("bing".into()),
            fallback: Some("bing".into()),
            tier: Some("free".into()),
            rank_by: Some("luck".into()),
            ..PlacesSettings::default()
        };
        let problem = PlacesConfig::from_settings(&settings).unwrap_err().to_string();
        for part in [
            "places provider: must be embedded, google-new, google-legacy or wikipedia, got \"bing\"",
            "places fallback: must be embedded or none, got \"bing\"",
            "places tier: must be pro or enterprise, got \"free\"",
            "places rank_by: must be blend, distance or prominence, got \"luck\"",
        ] {
            assert!(problem.contains(part), "{part} not in {problem}");
        }
    }

    #[test]
    fn a_key_is_needed_over_https_only() {
        let google = check(&keyed(legacy(), " k ")).unwrap();
        assert_eq!(google.base.as_str(), "https://maps.googleapis.com/");
        assert_eq!(key_of(&google), Key::parse("k").ok());
        assert!(check(&legacy()).unwrap_err().contains("is needed to ask over https"));
        let url = Some("http://127.0.0.1:8080".into());
        let stand_in = check(&PlacesSettings { url, ..legacy() }).unwrap();
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
            let settings = PlacesSettings { url: Some(url.into()), ..legacy() };
            let problem = check(&keyed(settings, "k")).unwrap_err();
            assert!(problem.contains("scheme, host and port"), "{url}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        let slash = PlacesSettings { url: Some("http://h:1/".into()), ..legacy() };
        assert!(check(&slash).is_ok());
    }

    #[test]
    fn a_key_file_is_read_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-a-file").unwrap();
        let settings = PlacesSettings { key_file: Some(file.path().into()), ..legacy() };
        let upstream = check(&settings).unwrap();
        assert_eq!(key_of(&upstream), Key::parse("from-a-file").ok());
        assert!(!format!("{upstream:#?}").contains("from-a-file"));
        let both = check(&keyed(settings, "k")).unwrap_err();
        assert!(both.contains("not both"), "{both}");
    }

    #[test]
    fn a_key_file_that_is_empty_missing_or_endless_is_a_problem() {
        let with_file =
            |path: &std::path::Path| PlacesSettings { key_file: Some(path.into()), ..legacy() };
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(check(&with_file(empty.path())).unwrap_err().contains("is empty"));
        let missing = check(&with_file("/nonexistent/key".as_ref())).unwrap_err();
        assert!(missing.contains("/nonexistent/key cannot be read"), "{missing}");
        let mut endless = tempfile::NamedTempFile::new().unwrap();
        endless.write_all(&vec![b'k'; 1 << 20]).unwrap();
        assert!(check(&with_file(endless.path())).unwrap_err().contains("longer than"));
    }

    #[test]
    fn wikipedia_wants_a_contact_and_is_told_no_key() {
        let wikipedia = |contact: &str| {
            let (provider, contact) = (Some(wikipedia::NAME.into()), Some(contact.into()));
            check(&keyed(PlacesSettings { provider, contact, ..legacy() }, "k"))
        };
        for contact in ["", "me", "a@b (c)", "a@b\nx: y", &format!("a@{}", "b".repeat(200))] {
            let problem = wikipedia(contact).unwrap_err();
            assert!(problem.contains("places contact: wikipedia must be told"), "{problem}");
        }
        let upstream = wikipedia("ops@example.org").unwrap();
        assert!(upstream.user_agent.ends_with(" (ops@example.org)"), "{}", upstream.user_agent);
        assert_eq!(key_of(&upstream), None);
    }

    #[test]
    fn all_problems_come_together() {
        let some = |text: &str| Some(text.into());
        let settings = PlacesSettings {
            url: some("nowhere"),
            key_file: Some("/nonexistent/key".into()),
            path: Some("/nonexistent/places".into()),
            attribution: some("x"),
            rate: some("0"),
            daily_quota: some("-1"),
            max_in_flight: some("0"),
            timeout: some("1h"),
            cache_ttl: some("soon"),
            ..legacy()
        };
        let problems = check(&settings).unwrap_err();
        assert!(problems.starts_with("8 problems:"), "{problems}");
    }

    #[test]
    fn a_file_of_places_needs_somebody_to_read_it() {
        let path = PlacesSettings { path: Some("f".into()), ..legacy() };
        assert!(check(&keyed(path.clone(), "k")).unwrap_err().contains("places path: is for"));
        let fallback = PlacesSettings { fallback: Some("embedded".into()), ..path };
        let config = PlacesConfig::from_settings(&keyed(fallback, "k")).unwrap();
        assert_eq!(config.fallback.unwrap().path, Some("f".into()));
        let attribution = PlacesSettings { attribution: Some("x".into()), ..Default::default() };
        let problem = PlacesConfig::from_settings(&attribution).unwrap_err().to_string();
        assert!(problem.contains("set the places path too"), "{problem}");
    }
}
