//! What is compared, and one run of it.

use std::time::Instant;

use clap::ValueEnum;
use herd_bench::{Call, CallLoad, Dialect, Measured, Node, StreamLoad, TextLoad, Timing, fill};
use serde::Serialize;

use super::contenders::{Contender, Programs};
use super::process::spent_by_all;

/// Clients that are loaded to see what each takes in memory.
const MEMORY_CLIENTS: u32 = 1_000_000;

/// What is compared. The first contender of each is what the others are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Lines, 8 connections with 128 in flight each
    Pipelined,
    /// Lines, 64 connections with one in flight each
    Many,
    /// Lines, one after the other on one connection
    Single,
    /// Messages of 256 reports on one stream, 4 in flight
    Stream,
    /// Single Report calls, 4 channels, 64 in flight
    Unary,
    /// WHATSAT lines, 64 connections
    Whatsat,
    /// Memory for a million clients
    Memory,
}

/// What one run came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) measured: Measured,
    /// Cores that the contender was busy with, warm-up included.
    pub(crate) server_cores: f64,
    /// Cores that everybody else on the machine was busy with.
    pub(crate) foreign_cores: f64,
    /// Resident bytes of the contender before the load.
    pub(crate) memory_empty: u64,
    /// The same at the end, and at most.
    pub(crate) memory: (u64, u64),
}

impl Run {
    /// Whether the load was what kept the rate down: it had a core to itself and no more to give,
    /// while the contender still had time.
    pub(crate) fn was_bound_by_load(&self) -> bool {
        self.measured.load_cores > 0.95 && self.server_cores < 0.9
    }
}

impl Scenario {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "IAMAT, 8 connections x 128 in flight",
            Self::Many => "IAMAT, 64 connections one by one",
            Self::Single => "IAMAT, 1 connection one by one",
            Self::Stream => "ReportStream, 256 a message, 4 in flight",
            Self::Unary => "Report, 4 channels, 64 in flight",
            Self::Whatsat => "WHATSAT, 64 connections one by one",
            Self::Memory => "1,000,000 clients of 20-byte ids in memory",
        }
    }

    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender as C;
        match self {
            Self::Pipelined | Self::Many | Self::Single => &[
                C::FloorText,
                C::Gateway,
                C::Embedded,
                C::Asyncio,
                C::Uvloop,
                C::NodeJs,
                C::Redis,
                C::DurableRedis,
                C::Tile38,
            ],
            Self::Stream => &[C::FloorGrpc, C::Node, C::DurableNode],
            Self::Unary => &[C::FloorGrpc, C::Node],
            Self::Whatsat => &[C::Gateway, C::Embedded],
            Self::Memory => &[C::Redis, C::Node, C::DurableNode, C::Tile38],
        }
    }

    /// Starts a contender, puts the load on, ends it.
    pub(crate) async fn run(
        self,
        contender: Contender,
        programs: &Programs,
        clients: u32,
        timing: Timing,
    ) -> anyhow::Result<Run> {
        let running = contender.start(programs)?;
        let (memory_empty, _) = running.server.memory()?;
        let lines = |connections, in_flight| TextLoad {
            target: running.text,
            dialect: contender.dialect(),
            connections,
            in_flight,
            clients,
            timing,
        };
        if self == Self::Whatsat {
            fill(&Node::plain(running.grpc), clients).await?;
        }
        let (began, all, own) = (Instant::now(), spent_by_all()?, running.server.spent()?);
        let measured = match self {
            Self::Pipelined => lines(8, 128).run().await?,
            Self::Many => lines(64, 1).run().await?,
            Self::Single => lines(1, 1).run().await?,
            Self::Whatsat => TextLoad { dialect: Dialect::Whatsat, ..lines(64, 1) }.run().await?,
            Self::Stream => {
                let (node, streams, batch, in_flight) = (Node::plain(running.grpc), 1, 256, 4);
                StreamLoad { node, streams, batch, in_flight, clients, timing }.run().await?
            }
            Self::Unary => {
                let (node, channels, in_flight) = (Node::plain(running.grpc), 4, 64);
                let call = Call::Report;
                CallLoad { node, call, channels, in_flight, clients, timing }.run().await?
            }
            Self::Memory => {
                if matches!(contender, Contender::Node | Contender::DurableNode) {
                    fill(&Node::plain(running.grpc), MEMORY_CLIENTS).await?
                } else {
                    TextLoad { clients: MEMORY_CLIENTS, ..lines(8, 128) }.fill().await?
                }
            }
        };
        let elapsed = began.elapsed().as_secs_f64();
        let server = running.server.spent()?.saturating_sub(own).as_secs_f64() / elapsed;
        let all = spent_by_all()?.saturating_sub(all).as_secs_f64() / elapsed;
        Ok(Run {
            server_cores: server,
            foreign_cores: (all - server - measured.load_cores).max(0.0),
            memory_empty,
            memory: running.server.memory()?,
            measured,
        })
    }
}
