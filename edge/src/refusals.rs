//! What was refused since the start, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was refused or ended. Each limit and each check has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All places for connections are taken.
    Connections,
    /// All places for connections of one address are taken.
    ConnectionsPerAddress,
    /// A TLS handshake failed, or took too long.
    Handshake,
    /// No HTTP/2 came on a new connection in time.
    Preface,
    /// No sound PROXY header came on a new connection in time.
    ProxyHeader,
    /// Too many calls are being answered already.
    InFlight,
    /// A message was longer than it may be.
    MessageBytes,
    /// The caller showed no token or certificate, or one that is unknown.
    Unauthenticated,
    /// The caller is known, and may not do this.
    PermissionDenied,
    /// All places for watchers are taken.
    Watchers,
    /// A watcher fell too far behind.
    WatcherBehind,
    /// The table holds as many clients as it may.
    Clients,
    /// A client reported too often.
    ClientRate,
    /// More came on a connection than it may send in a second.
    ConnectionRate,
    /// A line was longer than a command may be.
    LineBytes,
    /// A connection said nothing for too long.
    Idle,
    /// A line was begun and not finished in time.
    PartialLine,
    /// A message was awaited or begun, and did not come whole in time.
    PartialMessage,
    /// A client did not read its answers.
    WriteStall,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 19] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::Handshake,
        Self::Preface,
        Self::ProxyHeader,
        Self::InFlight,
        Self::MessageBytes,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Watchers,
        Self::WatcherBehind,
        Self::Clients,
        Self::ClientRate,
        Self::ConnectionRate,
        Self::LineBytes,
        Self::Idle,
        Self::PartialLine,
        Self::PartialMessage,
        Self::WriteStall,
    ];

    /// The reason as a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Handshake => "handshake",
            Self::Preface => "preface",
            Self::ProxyHeader => "proxy_header",
            Self::InFlight => "in_flight",
            Self::MessageBytes => "message_bytes",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Watchers => "watchers",
            Self::WatcherBehind => "watcher_behind",
            Self::Clients => "clients",
            Self::ClientRate => "client_rate",
            Self::ConnectionRate => "connection_rate",
            Self::LineBytes => "line_bytes",
            Self::Idle => "idle",
            Self::PartialLine => "partial_line",
            Self::PartialMessage => "partial_message",
            Self::WriteStall => "write_stall",
        }
    }
}

/// Counts of refusals.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Reason::ALL.len()]);

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.add(reason, 1);
    }

    /// Counts some.
    pub fn add(&self, reason: Reason, times: u64) {
        self.0[reason as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// How many there were for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// All counts.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_place_and_a_label_of_its_own() {
        let refusals = Refusals::default();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            refusals.add(reason, index as u64);
        }
        let labels: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        assert!(refusals.iter().enumerate().all(|(index, (_, count))| count == index as u64));
    }
}
