use std::f64::consts::{PI, TAU};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use herd_cli::{MAX_BATCH_REPORTS, ReportStream};
use herd_proto::{ClientId, EARTH_RADIUS_METERS, Position, Report, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::survey::meant;
use super::{Target, client_id, point};
use crate::args::SimulateArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output};

/// Parts of an interval in which some of the clients report, so that they do not all at once.
const PARTS: u32 = 20;

/// Shortest interval.
const MIN_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn run(
    args: SimulateArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let center = args.around.as_deref().map(point).transpose()?;
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut walkers = Vec::new();
    for number in 0..args.clients {
        let id = client_id(&format!("{}{number}", args.prefix))?;
        walkers.push(Walker::new(id, center, &args, &mut random));
    }
    let mut streams = Vec::new();
    for (_, address) in meant(&target, false)? {
        // A herd with a node that is down can be shown, too.
        if let Ok(client) = target.connect_to(&address).await {
            streams.push(client.report_stream().await?);
        }
    }
    if streams.is_empty() {
        // Says why.
        target.connect().await?;
    }
    output.note(&format!(
        "-- {} clients report every {} to {} nodes; Ctrl-C ends it --",
        args.clients,
        humantime::format_duration(args.every),
        streams.len()
    ));
    let mut summary = Summary::default();
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let started = Instant::now();
    let end = args.duration.map(|duration| started + duration);
    let part = args.every.max(MIN_EVERY) / PARTS;
    let mut next = started;
    let mut ended = 'walk: loop {
        for number in 0..PARTS as usize {
            tokio::select! {
                biased;
                _ = &mut interrupted => break 'walk Ok(ExitCode::Interrupted),
                () = sleep_until(next) => {}
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                break 'walk Ok(ExitCode::Success);
            }
            // Who cannot keep up falls behind, and does not try to make up for it.
            next = (next + part).max(Instant::now());
            let some = walkers.iter_mut().skip(number).step_by(PARTS as usize);
            let reports: Vec<_> = some.map(|walker| walker.report(started.elapsed())).collect();
            if let Err(failure) = send(&mut streams, reports, &mut summary).await {
                break 'walk Err(failure);
            }
        }
    };
    summary.seconds = started.elapsed().as_secs_f64();
    // Whatever ended it, the clients are not to stay; a second Ctrl-C leaves them.
    if args.forget {
        tokio::select! {
            forgotten = forget(&target, &walkers, &mut summary) => ended = ended.and_then(|code| forgotten.map(|()| code)),
            _ = tokio::signal::ctrl_c() => ended = Ok(ExitCode::Interrupted),
        }
    }
    output.answer(&summary)?;
    ended
}

async fn forget(target: &Target, walkers: &[Walker], summary: &mut Summary) -> Result<(), Failure> {
    let client = target.connect().await?;
    for walker in walkers {
        client.forget(&walker.id).await?;
        summary.forgotten += 1;
    }
    Ok(())
}

async fn send(
    streams: &mut [ReportStream],
    reports: Vec<Report>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    // Each client keeps to one node, as a phone keeps to its mast.
    let count = streams.len().max(1);
    let mut lots: Vec<Vec<Report>> = vec![Vec::new(); count];
    for (index, report) in reports.into_iter().enumerate() {
        lots[index % count].push(report);
    }
    for (stream, lot) in streams.iter_mut().zip(lots) {
        for batch in lot.chunks(MAX_BATCH_REPORTS / 8) {
            let taken = stream.send(batch.to_vec()).await?;
            summary.reports += batch.len() as u64;
            summary.refused += taken.refused.len() as u64;
        }
    }
    Ok(())
}

#[derive(Default, Serialize)]
struct Summary {
    reports: u64,
    refused: u64,
    forgotten: u64,
    seconds: f64,
}

impl Answer for Summary {
    const KIND: &'static str = "simulated";

    fn text(&self) -> String {
        let rate = self.reports as f64 / self.seconds.max(1e-3);
        let refused =
            if self.refused == 0 { String::new() } else { format!(", {} refused", self.refused) };
        let forgotten = if self.forgotten == 0 {
            String::new()
        } else {
            format!("; {} clients forgotten", self.forgotten)
        };
        format!("{} reports{refused}, {rate:.0} a second{forgotten}\n", self.reports)
    }
}

/// A client that goes round the Earth along a great circle.
struct Walker {
    id: ClientId,
    /// Two unit vectors at a right angle: where it starts, and where it is heading.
    start: [f64; 3],
    ahead: [f64; 3],
    /// Radians a second.
    speed: f64,
}

impl Walker {
    fn new(
        id: ClientId,
        center: Option<Position>,
        args: &SimulateArgs,
        random: &mut StdRng,
    ) -> Self {
        let (latitude, longitude) = match center {
            // Evenly over the sphere, and not crowded at the poles.
            None => (random.random_range(-1.0..1.0_f64).asin(), random.random_range(-PI..PI)),
            Some(center) => {
                let farthest = args.radius / EARTH_RADIUS_METERS;
                let (away, bearing) =
                    (farthest * random.random::<f64>().sqrt(), random.random_range(0.0..TAU));
                let latitude = center.latitude().to_radians() + away * bearing.cos();
                let latitude = latitude.clamp(-PI / 2.0, PI / 2.0);
                let shrink = center.latitude().to_radians().cos().max(1e-6);
                (latitude, center.longitude().to_radians() + away * bearing.sin() / shrink)
            }
        };
        let bearing = random.random_range(0.0..TAU);
        let (north, east) = (bearing.cos(), bearing.sin());
        let (sin_lat, cos_lat) = latitude.sin_cos();
        let (sin_lng, cos_lng) = longitude.sin_cos();
        let start = [cos_lat * cos_lng, cos_lat * sin_lng, sin_lat];
        let to_north = [-sin_lat * cos_lng, -sin_lat * sin_lng, cos_lat];
        let to_east = [-sin_lng, cos_lng, 0.0];
        let ahead = std::array::from_fn(|axis| north * to_north[axis] + east * to_east[axis]);
        let metres_per_second = args.speed / 3.6 * random.random_range(0.3..1.0);
        Self { id, start, ahead, speed: metres_per_second / EARTH_RADIUS_METERS }
    }

    fn at(&self, elapsed: Duration) -> Position {
        let (sine, cosine) = (self.speed * elapsed.as_secs_f64()).sin_cos();
        let [x, y, z]: [f64; 3] =
            std::array::from_fn(|axis| cosine * self.start[axis] + sine * self.ahead[axis]);
        let (latitude, longitude) = (z.clamp(-1.0, 1.0).asin(), y.atan2(x));
        // Neither can be out of range: they come from an arc sine and an arc tangent.
        Position::from_degrees(latitude.to_degrees(), longitude.to_degrees()).unwrap_or_default()
    }

    fn report(&self, elapsed: Duration) -> Report {
        let now = Timestamp::from(SystemTime::now());
        Report::new(self.id.clone(), self.at(elapsed), Some(now))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn clients_start_where_they_are_told_and_go_as_fast_as_they_may() {
        let words = ["herd-cli", "simulate", "--around", "60,179.99", "--radius", "5km"];
        let Command::Simulate(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        let center = Position::from_degrees(60.0, 179.99).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        for number in 0..200 {
            let id = ClientId::parse(&format!("c{number}")).unwrap();
            let walker = Walker::new(id, Some(center), &args, &mut random);
            let (start, later) = (walker.at(Duration::ZERO), walker.at(Duration::from_hours(1)));
            assert!(center.distance_meters(start) < 5100.0, "{start}");
            let gone = start.distance_meters(later);
            assert!((269_000.0..901_000.0).contains(&gone), "{gone}");
        }
    }
}
