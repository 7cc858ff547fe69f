//! `cargo xtask hostile`: what text clients that mean harm cost a good one, how gRPC callers that
//! mean harm fare, and what random bytes do to each port.

mod calls;
mod clients;
mod gateway;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use herd_edge::raise_file_limit;
use tokio::time::{Instant, sleep};

use self::calls::Attack;
use self::clients::{Crowd, Paced, noise, paced, throughput};
use self::gateway::Gateway;
use crate::herd::{Herd, Plan, forget_peak, free_port, peak_bytes};
use crate::measure::Figure;
use crate::report::write_json;

/// One node and a gateway are enough.
const ALONE: [&str; 1] = ["Bailey"];

/// How every connection of HTTP/2 begins: random bytes after it get past the first look.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How long the crowd may take to be there.
const GATHER: Duration = Duration::from_mins(2);

/// Rounds of good throughput with and without the crowd, in turns, so that whatever else runs on
/// the machine meets both.
const ROUNDS: usize = 3;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// How many slow text clients, 0 for none; each needs a file in two processes
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    clients: usize,

    /// How long good clients are measured with and without the crowd, in each of three rounds
    #[arg(long, default_value_t = 20, value_name = "S")]
    seconds: u64,

    /// How long random bytes go to each port
    #[arg(long, default_value_t = 60, value_name = "S")]
    noise: u64,

    /// Chooses the random bytes
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Measures; fails when a process ends, or the good client is not answered.
pub(crate) async fn run(
    args: Args,
    program: Option<PathBuf>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let files = raise_file_limit().unwrap_or(u64::MAX);
    ensure!(
        files > args.clients as u64 + 100,
        "{} clients need more than the {files} files that one process may open here",
        args.clients
    );
    let plan = Plan { names: &ALONE, friendships: &[], ack_level: None, program };
    let mut herd = Herd::plan(&plan).await?;
    let admin = free_port().await?.local_addr()?;
    herd.start_with(0, &["--admin", &admin.to_string()])?;
    herd.wait_until_linked().await?;
    let mut gateway = Gateway::start(herd.address(0), herd.directory()).await?;
    let mut figures = Vec::new();
    if args.clients > 0 {
        figures.extend(crowd(&args, &mut gateway).await?);
    }
    figures.extend(calls(&mut herd).await?);
    figures.extend(random_bytes(&args, &mut herd, admin, &mut gateway).await?);
    herd.check_no_panic()?;
    write_json(json, &figures)?;
    Ok(ExitCode::SUCCESS)
}

async fn crowd(args: &Args, gateway: &mut Gateway) -> anyhow::Result<Vec<Figure>> {
    let lasts = Duration::from_secs(args.seconds);
    throughput(gateway.address, lasts / 4).await?;
    let (mut alone, mut beside, mut each) = (Good::default(), Good::default(), 0.0_f64);
    for _ in 0..ROUNDS {
        alone.measure(gateway.address, lasts).await?;
        let before = gateway.resident_bytes()?;
        let crowd = Crowd::open(gateway.address, args.clients).await;
        let started = Instant::now();
        while crowd.connected() < args.clients * 99 / 100 {
            ensure!(started.elapsed() < GATHER, "only {} came", crowd.connected());
            sleep(Duration::from_millis(100)).await;
        }
        beside.measure(gateway.address, lasts).await?;
        let grown = gateway.resident_bytes()?.saturating_sub(before);
        each = each.max(grown as f64 / args.clients as f64);
        gateway.check_alive()?;
        crowd.leave().await;
    }
    let mut figures = Vec::new();
    for (good, who) in [(&alone, "alone"), (&beside, "beside the crowd")] {
        let name = |what| format!("steady client {who}: {what}");
        figures.push(Figure::new(name("lines a second"), good.steady / ROUNDS as f64, "/s"));
        figures.push(Figure::new(name("p99, worst round"), good.worst_p99_ms, "ms"));
        let name = format!("greedy client {who}: lines a second");
        figures.push(Figure::new(name, good.greedy / ROUNDS as f64, "/s"));
    }
    let left = |beside: f64, alone: f64| beside / alone * 100.0;
    let steady = left(beside.steady, alone.steady);
    figures.push(Figure::new("left of the steady client's throughput", steady, "%"));
    let greedy = left(beside.greedy, alone.greedy);
    figures.push(Figure::new("left of the greedy client's throughput", greedy, "%"));
    figures.push(Figure::new("memory of the gateway for each slow client, most", each, "B"));
    Ok(figures)
}

/// What good clients got, over all rounds: one that sends at a steady pace, and one that sends as
/// fast as it is answered, which all that the crowd's own clients take of the machine slows down.
#[derive(Debug, Default)]
struct Good {
    steady: f64,
    worst_p99_ms: f64,
    greedy: f64,
}

impl Good {
    async fn measure(&mut self, gateway: SocketAddr, lasts: Duration) -> anyhow::Result<()> {
        let Paced { rate, p99_ms } = paced(gateway, lasts / 2).await?;
        self.steady += rate;
        self.worst_p99_ms = self.worst_p99_ms.max(p99_ms);
        self.greedy += throughput(gateway, lasts / 2).await?;
        Ok(())
    }
}

async fn calls(herd: &mut Herd) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for attack in Attack::ALL {
        let pid = herd.pid(0)?;
        forget_peak(pid)?;
        let before = herd.resident_bytes(0)?;
        attack.run(herd.address(0)).await.context(attack.name())?;
        herd.check_alive()?;
        let grown = peak_bytes(pid)?.saturating_sub(before) as f64 / f64::from(1 << 20);
        figures.push(Figure::new(format!("{}: memory, most", attack.name()), grown, "MiB"));
    }
    Ok(figures)
}

async fn random_bytes(
    args: &Args,
    herd: &mut Herd,
    admin: SocketAddr,
    gateway: &mut Gateway,
) -> anyhow::Result<Vec<Figure>> {
    let (lasts, seed) = (Duration::from_secs(args.noise), args.seed);
    let before = herd.resident_bytes(0)? + gateway.resident_bytes()?;
    let http = [&b""[..], b"GET /metrics HTTP/1.1\r\n", b"POST /"];
    let grpc = noise(herd.address(0), &[b"", HTTP_2], seed, lasts);
    let text = noise(gateway.address, &[b"", b"IAMAT ", b"WHATSAT kiwi "], seed, lasts);
    let ours = noise(admin, &http, seed, lasts);
    let theirs = noise(gateway.admin, &http, seed, lasts);
    let (grpc, text, ours, theirs) = tokio::join!(grpc, text, ours, theirs);
    herd.check_alive()?;
    gateway.check_alive()?;
    let still = throughput(gateway.address, Duration::from_secs(1)).await?;
    let grown = (herd.resident_bytes(0)? + gateway.resident_bytes()?) as f64 - before as f64;
    let mut figures = Vec::new();
    let ports =
        [("gRPC", grpc), ("text", text), ("node's admin", ours), ("gateway's admin", theirs)];
    for (port, (connections, bytes)) in ports {
        ensure!(connections > 0, "nobody reached the {port} port");
        let name = |what| format!("random bytes at the {port} port: {what}");
        figures.push(Figure::new(name("connections"), connections as f64, ""));
        figures.push(Figure::new(name("sent"), bytes as f64 / 1e6, "MB"));
    }
    figures.push(Figure::new("memory of both grown by it", grown / f64::from(1 << 20), "MiB"));
    figures.push(Figure::new("good client after it: lines a second", still, "/s"));
    Ok(figures)
}
