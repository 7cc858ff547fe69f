//! Limits, as typed.

use serde::Deserialize;

use super::scalar;

/// What bounds a node; [`crate::Limits`] has the reasons.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Most open connections [default: 4096]
    #[arg(long, env = "HERD_MAX_CONNECTIONS", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_connections: Option<String>,

    /// Of these, most from one address [default: no limit of its own]
    #[arg(long, env = "HERD_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_connections_per_address: Option<String>,

    /// Most calls at a time on one connection [default: 1024]
    #[arg(long, env = "HERD_MAX_STREAMS", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_streams: Option<String>,

    /// Most calls that are being answered at a time [default: 1024]
    #[arg(long, env = "HERD_MAX_IN_FLIGHT", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_in_flight: Option<String>,

    /// Largest request, 4096 to 1048576 bytes [default: 1048576]
    #[arg(long, env = "HERD_MAX_REQUEST_BYTES", value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    pub max_request_bytes: Option<String>,

    /// Largest answer to a client, in bytes [default: 1048576]
    #[arg(long, env = "HERD_MAX_RESPONSE_BYTES", value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    pub max_response_bytes: Option<String>,

    /// Most clients that reports may bring into the table [default: 10000000]
    #[arg(long, env = "HERD_MAX_CLIENTS", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_clients: Option<String>,

    /// Most reports a second of one client [default: any number]
    #[arg(long, env = "HERD_MAX_CLIENT_RATE", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_client_rate: Option<String>,

    /// Most reports a second of one connection [default: any number]
    #[arg(long, env = "HERD_MAX_CONNECTION_RATE", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_connection_rate: Option<String>,

    /// Most memory of one watcher that does not read [default: 4194304]
    #[arg(long, env = "HERD_MAX_WATCHER_BYTES", value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    pub max_watcher_bytes: Option<String>,

    /// Most Watch streams at a time [default: 1024]
    #[arg(long, env = "HERD_MAX_WATCHERS", value_name = "N")]
    #[serde(deserialize_with = "scalar")]
    pub max_watchers: Option<String>,
}

impl LimitSettings {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            max_connections: self.max_connections.or(other.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .or(other.max_connections_per_address),
            max_streams: self.max_streams.or(other.max_streams),
            max_in_flight: self.max_in_flight.or(other.max_in_flight),
            max_request_bytes: self.max_request_bytes.or(other.max_request_bytes),
            max_response_bytes: self.max_response_bytes.or(other.max_response_bytes),
            max_clients: self.max_clients.or(other.max_clients),
            max_client_rate: self.max_client_rate.or(other.max_client_rate),
            max_connection_rate: self.max_connection_rate.or(other.max_connection_rate),
            max_watcher_bytes: self.max_watcher_bytes.or(other.max_watcher_bytes),
            max_watchers: self.max_watchers.or(other.max_watchers),
        }
    }
}
