//! The provider that needs no network: a few hundred well-known places of the whole world.

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use herd_proto::{MAX_RESULTS, Position, topology::Problems, v1};
use serde_json::{Value, json};

use super::classic;
use super::dataset::{self, Row};
use super::fault::Fault;
use super::page::Page;
use super::provider::{Provider, Question};
use super::sphere::SphereIndex;

/// Its name in settings and answers.
pub(super) const NAME: &str = "embedded";

const ATTRIBUTION: &str = "Places: the herd's built-in list; positions are approximate";

/// How much rank each doubling of (1 km + distance) costs: a landmark of rank 90 one kilometre
/// away equals one of rank 70 next door.
const RANK_PER_DOUBLING: f64 = 20.0;

/// Answers from the built-in table. Free to make; all share one table and index.
#[derive(Debug)]
pub(super) struct Embedded {
    atlas: &'static Atlas,
}

impl Embedded {
    /// Reads the table, the first time.
    pub(super) fn new() -> Result<Self, Problems> {
        static ATLAS: LazyLock<Result<Atlas, String>> =
            LazyLock::new(|| dataset::built_in().map(Atlas::new).map_err(ToString::to_string));
        ATLAS.as_ref().map(|atlas| Self { atlas }).map_err(Problems::one)
    }
}

impl Provider for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn nearby<'a>(
        &'a self,
        question: &'a Question,
        _time_left: Option<Duration>,
    ) -> BoxFuture<'a, Result<Page, Fault>> {
        future::ready(Ok(self.atlas.page(question))).boxed()
    }
}

#[derive(Debug)]
struct Atlas {
    entries: Vec<Entry>,
    index: SphereIndex,
}

#[derive(Debug)]
struct Entry {
    rank: f64,
    /// Without a distance, which depends on who asks.
    place: v1::Place,
    /// The place as a result of Nearby Search; written once, because it never changes.
    json: String,
}

impl Atlas {
    fn new(rows: &[Row]) -> Self {
        Self {
            entries: rows.iter().map(Entry::new).collect(),
            index: SphereIndex::new(rows.iter().map(|row| row.position)),
        }
    }

    fn page(&self, question: &Question) -> Page {
        let mut found: Vec<_> = self
            .index
            .within(question.center, question.radius_meters)
            .map(|(number, distance)| {
                let entry = &self.entries[number];
                let score = entry.rank - RANK_PER_DOUBLING * (1.0 + distance / 1000.0).log2();
                (score, distance, entry)
            })
            .collect();
        found.sort_unstable_by(|(score, distance, entry), (score2, distance2, entry2)| {
            score2
                .total_cmp(score)
                .then(distance.total_cmp(distance2))
                .then_with(|| entry.place.place_id.cmp(&entry2.place.place_id))
        });
        let status = if found.is_empty() { "ZERO_RESULTS" } else { "OK" };
        let first = found.into_iter().take(MAX_RESULTS as usize).map(|(_, distance, entry)| {
            let place = v1::Place { distance_meters: distance, ..entry.place.clone() };
            (place, entry.json.as_str())
        });
        Page::compose(ATTRIBUTION, status, first)
    }
}

impl Entry {
    fn new(row: &Row) -> Self {
        let place = v1::Place {
            place_id: place_id(&row.name, &row.country),
            name: row.name.clone(),
            position: Some(row.position.into()),
            types: row.types.iter().map(ToString::to_string).collect(),
            vicinity: row.vicinity.clone(),
            distance_meters: 0.0,
        };
        let json = classic::write(&result(&place, row.position), 2);
        Self { rank: f64::from(row.rank), place, json }
    }
}

/// Made of what people call the place, so that it outlives a correction of its position.
fn place_id(name: &str, country: &str) -> String {
    let hash = fnv1a(format!("{country}/{name}").as_bytes());
    format!("{NAME}:{:012x}", hash >> 16)
}

/// Fowler, Noll and Vo's hash, which is the same on every node and in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Says nothing that is not known: no rating, no opening hours, no picture.
fn result(place: &v1::Place, at: Position) -> Value {
    let half = half_viewport_e7(place.types.first().map_or("", String::as_str));
    let north = (at.latitude_e7() + half).min(900_000_000);
    let south = (at.latitude_e7() - half).max(-900_000_000);
    let (east, west) = (around(at.longitude_e7() + half), around(at.longitude_e7() - half));
    json!({
        "geometry": {
            "location": corner(at.latitude_e7(), at.longitude_e7()),
            "viewport": {"northeast": corner(north, east), "southwest": corner(south, west)},
        },
        "name": place.name,
        "place_id": place.place_id,
        "reference": place.place_id,
        "scope": "APP",
        "types": place.types,
        "vicinity": place.vicinity,
    })
}

fn corner(latitude_e7: i32, longitude_e7: i32) -> Value {
    json!({"lat": f64::from(latitude_e7) / 1e7, "lng": f64::from(longitude_e7) / 1e7})
}

/// How far a map of the place reaches from its middle, in 1e-7 degree.
fn half_viewport_e7(kind: &str) -> i32 {
    match kind {
        "locality" => 300_000,
        "neighborhood" | "airport" | "natural_feature" => 100_000,
        // What Google shows around a point: 150 m.
        _ => 13_490,
    }
}

/// A longitude that went over the antimeridian comes back on the other side.
fn around(longitude_e7: i32) -> i32 {
    const HALF_TURN: i32 = 1_800_000_000;
    match longitude_e7 {
        beyond if beyond > HALF_TURN => beyond - HALF_TURN - HALF_TURN,
        beyond if beyond < -HALF_TURN => beyond + HALF_TURN + HALF_TURN,
        within => within,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(position: &str, radius_meters: f64) -> Page {
        let center = Position::parse(position).unwrap();
        let question = Question { center, center_text: String::new(), radius_meters };
        Embedded::new().unwrap().atlas.page(&question)
    }

    fn names(page: &Page) -> Vec<&str> {
        page.places(20).iter().map(|place| place.name.as_str()).collect()
    }

    #[test]
    fn rank_and_nearness_decide_together() {
        let page = ask("+34.068930-118.445127", 10_000.0);
        let expected = [
            "University of California, Los Angeles",
            "Ronald Reagan UCLA Medical Center",
            "Pauley Pavilion",
            "Royce Hall",
            "Getty Center",
        ];
        assert_eq!(names(&page)[..5], expected);
        assert_eq!((page.status(), page.places(99).len()), ("OK", 20));
    }

    #[test]
    fn the_typed_list_and_the_json_say_the_same() {
        let page = ask("+34.068930-118.445127", 10_000.0);
        let center = Position::parse("+34.068930-118.445127").unwrap();
        let read = Page::read(page.text(20).into_bytes(), center).unwrap();
        assert_eq!(read, page);
    }

    #[test]
    fn a_result_has_the_classic_layout_and_invents_nothing() {
        let page = ask("+34.068930-118.445127", 20.0);
        let id = place_id("University of California, Los Angeles", "US");
        let expected = format!(
            r#"{{
   "html_attributions" : [ "{ATTRIBUTION}" ],
   "results" : [
      {{
         "geometry" : {{
            "location" : {{
               "lat" : 34.0689,
               "lng" : -118.4452
            }},
            "viewport" : {{
               "northeast" : {{
                  "lat" : 34.070249,
                  "lng" : -118.443851
               }},
               "southwest" : {{
                  "lat" : 34.067551,
                  "lng" : -118.446549
               }}
            }}
         }},
         "name" : "University of California, Los Angeles",
         "place_id" : "{id}",
         "reference" : "{id}",
         "scope" : "APP",
         "types" : [ "university", "point_of_interest", "establishment" ],
         "vicinity" : "Los Angeles"
      }}
   ],
   "status" : "OK"
}}"#
        );
        assert_eq!(page.text(20), expected);
    }

    #[test]
    fn nothing_in_range_is_zero_results() {
        let page = ask("-48.876667-123.393333", 50_000.0);
        assert_eq!((page.status(), page.places(20).len()), ("ZERO_RESULTS", 0));
        assert!(page.text(20).contains("\"results\" : [],\n"));
    }

    #[test]
    fn the_south_pole_and_the_antimeridian_are_places_like_others() {
        let pole = "Amundsen-Scott South Pole Station";
        assert_eq!(names(&ask("-89.999000+120.000000", 1000.0)), [pole]);
        let west = ask("-16.800000-179.990000", 20_000.0);
        let east = ask("-16.800000+179.990000", 20_000.0);
        assert!(names(&west).contains(&"Taveuni") && names(&east).contains(&"Taveuni"));
    }

    #[test]
    fn a_viewport_stays_on_the_globe() {
        assert_eq!(around(1_800_100_000), -1_799_900_000);
        assert_eq!(around(-1_800_100_000), 1_799_900_000);
        let pole = Position::from_e7(-900_000_000, 0).unwrap();
        let viewport = &result(&v1::Place::default(), pole)["geometry"]["viewport"];
        assert_eq!(viewport["southwest"]["lat"], json!(-90.0));
    }

    #[test]
    fn place_ids_never_change_and_never_collide() {
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let atlas = Embedded::new().unwrap().atlas;
        let mut ids: Vec<_> = atlas.entries.iter().map(|entry| &entry.place.place_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), atlas.entries.len());
    }
}
