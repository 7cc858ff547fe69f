//! What bounds a node. What a limit refuses is counted, and each one is hit by a test.

use herd_proto::MAX_MESSAGE_BYTES;
use herd_proto::topology::Problems;

use crate::settings::LimitSettings;

/// Smallest limit of a message's size: less than this no report with a long id fits into.
const MIN_MESSAGE_BYTES: usize = 4096;

/// A slot has 32 bits.
const MAX_CLIENTS: usize = u32::MAX as usize;

/// What bounds a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most open connections; further ones are closed at once. One costs some 20 KB, so that as
    /// many cost less than the table. A herd has few callers of its own: text clients stand behind
    /// gateways.
    pub max_connections: usize,
    /// Of these, most from one address (IPv4) or /64 network (IPv6). As many as there are, unless
    /// set: behind a balancer all callers have one address.
    pub max_connections_per_address: usize,
    /// Most calls at a time on one connection, since each costs some 10 KB. A gateway makes one for
    /// each WHATSAT under way. Others wait at the caller's end, as HTTP/2 has it.
    pub max_streams: u32,
    /// Most calls that are being answered at a time. One takes microseconds, unless it waits for
    /// the disk or for places: more than this pile up only where something is stuck. Others are
    /// refused with RESOURCE_EXHAUSTED and RetryInfo. Health and peers are exempt.
    pub max_in_flight: usize,
    /// Largest request of a client, in bytes; others are refused with OUT_OF_RANGE. The largest
    /// that the protocol has, unless set. Frames between nodes have the protocol's limit.
    pub max_request_bytes: usize,
    /// Largest answer to a client, in bytes; where it would be larger, the call ends with
    /// OUT_OF_RANGE. The largest that the protocol has, unless set.
    pub max_response_bytes: usize,
    /// Most clients that reports may bring into the table, at some 170 bytes each; reports of
    /// others are refused with RESOURCE_EXHAUSTED. What friends tell is taken all the same, as
    /// nodes that hold different records would never agree: set it alike on all nodes.
    pub max_clients: usize,
    /// Most reports a second of one client, in bursts of up to a second's worth; others are
    /// refused with RESOURCE_EXHAUSTED. `None` for any number, unless set: a herd cannot know how
    /// fast its clients move. Costs 8 bytes a client.
    pub max_client_rate: Option<u32>,
    /// Most reports a second that one connection may bring, in bursts of up to a second's worth:
    /// its ReportStreams are not read from meanwhile, and calls of Report are refused with
    /// RESOURCE_EXHAUSTED. `None` for any number, unless set: a gateway brings everybody's.
    pub max_connection_rate: Option<u32>,
    /// Most memory that one watcher may take by not reading, 4 bytes for each client that changed
    /// meanwhile; it is ended with RESOURCE_EXHAUSTED. A million clients, unless set.
    pub max_watcher_bytes: usize,
    /// Most Watch streams; others are refused with RESOURCE_EXHAUSTED. Each costs a look at every
    /// change and 4 bytes a changed client.
    pub max_watchers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 4096,
            max_streams: 1024,
            max_in_flight: 1024,
            max_request_bytes: MAX_MESSAGE_BYTES,
            max_response_bytes: MAX_MESSAGE_BYTES,
            max_clients: 10_000_000,
            max_client_rate: None,
            max_connection_rate: None,
            max_watcher_bytes: 4 << 20,
            max_watchers: 1024,
        }
    }
}

impl Limits {
    /// The limits that are meant.
    pub(crate) fn from_settings(settings: &LimitSettings, problems: &mut Problems) -> Self {
        let default = Self::default();
        let mut read =
            |key: &str, text: &Option<String>, default: usize, min: usize, max: usize| {
                let Some(text) = text else { return default };
                match text.parse() {
                    Ok(number) if (min..=max).contains(&number) => number,
                    _ => {
                        problems.add(format_args!("{key}: must be {min} to {max}, got {text:?}"));
                        default
                    }
                }
            };
        let many = 1_000_000;
        let max_connections =
            read("max_connections", &settings.max_connections, default.max_connections, 1, many);
        let per_address = &settings.max_connections_per_address;
        let streams = read("max_streams", &settings.max_streams, 1024, 1, many);
        let in_flight = &settings.max_in_flight;
        let (request_bytes, response_bytes) =
            (&settings.max_request_bytes, &settings.max_response_bytes);
        let clients = &settings.max_clients;
        let mut rate = |key: &str, text: &Option<String>| {
            let rate = u32::try_from(read(key, text, 0, 1, many)).unwrap_or_default();
            (rate > 0).then_some(rate)
        };
        let max_client_rate = rate("max_client_rate", &settings.max_client_rate);
        let max_connection_rate = rate("max_connection_rate", &settings.max_connection_rate);
        let (low, high) = (MIN_MESSAGE_BYTES, MAX_MESSAGE_BYTES);
        Self {
            max_connections,
            max_connections_per_address: read(
                "max_connections_per_address",
                per_address,
                max_connections,
                1,
                many,
            ),
            max_streams: u32::try_from(streams).unwrap_or(default.max_streams),
            max_in_flight: read("max_in_flight", in_flight, default.max_in_flight, 1, many),
            max_request_bytes: read("max_request_bytes", request_bytes, high, low, high),
            max_response_bytes: read("max_response_bytes", response_bytes, high, low, high),
            max_clients: read("max_clients", clients, default.max_clients, 1, MAX_CLIENTS),
            max_client_rate,
            max_connection_rate,
            max_watcher_bytes: read(
                "max_watcher_bytes",
                &settings.max_watcher_bytes,
                default.max_watcher_bytes,
                4096,
                usize::MAX,
            ),
            max_watchers: read(
                "max_watchers",
                &settings.max_watchers,
                default.max_watchers,
                0,
                many,
            ),
        }
    }
}
