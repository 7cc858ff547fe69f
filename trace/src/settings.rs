//! The variables of OpenTelemetry that decide whether anything is sent.
//!
//! All others (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
//! `OTEL_EXPORTER_OTLP_HEADERS` and so on) are read by its own libraries.

use std::env;

/// For traces alone, and for all kinds; the former wins.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint, the certificates, or another setting that names how it is reached.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Collector(String),
    /// The machine gives no thread to send from.
    #[error("cannot send traces: {0}")]
    Thread(#[source] std::io::Error),
}

/// Where the collector is; `None` where nothing is to be sent.
pub(crate) fn endpoint() -> Option<String> {
    read(|name| env::var(name).ok())
}

fn read(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let is = |name: &str, word: &str| set(name).is_some_and(|v| v.eq_ignore_ascii_case(word));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    ENDPOINTS.into_iter().find_map(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint_of(variables: &[(&str, &str)]) -> Option<String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_is_sent_unless_an_endpoint_is_named() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:4317");
        assert_eq!(endpoint_of(&[]), None);
        assert_eq!(endpoint_of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(endpoint_of(&[general]).as_deref(), Some("http://a:4317"));
        assert_eq!(endpoint_of(&[general, traces]).as_deref(), Some("http://b:4317"));
    }

    #[test]
    fn it_can_be_switched_off_where_an_endpoint_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint_of(&[endpoint, off]), None);
        }
        assert!(endpoint_of(&[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")]).is_some());
    }
}
