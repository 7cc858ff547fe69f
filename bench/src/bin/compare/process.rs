//! Servers as processes: started, found ready, their cores counted, ended.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Longest wait until a server takes connections.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How often it is tried.
const POLL: Duration = Duration::from_millis(10);

/// What `/proc` counts processor time in: `USER_HZ`, 100 on all Linux machines of today.
const TICK: Duration = Duration::from_millis(10);

/// Running processes that make up one server; ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    processes: Vec<Child>,
}

impl Server {
    /// Starts nothing yet.
    pub(crate) fn new() -> Self {
        Self { processes: Vec::new() }
    }

    /// Adds a process, and waits until it listens at `address`.
    pub(crate) fn with(
        mut self,
        command: &mut Command,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(process.spawn().with_context(|| format!("cannot start {name}"))?);
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!("{name} ended: {status}");
                }
            }
            if started.elapsed() > START_LIMIT {
                bail!("{name} does not listen at {address}");
            }
            std::thread::sleep(POLL);
        }
        Ok(self)
    }

    /// Processor time spent so far by all of its processes.
    pub(crate) fn spent(&self) -> anyhow::Result<Duration> {
        self.processes.iter().map(|process| spent_by(process.id())).sum()
    }

    /// Resident memory of all of its processes, in bytes: now, and at most so far.
    pub(crate) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let (mut now, mut peak) = (0, 0);
        for process in &self.processes {
            let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let kilobytes = |key: &str| -> anyhow::Result<u64> {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                let number = line.and_then(|line| line.split_whitespace().next());
                Ok(number.context("no such line in /proc/PID/status")?.parse()?)
            };
            now += kilobytes("VmRSS:")? << 10;
            peak += kilobytes("VmHWM:")? << 10;
        }
        Ok((now, peak))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It has ended, or it does now.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Processor time of a process with all its threads.
fn spent_by(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets, in which anything may stand.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = |index| -> anyhow::Result<u32> {
        Ok(fields.split_whitespace().nth(index).context("short /proc/PID/stat")?.parse()?)
    };
    // utime and stime, fields 14 and 15 of proc(5).
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// Processor time that the whole machine has spent on anything but waiting, stolen time included:
/// what a neighbour takes is missing here, too.
pub(crate) fn spent_by_all() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("empty /proc/stat")?;
    let fields: Vec<u32> =
        line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // All but idle and iowait; guest time is part of user time.
    let busy = fields.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    Ok(TICK * busy.map(|(_, ticks)| *ticks).sum::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_spends_is_counted_and_is_part_of_what_all_spend() {
        let (own, all) = (spent_by(std::process::id()).unwrap(), spent_by_all().unwrap());
        let started = Instant::now();
        while spent_by(std::process::id()).unwrap() < own + 5 * TICK {
            assert!(started.elapsed() < START_LIMIT, "nothing is counted");
        }
        assert!(spent_by_all().unwrap() >= all + 4 * TICK);
    }

    #[test]
    fn a_server_that_does_not_start_is_named() {
        let address = free_port().unwrap();
        let error = Server::new().with(&mut Command::new("false"), address).unwrap_err();
        assert!(error.to_string().starts_with("false ended"), "{error}");
        let error = Server::new().with(&mut Command::new("no-such"), address).unwrap_err();
        assert_eq!(error.to_string(), "cannot start no-such");
    }
}
