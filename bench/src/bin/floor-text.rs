//! The least that a text server can do: reads IAMAT lines, stores them, answers. No validation
//! beyond the numbers, no limits, no other nodes. What a gateway and a node are measured against.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use mimalloc::MiMalloc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Table = Arc<Mutex<HashMap<Box<[u8]>, Stored>>>;

struct Stored {
    _latitude: f64,
    _longitude: f64,
    nanos: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).context("floor-text IP:PORT")?.parse()?;
    let listener = TcpListener::bind(address).await?;
    let (table, connections) = (Table::default(), TaskTracker::new());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(serve(stream, Arc::clone(&table)));
    }
}

async fn serve(mut stream: TcpStream, table: Table) -> anyhow::Result<()> {
    let (mut input, mut kept, mut out) = (vec![0; 64 << 10], 0, Vec::new());
    loop {
        let count = stream.read(&mut input[kept..]).await?;
        if count == 0 {
            return Ok(());
        }
        let end = kept + count;
        let mut start = 0;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            for line in memchr::memchr_iter(b'\n', &input[..end]) {
                answer(&input[start..line], now, &mut table, &mut out);
                start = line + 1;
            }
        }
        input.copy_within(start..end, 0);
        kept = end - start;
        stream.write_all(&out).await?;
        out.clear();
    }
}

fn answer(line: &[u8], now: i64, table: &mut HashMap<Box<[u8]>, Stored>, out: &mut Vec<u8>) {
    let Some((id, latitude, longitude, nanos)) = parse(line) else {
        out.extend_from_slice(b"? ");
        out.extend_from_slice(line);
        out.push(b'\n');
        return;
    };
    let stored = Stored { _latitude: latitude, _longitude: longitude, nanos };
    match table.get_mut(id) {
        Some(known) if known.nanos >= nanos => {}
        Some(known) => *known = stored,
        None => {
            table.insert(id.into(), stored);
        }
    }
    let difference = now - nanos;
    let sign = if difference < 0 { '-' } else { '+' };
    let difference = difference.unsigned_abs();
    let (seconds, rest) = (difference / 1_000_000_000, difference % 1_000_000_000);
    // Writing to a vector does not fail.
    let _ = write!(out, "AT Floor {sign}{seconds}.{rest:09}");
    out.extend_from_slice(&line[5..]);
    out.push(b'\n');
}

fn parse(line: &[u8]) -> Option<(&[u8], f64, f64, i64)> {
    let mut words = line.split(|byte| *byte == b' ');
    if words.next()? != b"IAMAT" {
        return None;
    }
    let (id, position, time) = (words.next()?, words.next()?, words.next()?);
    let sign = position.iter().skip(1).position(|byte| matches!(byte, b'+' | b'-'))? + 1;
    let (latitude, longitude) = position.split_at(sign);
    let (seconds, fraction) = str::from_utf8(time).ok()?.split_once('.')?;
    let nanos = seconds.parse::<i64>().ok()? * 1_000_000_000 + fraction.parse::<i64>().ok()?;
    let degrees = |text| str::from_utf8(text).ok()?.parse().ok();
    Some((id, degrees(latitude)?, degrees(longitude)?, nanos))
}
