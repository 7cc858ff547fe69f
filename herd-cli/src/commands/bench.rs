//! A herd under load.

use std::fmt::Write as _;
use std::net::ToSocketAddrs as _;

use anyhow::Context as _;
use herd_bench::{
    Call, CallLoad, Dialect, FloodLoad, Flooded, Measured, Node, PropagationLoad, StreamLoad,
    TextLoad, Timing, fill,
};
use serde::Serialize;

use super::Target;
use crate::args::{BenchArgs, Load};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, table};

pub(super) async fn run(
    args: BenchArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let (args, target) = (&args, &target);
    let timing = Timing { warm_up: args.warm_up, lasts: args.lasts };
    let clients = args.clients.unwrap_or(100_000);
    let connections = |default| args.connections.unwrap_or(default);
    let in_flight = |default| args.in_flight.unwrap_or(default);
    let node = || Ok::<_, Failure>(node_at(target, target.address()?));
    let calls = |call| {
        Ok::<_, Failure>(CallLoad {
            node: node()?,
            call,
            channels: connections(4),
            in_flight: in_flight(64),
            clients,
            timing,
        })
    };
    let measured = match args.load {
        Load::Flood => {
            let flooded = flood(args, target).await.map_err(Failure::Other)?;
            output.answer(&FloodView(flooded))?;
            return Ok(ExitCode::Success);
        }
        Load::Reports => {
            let (node, batch) = (node()?, args.batch);
            let (streams, in_flight) = (connections(1), in_flight(4));
            StreamLoad { node, streams, batch, in_flight, clients, timing }.run().await
        }
        Load::Calls => calls(Call::Report)?.run().await,
        Load::Queries => {
            fill(&node()?, clients).await.map_err(Failure::Other)?;
            calls(Call::Search)?.run().await
        }
        Load::Lines => {
            let dialect = Dialect::Iamat;
            let (target, connections) = (text_port(args, target)?, connections(8));
            let in_flight = in_flight(128);
            TextLoad { target, dialect, connections, in_flight, clients, timing }.run().await
        }
        Load::Propagation => {
            let (nodes, rate) = (all_nodes(target), args.rate);
            PropagationLoad { nodes, rate, clients, timing }.run().await
        }
    };
    let measured = measured.map_err(Failure::Other)?;
    let refused = measured.refused;
    output.answer(&MeasuredView(measured))?;
    Ok(if refused == 0 { ExitCode::Success } else { ExitCode::Partial })
}

async fn flood(args: &BenchArgs, target: &Target) -> anyhow::Result<Flooded> {
    let (nodes, clients) = (all_nodes(target), args.clients.unwrap_or(500_000));
    FloodLoad { nodes, clients, in_flight: args.in_flight.unwrap_or(4) }.run().await
}

fn node_at(target: &Target, address: String) -> Node {
    let access = target.access_to(&address);
    Node { address, dialler: access.dialler, bearer: access.bearer }
}

fn all_nodes(target: &Target) -> Vec<Node> {
    let entries = target.topology.nodes.iter();
    entries.map(|entry| node_at(target, entry.address.clone())).collect()
}

fn text_port(args: &BenchArgs, target: &Target) -> Result<std::net::SocketAddr, Failure> {
    if let Some(text) = args.text {
        return Ok(text);
    }
    let address = target.address()?;
    let entry = target.topology.nodes.iter().find(|entry| entry.address == address);
    let text = entry.and_then(|entry| entry.text.as_ref());
    let text = text.ok_or_else(|| {
        Failure::Usage(format!("the herd file names no text port of {address}; give --text"))
    })?;
    let found = text.to_socket_addrs().with_context(|| text.to_string()).map_err(Failure::Other)?;
    found.into_iter().next().ok_or_else(|| Failure::Usage(format!("{text} has no address")))
}

#[derive(Serialize)]
struct MeasuredView(Measured);

impl Answer for MeasuredView {
    const KIND: &'static str = "load";

    fn text(&self) -> String {
        let Measured { rate, latency, load_cores, .. } = &self.0;
        let micros = |value: f64| format!("{value:.0} us");
        let row = [
            format!("{rate:.0}"),
            micros(latency.p50),
            micros(latency.p90),
            micros(latency.p99),
            micros(latency.p999),
            micros(latency.max),
            format!("{load_cores:.2}"),
        ];
        let mut text = table(["PER SECOND", "P50", "P90", "P99", "P99.9", "MAX", "CORES"], &[row]);
        if self.0.refused > 0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} were refused", self.0.refused);
        }
        text
    }
}

#[derive(Serialize)]
struct FloodView(Flooded);

impl Answer for FloodView {
    const KIND: &'static str = "flood";

    fn text(&self) -> String {
        let row = [
            self.0.reports.to_string(),
            format!("{:.2} s", self.0.seconds),
            format!("{:.0}", self.0.rate),
            format!("{:.0} ms", self.0.settled_in_seconds * 1e3),
            format!("{:.2}", self.0.copies_a_report),
            format!("{:.2}", self.0.load_cores),
        ];
        table(["REPORTS", "EVERYWHERE IN", "PER SECOND", "SETTLED IN", "COPIES", "CORES"], &[row])
    }
}
