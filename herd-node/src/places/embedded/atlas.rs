use std::sync::{Arc, OnceLock};

use herd_proto::MAX_RESULTS;
use serde_json::{Value, json};

use super::MAX_ROWS_INLINE;
use super::row::Row;
use crate::places::config::RankBy;
use crate::places::page::{Entry, Notes, Page};
use crate::places::provider::Question;
use crate::places::sphere::SphereIndex;
use crate::places::viewport::viewport;

/// How much rank each doubling of (1 km + distance) costs: a landmark of rank 90 one kilometre
/// away equals one of rank 70 next door.
const RANK_PER_DOUBLING: f64 = 20.0;

/// A table of places and where to find them. It never changes.
#[derive(Debug)]
pub(super) struct Atlas {
    rows: Vec<Row>,
    /// Each row as it stands in answers, written when it first does. None where there are so many
    /// rows that they would take too much memory.
    entries: Vec<OnceLock<Arc<Entry>>>,
    index: SphereIndex,
    /// HTML that says whose the data is.
    attribution: String,
}

impl Atlas {
    pub(super) fn new(rows: Vec<Row>, attribution: String) -> Self {
        let index = SphereIndex::new(rows.iter().map(|row| row.position));
        let kept = if rows.len() <= MAX_ROWS_INLINE { rows.len() } else { 0 };
        let entries = (0..kept).map(|_| OnceLock::new()).collect();
        Self { rows, entries, index, attribution }
    }

    fn entry(&self, number: usize) -> Arc<Entry> {
        let write = || Arc::new(Entry::new(&result(&self.rows[number])));
        match self.entries.get(number) {
            Some(entry) => Arc::clone(entry.get_or_init(write)),
            None => write(),
        }
    }

    /// How many places it holds.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first places around a point, in the order of `rank_by`; equal ones by distance, and
    /// then by id, so that every node gives the same answer.
    pub(super) fn page(
        &self,
        question: &Question,
        rank_by: RankBy,
        info_messages: Vec<String>,
    ) -> Page {
        let mut found: Vec<_> = self
            .index
            .within(question.center, question.radius_meters)
            .map(|(number, distance)| {
                let row = &self.rows[number];
                (score(rank_by, row.rank, distance), distance, number)
            })
            .collect();
        let order = |(score, distance, number): &(f64, f64, usize),
                     (score2, distance2, number2): &(f64, f64, usize)| {
            score2
                .total_cmp(score)
                .then(distance.total_cmp(distance2))
                .then_with(|| self.rows[*number].id.cmp(&self.rows[*number2].id))
        };
        let count = MAX_RESULTS as usize;
        if found.len() > count {
            // A large table may hold many thousands here.
            found.select_nth_unstable_by(count, order);
            found.truncate(count);
        }
        found.sort_unstable_by(order);
        let entries = found.iter().map(|(.., number)| self.entry(*number)).collect();
        let notes = Notes { attributions: vec![self.attribution.clone()], info_messages };
        Page::assemble(notes, entries, question.center)
    }
}

/// The greater, the earlier.
fn score(rank_by: RankBy, rank: u8, distance_meters: f64) -> f64 {
    match rank_by {
        RankBy::Blend => {
            f64::from(rank) - RANK_PER_DOUBLING * (1.0 + distance_meters / 1000.0).log2()
        }
        RankBy::Distance => -distance_meters,
        RankBy::Prominence => f64::from(rank),
    }
}

/// Says nothing that is not known: no rating, no opening hours, no picture.
fn result(row: &Row) -> Value {
    let (latitude, longitude) = (row.position.latitude(), row.position.longitude());
    let half_degrees = half_degrees(row.types.first().map_or("", |kind| kind));
    let id = row.id.to_string();
    let mut result = json!({
        "geometry": {
            "location": {"lat": latitude, "lng": longitude},
            "viewport": viewport(latitude, longitude, half_degrees),
        },
        "name": row.name,
        "place_id": id,
        "reference": id,
        "scope": "APP",
        "types": *row.types,
    });
    if !row.vicinity.is_empty() {
        result["vicinity"] = (*row.vicinity).into();
    }
    result
}

/// How far a map of the place reaches from its middle.
fn half_degrees(kind: &str) -> f64 {
    match kind {
        "locality" => 0.03,
        "neighborhood" | "airport" | "natural_feature" => 0.01,
        // What Google shows around a point: 150 m.
        _ => 0.001_349,
    }
}
