use std::time::{Duration, SystemTime};

use herd_cli::Nearby;
use herd_proto::{NearCenter, NearQuery, Timestamp, Violations};
use serde::Serialize;
use serde_json::Value;

use super::location::{LocationView, age, distance};
use super::{Target, client_id, invalid};
use crate::args::NearArgs;
use crate::coordinates::{Coordinates, CoordinatesError};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(
    args: NearArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let query = NearQuery {
        center: middle(&args)?,
        radius_meters: args.radius,
        max_results: args.max,
        max_age: args.max_age,
    };
    let nearby = target.connect().await?.near(query).await?;
    output.answer(&NearbyView::new(&nearby, SystemTime::now().into()))?;
    Ok(ExitCode::Success)
}

/// What looks like a point is one, and all else a client, unless it is said to be a client.
fn middle(args: &NearArgs) -> Result<NearCenter, Failure> {
    let text = match &args.longitude {
        Some(longitude) => format!("{} {longitude}", args.middle),
        None => args.middle.clone(),
    };
    if !args.client {
        match Coordinates::parse(&text) {
            Ok(coordinates) => return Ok(NearCenter::Point(coordinates.position())),
            Err(error @ CoordinatesError::Range { .. }) => {
                return Err(invalid(Violations::one("position", error)));
            }
            Err(CoordinatesError::Form(_)) => {}
        }
    }
    client_id(&text).map(NearCenter::Client)
}

#[derive(Serialize)]
struct NearbyView {
    center: Center,
    neighbors: Vec<NeighborView>,
    /// Whether there are more within the radius.
    truncated: bool,
}

#[derive(Serialize)]
struct Center {
    latitude: f64,
    longitude: f64,
}

#[derive(Serialize)]
struct NeighborView {
    distance_meters: f64,
    /// Since a node took the report, by this machine's clock.
    age_seconds: f64,
    location: LocationView,
}

impl NearbyView {
    fn new(nearby: &Nearby, now: Timestamp) -> Self {
        let neighbors = nearby.neighbors.iter().map(|neighbor| {
            let nanos = now.since(neighbor.location.receive_time).nanos().max(0);
            NeighborView {
                distance_meters: neighbor.distance_meters,
                age_seconds: Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64(),
                location: (&neighbor.location).into(),
            }
        });
        let (latitude, longitude) = (nearby.center.latitude(), nearby.center.longitude());
        let center = Center { latitude, longitude };
        Self { center, neighbors: neighbors.collect(), truncated: nearby.truncated }
    }
}

impl Answer for NearbyView {
    const KIND: &'static str = "near";

    fn text(&self) -> String {
        let rows = self.neighbors.iter().map(|neighbor| {
            let location = &neighbor.location;
            [
                distance(neighbor.distance_meters),
                printable(&location.client_id),
                location.position.text.clone(),
                age(Duration::from_secs_f64(neighbor.age_seconds)),
                location.origin.clone(),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let mut text = String::new();
        if !rows.is_empty() {
            text += &table(["DISTANCE", "CLIENT", "POSITION", "AGE", "ORIGIN"], &rows);
        }
        let Center { latitude, longitude } = self.center;
        let more = if self.truncated { "; there are more: see --max and --radius" } else { "" };
        let clients = if rows.len() == 1 { "client" } else { "clients" };
        text + &format!("{} {clients} near {latitude}, {longitude}{more}\n", rows.len())
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let parts = self.neighbors.iter().filter_map(|part| serde_json::to_value(part).ok());
        Some(parts.map(|part| ("neighbor", part)).collect())
    }
}
