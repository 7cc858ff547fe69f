use std::fmt::Write as _;

use herd_cli::FoundPlaces;
use herd_proto::{SearchQuery, v1};
use serde::Serialize;
use serde_json::Value;

use super::location::{LocationView, at_line, distance};
use super::{Target, invalid};
use crate::args::WhatsatArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(
    args: WhatsatArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let view = if args.legacy { v1::SearchView::LegacyJson } else { v1::SearchView::Places };
    let request = v1::SearchRequest {
        client_id: args.id,
        radius_meters: Some(args.radius),
        max_results: Some(args.max),
        view: view.into(),
    };
    let query = SearchQuery::from_request(&request).map_err(invalid)?;
    let found = target.connect().await?.search(&query).await?;
    if args.legacy {
        output.raw(&format!("{}\n{}\n\n", at_line(&found.location), found.legacy_json))?;
    } else {
        output.answer(&Found::from(found))?;
    }
    Ok(ExitCode::Success)
}

#[derive(Serialize)]
struct Found {
    location: LocationView,
    /// The provider's outcome, such as OK.
    status: String,
    provider: String,
    /// HTML: whose the places are.
    attributions: Vec<String>,
    info_messages: Vec<String>,
    places: Vec<PlaceView>,
}

#[derive(Serialize)]
struct PlaceView {
    place_id: String,
    name: String,
    latitude: f64,
    longitude: f64,
    types: Vec<String>,
    vicinity: String,
    distance_meters: f64,
}

impl From<FoundPlaces> for Found {
    fn from(found: FoundPlaces) -> Self {
        let place = |place: v1::Place| {
            let position = place.position.unwrap_or_default();
            PlaceView {
                place_id: place.place_id,
                name: place.name,
                latitude: position.latitude,
                longitude: position.longitude,
                types: place.types,
                vicinity: place.vicinity,
                distance_meters: place.distance_meters,
            }
        };
        Self {
            location: (&found.location).into(),
            status: found.status,
            provider: found.provider,
            attributions: found.attributions,
            info_messages: found.info_messages,
            places: found.places.into_iter().map(place).collect(),
        }
    }
}

impl Answer for Found {
    const KIND: &'static str = "places";

    fn text(&self) -> String {
        let rows = self.places.iter().map(|place| {
            [
                distance(place.distance_meters),
                printable(&place.name),
                printable(place.types.first().map_or("", |kind| kind)),
                printable(&place.vicinity),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let summary = format!(
            "{} places near {} ({}), from {}: {}\n",
            rows.len(),
            printable(&self.location.client_id),
            self.location.position.text,
            printable(&self.provider),
            printable(&self.status),
        );
        let mut text = String::new();
        if !rows.is_empty() {
            text += &table(["DISTANCE", "NAME", "TYPE", "VICINITY"], &rows);
        }
        text += &summary;
        for note in self.info_messages.iter().chain(&self.attributions) {
            let _ = writeln!(text, "{}", printable(note));
        }
        text
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let places = self.places.iter().filter_map(|place| serde_json::to_value(place).ok());
        Some(places.map(|place| ("place", place)).collect())
    }
}
