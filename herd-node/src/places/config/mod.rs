//! What was meant about places: checked, and within which limits.

mod upstream;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use herd_proto::topology::Problems;

pub use self::upstream::UpstreamConfig;

use super::api::{google_legacy, google_new, wikipedia};
use super::embedded;
use super::settings::PlacesSettings;
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
        match UpstreamConfig::read(api, settings, &mut problems) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::settings::KEY_VARIABLE;

    fn legacy() -> PlacesSettings {
        PlacesSettings { provider: Some(google_legacy::NAME.into()), ..PlacesSettings::default() }
    }

    fn keyed(settings: PlacesSettings, key: &str) -> PlacesSettings {
        settings.with_key_from(|name| (name == KEY_VARIABLE).then(|| key.into()))
    }

    fn problems(settings: &PlacesSettings) -> String {
        PlacesConfig::from_settings(settings).unwrap_err().to_string()
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
        let problem = problems(&settings);
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
        let problem = problems(&settings);
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
        let problems = problems(&settings);
        assert!(problems.starts_with("8 problems:"), "{problems}");
    }

    #[test]
    fn a_file_of_places_needs_somebody_to_read_it() {
        let path = PlacesSettings { path: Some("f".into()), ..legacy() };
        assert!(problems(&keyed(path.clone(), "k")).contains("places path: is for"));
        let fallback = PlacesSettings { fallback: Some("embedded".into()), ..path };
        let config = PlacesConfig::from_settings(&keyed(fallback, "k")).unwrap();
        assert_eq!(config.fallback.unwrap().path, Some("f".into()));
        let attribution = PlacesSettings { attribution: Some("x".into()), ..Default::default() };
        let problem = problems(&attribution);
        assert!(problem.contains("set the places path too"), "{problem}");
    }
}
