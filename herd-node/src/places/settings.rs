//! What was typed about places, unchecked.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::settings::scalar;

/// The environment variable of the key. There is no flag for it: flags show in `ps`.
pub const KEY_VARIABLE: &str = "HERD_PLACES_KEY";

/// What was typed about places, unchecked: from a file, the environment or flags.
// Each flag has an id of its own, because a program may have another `timeout` or `path`.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacesSettings {
    /// Where places come from: embedded (built in, no network), google-new, google-legacy or
    /// wikipedia [default: embedded]
    #[arg(
        id = "places_provider",
        long = "places-provider",
        env = "HERD_PLACES_PROVIDER",
        value_name = "NAME"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,

    /// Scheme, host and port that speak the provider's form; its own path is appended [default:
    /// the provider's own]
    #[arg(id = "places_url", long = "places-url", env = "HERD_PLACES_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// File that holds the provider's API key, read again when it changes (or set
    /// HERD_PLACES_KEY)
    #[arg(
        id = "places_key_file", long = "places-key-file",
        env = "HERD_PLACES_KEY_FILE",
        value_name = "FILE",
        // clap's own parser of paths refuses an empty variable.
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// Which fields to buy from google-new: pro, or enterprise, which adds ratings, prices and
    /// opening hours and costs more [default: pro]
    #[arg(id = "places_tier", long = "places-tier", env = "HERD_PLACES_TIER", value_name = "TIER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,

    /// Your own e-mail address or page, which wikipedia demands to be told
    #[arg(
        id = "places_contact",
        long = "places-contact",
        env = "HERD_PLACES_CONTACT",
        value_name = "TEXT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,

    /// What answers when the provider does not, and says so: embedded or none [default: none]
    #[arg(
        id = "places_fallback",
        long = "places-fallback",
        env = "HERD_PLACES_FALLBACK",
        value_name = "NAME"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,

    /// CSV or GeoNames file for the embedded provider, read again on SIGHUP [default: built in]
    #[arg(
        id = "places_path", long = "places-path",
        env = "HERD_PLACES_PATH",
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,

    /// HTML that says whose the data of that file is, shown with each answer
    #[arg(
        id = "places_attribution",
        long = "places-attribution",
        env = "HERD_PLACES_ATTRIBUTION",
        value_name = "HTML"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<String>,

    /// What the embedded provider puts first: blend (well known and near), distance or
    /// prominence [default: blend]
    #[arg(
        id = "places_rank_by",
        long = "places-rank-by",
        env = "HERD_PLACES_RANK_BY",
        value_name = "ORDER"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_by: Option<String>,

    /// Most requests a second to the provider, over time; twice as many at once [default: by
    /// provider: google-legacy 50, google-new 10, wikipedia 2]
    #[arg(id = "places_rate", long = "places-rate", env = "HERD_PLACES_RATE", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "scalar")]
    pub rate: Option<String>,

    /// Most requests a day (of UTC) to the provider by this node, or none for no bound; a restart
    /// goes on counting if there is a data directory [default: none]
    #[arg(
        id = "places_daily_quota",
        long = "places-daily-quota",
        env = "HERD_PLACES_DAILY_QUOTA",
        value_name = "N|none"
    )]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "scalar")]
    pub daily_quota: Option<String>,

    /// Most requests to the provider at a time [default: 16, wikipedia 3]
    #[arg(
        id = "places_max_in_flight",
        long = "places-max-in-flight",
        env = "HERD_PLACES_MAX_IN_FLIGHT",
        value_name = "N"
    )]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "scalar")]
    pub max_in_flight: Option<String>,

    /// Longest time that one question to the provider may take, retries included [default: 4s]
    #[arg(
        id = "places_timeout",
        long = "places-timeout",
        env = "HERD_PLACES_TIMEOUT",
        value_name = "DURATION"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,

    /// How long the provider's answers are kept for others who ask the same; Google's terms allow
    /// none [default: 0s, wikipedia 10m]
    #[arg(
        id = "places_cache_ttl",
        long = "places-cache-ttl",
        env = "HERD_PLACES_CACHE_TTL",
        value_name = "DURATION"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<String>,

    /// The key as typed; only ever from [`KEY_VARIABLE`].
    #[arg(skip)]
    #[serde(skip)]
    pub(super) key: TypedKey,
}

/// A key before it is checked, which is as secret as after.
#[derive(Clone, Default)]
pub(super) struct TypedKey(pub(super) Option<String>);

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

    /// Fills what is not set here from settings that rank lower. A key and a file for one are
    /// the same setting.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        let key_file = filled_path(self.key_file);
        let keyless = self.key.0.is_none() && key_file.is_none();
        let (key, key_file) =
            if keyless { (lower.key, lower.key_file) } else { (self.key, key_file) };
        Self {
            provider: filled(self.provider).or(lower.provider),
            url: filled(self.url).or(lower.url),
            key_file,
            tier: filled(self.tier).or(lower.tier),
            contact: filled(self.contact).or(lower.contact),
            fallback: filled(self.fallback).or(lower.fallback),
            path: filled_path(self.path).or(lower.path),
            attribution: filled(self.attribution).or(lower.attribution),
            rank_by: filled(self.rank_by).or(lower.rank_by),
            rate: filled(self.rate).or(lower.rate),
            daily_quota: filled(self.daily_quota).or(lower.daily_quota),
            max_in_flight: filled(self.max_in_flight).or(lower.max_in_flight),
            timeout: filled(self.timeout).or(lower.timeout),
            cache_ttl: filled(self.cache_ttl).or(lower.cache_ttl),
            key,
        }
    }
}

/// An empty variable counts as one that is not set, as it often stands so in compose files.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

fn filled_path(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn higher_settings_win_and_the_key_stays_hidden() {
        let low = PlacesSettings {
            provider: Some("low".into()),
            key_file: Some("low".into()),
            ..PlacesSettings::default()
        };
        let high = PlacesSettings { provider: Some("high".into()), ..PlacesSettings::default() }
            .with_key_from(|name| (name == KEY_VARIABLE).then(|| "s3cret".into()));
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

    /// Each flag, so that one that [`PlacesSettings::or`] forgets is noticed.
    #[test]
    fn flags_are_read_there_is_none_for_the_key_and_empty_ones_hide_nothing() {
        let mut command = Program::command();
        let help = command.render_long_help().to_string();
        assert!(help.starts_with("the program") && !help.contains("--places-key "), "{help}");
        let flags: Vec<_> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .filter(|flag| flag.starts_with("places-"))
            .map(str::to_owned)
            .collect();
        assert_eq!(flags.len(), 14);
        let parse = |value: &str| {
            let flags = flags.iter().map(|flag| format!("--{flag}={value}"));
            Program::try_parse_from(std::iter::once("x".into()).chain(flags)).unwrap().places
        };
        let (empty, typed) = (parse(""), parse("typed"));
        assert_eq!(typed.key_file.as_deref(), Some(Path::new("typed")));
        let shown = |settings: &PlacesSettings| toml::to_string(settings).unwrap();
        assert_eq!(shown(&typed).matches("= \"typed\"").count(), 14);
        assert_eq!(shown(&empty.or(typed.clone())), shown(&typed));
        assert_eq!(shown(&typed.clone().or(PlacesSettings::default())), shown(&typed));
    }

    #[test]
    fn the_file_form_takes_bare_numbers_but_no_key_and_no_unknown_field() {
        let file = "provider = 'google-legacy'\nurl = 'http://h'\nkey_file = 'f'\nrate = 0.5\n\
                    daily_quota = 1000";
        let settings: PlacesSettings = toml::from_str(file).unwrap();
        assert_eq!(settings.url.as_deref(), Some("http://h"));
        assert_eq!(settings.rate.as_deref(), Some("0.5"));
        assert_eq!(settings.daily_quota.as_deref(), Some("1000"));
        assert!(toml::from_str::<PlacesSettings>("key = 'k'").is_err());
    }
}
