use std::fs;
use std::time::Duration;

use herd_proto::Position;
use proptest::prelude::*;

use super::*;
use crate::places::page::tests::assert_same;

fn question(position: &str, radius_meters: f64) -> Question {
    let center = Position::parse(position).unwrap();
    Question { center, center_text: String::new(), radius_meters }
}

fn ask(position: &str, radius_meters: f64) -> Page {
    ranked(RankBy::Blend, position, radius_meters)
}

fn ranked(rank_by: RankBy, position: &str, radius_meters: f64) -> Page {
    built_in::atlas().unwrap().page(&question(position, radius_meters), rank_by, Vec::new())
}

fn names(page: &Page) -> Vec<String> {
    page.places(20).into_iter().map(|place| place.name).collect()
}

const WESTWOOD: &str = "+34.068930-118.445127";

#[test]
fn rank_and_nearness_decide_together_or_alone() {
    let first = |rank_by| {
        let page = ranked(rank_by, WESTWOOD, 10_000.0);
        assert_eq!((page.status(), page.places(99).len()), ("OK", 20));
        names(&page)[..5].to_vec()
    };
    let campus = "University of California, Los Angeles";
    let blend = [
        campus,
        "Ronald Reagan UCLA Medical Center",
        "Pauley Pavilion",
        "Royce Hall",
        "Getty Center",
    ];
    assert_eq!(first(RankBy::Blend), blend);
    assert_eq!(first(RankBy::Distance)[..2], [campus, "Pauley Pavilion"]);
    let prominent = first(RankBy::Prominence);
    assert_eq!(prominent[..2], [campus, "Getty Center"]);
}

#[test]
fn the_typed_list_and_the_json_say_the_same() {
    let page = ask(WESTWOOD, 10_000.0);
    let read = Page::read(page.text(20).into_bytes(), Position::parse(WESTWOOD).unwrap()).unwrap();
    assert_same(&read, &page);
}

#[test]
fn a_result_has_the_classic_layout_and_invents_nothing() {
    let page = ask(WESTWOOD, 20.0);
    let id = page.places(1).remove(0).place_id;
    let expected = format!(
        r#"{{
   "html_attributions" : [ "Places: the herd's built-in list; positions are approximate" ],
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
    assert!(id.starts_with("embedded:") && id.len() == 21, "{id}");
}

#[test]
fn the_corners_of_the_world_have_sensible_answers() {
    for (position, radius, expected) in [
        ("+35.681236+139.767125", 5000.0, "Tokyo Station"),
        ("-33.868820+151.209290", 5000.0, "Sydney Opera House"),
        ("-18.141600+178.441900", 50_000.0, "Suva"),
        ("-89.999000+120.000000", 1000.0, "Amundsen-Scott South Pole Station"),
        ("-16.800000-179.990000", 20_000.0, "Taveuni"),
        ("-16.800000+179.990000", 20_000.0, "Taveuni"),
    ] {
        let page = ask(position, radius);
        assert!(names(&page).iter().any(|name| name == expected), "{position}: {:?}", names(&page));
    }
}

#[test]
fn nothing_in_range_is_zero_results() {
    let page = ask("-48.876667-123.393333", 50_000.0);
    assert_eq!((page.status(), page.places(20).len()), ("ZERO_RESULTS", 0));
    assert!(page.text(20).contains("\"results\" : [],\n"));
}

fn write_rows(path: &Path, names: impl IntoIterator<Item = String>) {
    let rows = names.into_iter().map(|name| format!("{name},0.5,0.5,50,museum,Town,GH\n"));
    fs::write(path, rows.collect::<Vec<_>>().concat()).unwrap();
}

async fn open(path: &Path) -> Result<Embedded, Problems> {
    let config = EmbeddedConfig { path: Some(path.into()), ..EmbeddedConfig::default() };
    Embedded::open(config, Metrics::new()).await
}

async fn near(places: &Embedded) -> Result<Page, Fault> {
    let soon = Instant::now() + Duration::from_secs(10);
    places.page(&question("+00.500000+000.500000", 10.0), Vec::new(), soon).await
}

#[tokio::test]
async fn a_file_is_read_again_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("places.csv");
    write_rows(&path, ["One".into()]);
    let places = open(&path).await.unwrap();
    assert_eq!(names(&near(&places).await.unwrap()), ["One"]);
    let attributions = near(&places).await.unwrap().notes().attributions.clone();
    assert_eq!(attributions, ["Places: a list of this herd's operator"]);
    write_rows(&path, ["Two".into()]);
    places.reload().await;
    assert_eq!(names(&near(&places).await.unwrap()), ["Two"]);
    for bad in ["", "Three,91,0,50,museum,Town,GH\n"] {
        fs::write(&path, bad).unwrap();
        places.reload().await;
        assert_eq!(names(&near(&places).await.unwrap()), ["Two"]);
    }
    fs::remove_file(&path).unwrap();
    places.reload().await;
    assert_eq!(names(&near(&places).await.unwrap()), ["Two"]);
    write_rows(&path, ["Four".into()]);
    places.reload().await;
    assert_eq!(names(&near(&places).await.unwrap()), ["Four"]);
}

#[tokio::test]
async fn a_file_that_is_bad_at_the_start_is_a_problem() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "name,lat,lng,rank,types,vicinity,country\nA,B\n").unwrap();
    let problem = open(file.path()).await.unwrap_err().to_string();
    assert!(problem.contains("line 2 must have seven fields"), "{problem}");
}

#[tokio::test]
async fn geonames_is_named_unless_the_operator_names_another() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let row = "7\tTown\t\t\t0.5\t0.5\tP\tPPL\tGH\t\t\t\t\t\t1000\t\t\t\t2025-01-01\n";
    fs::write(file.path(), row).unwrap();
    let page = near(&open(file.path()).await.unwrap()).await.unwrap();
    assert_eq!(page.notes().attributions, [geonames::ATTRIBUTION]);
    assert_eq!(page.places(1)[0].place_id, "geonames:7");
    let config = EmbeddedConfig {
        path: Some(file.path().into()),
        attribution: Some("mine".into()),
        ..EmbeddedConfig::default()
    };
    let places = Embedded::open(config, Metrics::new()).await.unwrap();
    assert_eq!(near(&places).await.unwrap().notes().attributions, ["mine"]);
}

#[tokio::test]
async fn a_large_table_is_searched_elsewhere_by_few_at_a_time_and_within_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("places.csv");
    write_rows(&path, (0..=MAX_ROWS_INLINE).map(|number| format!("Place {number}")));
    let places = open(&path).await.unwrap();
    assert_eq!(near(&places).await.unwrap().places(99).len(), 20);
    let all = places.searches.acquire_many(MAX_SEARCHES as u32).await.unwrap();
    let at_once = question("+00.500000+000.500000", 10.0);
    let answer = places.page(&at_once, Vec::new(), Instant::now()).await;
    assert_eq!(answer, Err(Fault::Deadline));
    drop(all);
    assert!(near(&places).await.is_ok());
}

fn position() -> impl Strategy<Value = Position> {
    let latitude = prop_oneof![-900_000_000..=900_000_000_i32, -900_000_000..=-899_990_000_i32];
    let longitude = prop_oneof![-1_800_000_000..=1_800_000_000_i32, 1_799_990_000..=1_800_000_000];
    (latitude, longitude).prop_map(|(lat, lng)| Position::from_e7(lat, lng).unwrap())
}

proptest! {
    /// Poles and antimeridian included, whichever order is asked for.
    #[test]
    fn a_page_is_what_sorting_everything_would_give(
        points in prop::collection::vec((position(), 0_u8..=100), 1..60),
        center in position(),
        radius_meters in prop_oneof![0.0..5000.0, 0.0..20_100_000.0],
        rank_by in prop::sample::select(vec![RankBy::Blend, RankBy::Distance, RankBy::Prominence]),
    ) {
        let mut ledger = row::Ledger::default();
        let rows: Vec<_> = points
            .iter()
            .enumerate()
            .map(|(number, (position, rank))| row::Row {
                id: row::PlaceId::GeoNames(number as u64),
                name: number.to_string().into(),
                position: *position,
                rank: *rank,
                types: ledger.types("museum").unwrap(),
                vicinity: "".into(),
                country: *b"GH",
            })
            .collect();
        let mut expected: Vec<_> = points
            .iter()
            .enumerate()
            .map(|(number, (at, rank))| (number, center.distance_meters(*at), f64::from(*rank)))
            .filter(|(_, distance, _)| *distance <= radius_meters)
            .collect();
        expected.sort_by(|(number, distance, rank), (number2, distance2, rank2)| {
            let blend = |rank: f64, meters: f64| rank - 20.0 * (1.0 + meters / 1000.0).log2();
            let first = match rank_by {
                RankBy::Blend => blend(*rank2, *distance2).total_cmp(&blend(*rank, *distance)),
                RankBy::Distance => distance.total_cmp(distance2),
                RankBy::Prominence => rank2.total_cmp(rank),
            };
            first.then(distance.total_cmp(distance2)).then(number.cmp(number2))
        });
        let expected: Vec<_> =
            expected.iter().take(20).map(|(number, ..)| number.to_string()).collect();
        let question = Question { center, center_text: String::new(), radius_meters };
        let page = Atlas::new(rows, String::new()).page(&question, rank_by, Vec::new());
        prop_assert_eq!(names(&page), expected);
    }
}
