//! Text clients: a good one whose throughput is measured, and many that mean harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

/// Lines that the good client sends before it reads their answers.
const PIPELINED: usize = 256;

/// Longest wait for their answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A steady client's lines, and how often it sends them: 10,000 lines a second.
const PACE: usize = 50;
const TICK: Duration = Duration::from_millis(5);

/// Most ticks' lines under way: 20 s of them, after which the answers are overdue.
const UNANSWERED: usize = 4000;

/// How often a slow client sends.
const SLOW: Duration = Duration::from_secs(10);

/// Connections opened between two pauses: fewer than a listener's queue holds.
const OPENED_AT_ONCE: usize = 200;

/// Answered lines a second of a good client, for some time.
pub(super) async fn throughput(gateway: SocketAddr, lasts: Duration) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let line = |n| format!("IAMAT good-{n} +34.068930-118.445127 1700000000.5\n");
    let lines: Vec<_> = (0..PIPELINED).map(line).collect();
    let lines = lines.concat();
    let (started, mut answered, mut buffer) = (Instant::now(), 0, vec![0; 64 << 10]);
    while started.elapsed() < lasts {
        stream.write_all(lines.as_bytes()).await?;
        let mut ends = 0;
        while ends < PIPELINED {
            let read = timeout(ANSWER_LIMIT, stream.read(&mut buffer));
            let count = read.await.context("the good client is not answered")??;
            ensure!(count > 0, "the good client was cut off");
            ends += buffer[..count].split(|byte| *byte == b'\n').count() - 1;
        }
        answered += PIPELINED;
    }
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}

/// What a good client gets that sends at a steady pace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Paced {
    /// Lines answered a second.
    pub(super) rate: f64,
    /// From sending a line to its answer: 99 of 100 took no longer, in milliseconds.
    pub(super) p99_ms: f64,
}

/// Sends [`PACE`] lines every [`TICK`] for some time, whether or not they are answered.
pub(super) async fn paced(gateway: SocketAddr, lasts: Duration) -> anyhow::Result<Paced> {
    let stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let lines = "IAMAT steady +34.068930-118.445127 1700000000.5\n".repeat(PACE);
    let (begun, mut told) = mpsc::channel(UNANSWERED);
    let started = Instant::now();
    let send = async {
        let mut ticks = interval(TICK);
        while started.elapsed() < lasts {
            ticks.tick().await;
            let _ = begun.send(Instant::now()).await;
            writer.write_all(lines.as_bytes()).await?;
        }
        drop(begun);
        anyhow::Ok(())
    };
    let receive = async {
        let (mut waits, mut buffer, mut ends) = (Vec::new(), vec![0; 64 << 10], 0);
        while let Some(at) = told.recv().await {
            while ends < PACE {
                let read = timeout(ANSWER_LIMIT, reader.read(&mut buffer));
                let count = read.await.context("the steady client is not answered")??;
                ensure!(count > 0, "the steady client was cut off");
                ends += buffer[..count].split(|byte| *byte == b'\n').count() - 1;
            }
            ends -= PACE;
            waits.push(at.elapsed());
        }
        anyhow::Ok(waits)
    };
    let ((), mut waits) = tokio::try_join!(send, receive)?;
    let rate = (waits.len() * PACE) as f64 / started.elapsed().as_secs_f64();
    waits.sort();
    let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Paced { rate, p99_ms: p99.as_secs_f64() * 1e3 })
}

/// How a hostile client behaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// A byte every ten seconds, never a line.
    ByteByByte,
    /// A line every ten seconds, and never reads an answer.
    NeverReads,
}

/// Clients that come back whenever they are let go.
#[derive(Debug)]
pub(super) struct Crowd {
    tasks: JoinSet<()>,
    connected: Arc<AtomicUsize>,
}

impl Crowd {
    pub(super) async fn open(gateway: SocketAddr, count: usize) -> Self {
        let (mut tasks, connected) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for number in 0..count {
            let manner = if number % 2 == 0 { Manner::ByteByByte } else { Manner::NeverReads };
            let connected = Arc::clone(&connected);
            // Spread over the ten seconds, as a crowd would be.
            let offset = SLOW.mul_f64(number as f64 / count as f64);
            tasks.spawn(async move {
                loop {
                    if let Ok(stream) = TcpStream::connect(gateway).await {
                        connected.fetch_add(1, Ordering::Relaxed);
                        annoy(stream, manner, offset).await;
                        connected.fetch_sub(1, Ordering::Relaxed);
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
            if number % OPENED_AT_ONCE == OPENED_AT_ONCE - 1 {
                sleep(Duration::from_millis(50)).await;
            }
        }
        Self { tasks, connected }
    }

    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Until the gateway lets go.
async fn annoy(mut stream: TcpStream, manner: Manner, offset: Duration) {
    let mut next = Instant::now() + offset;
    loop {
        sleep_until(next).await;
        next += SLOW;
        let bytes: &[u8] = match manner {
            Manner::ByteByByte => b"I",
            Manner::NeverReads => b"IAMAT slow +34.068930-118.445127 1700000000.5\n",
        };
        if stream.write_all(bytes).await.is_err() {
            return;
        }
        if matches!(manner, Manner::ByteByByte) {
            // It reads, so that it learns when it is let go.
            let mut byte = [0];
            if !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            {
                return;
            }
        }
    }
}

/// Sends random bytes on one connection after the other, each after one of the `beginnings`,
/// for some time; returns how many connections and bytes that were.
pub(super) async fn noise(
    port: SocketAddr,
    beginnings: &[&[u8]],
    seed: u64,
    lasts: Duration,
) -> (u64, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (started, mut connections, mut bytes) = (Instant::now(), 0, 0);
    while started.elapsed() < lasts {
        let mut noise = vec![0; random.random_range(1..50_000)];
        random.fill_bytes(&mut noise);
        let beginning = beginnings[random.random_range(0..beginnings.len())];
        let Ok(stream) = TcpStream::connect(port).await else { continue };
        let (mut reader, mut writer) = stream.into_split();
        let exchange = async {
            let write = async {
                let _ = writer.write_all(beginning).await;
                let _ = writer.write_all(&noise).await;
                let _ = writer.shutdown().await;
            };
            let mut sink = tokio::io::sink();
            let _ = tokio::join!(write, tokio::io::copy(&mut reader, &mut sink));
        };
        let _ = timeout(Duration::from_secs(1), exchange).await;
        connections += 1;
        bytes += (beginning.len() + noise.len()) as u64;
    }
    (connections, bytes)
}
