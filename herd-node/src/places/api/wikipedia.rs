//! MediaWiki's GeoSearch, as Wikipedia serves it, told in the words of Google's Nearby Search
//! (legacy).

use herd_proto::{MAX_RESULTS, Position};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::html;
use crate::places::fault::Fault;
use crate::places::key::Key;
use crate::places::page::{Notes, Page};
use crate::places::provider::Question;
use crate::places::upstream::{Api, Reply};
use crate::places::viewport::viewport;

/// Its name in settings and answers.
pub(in crate::places) const NAME: &str = "wikipedia";

/// The English one. Others have names of their own.
pub(in crate::places) const DEFAULT_BASE: &str = "https://en.wikipedia.org";

const PATH: &str = "/w/api.php";

/// The server takes radii from here on ...
const MIN_RADIUS_METERS: f64 = 10.0;

/// ... to here, as Wikimedia configures it.
const MAX_RADIUS_METERS: f64 = 10_000.0;

/// The size of an object that tells none, as the server has it.
const DEFAULT_DIM_METERS: f64 = 1000.0;

/// Half the Earth's circumference: no object is larger, whatever an article says.
const MAX_DIM_METERS: f64 = 20_000_000.0;

const METERS_PER_DEGREE: f64 = 111_195.0;

/// Asks one wiki.
#[derive(Debug)]
pub(in crate::places) struct Wikipedia {
    endpoint: Url,
    /// What is before the number of a page in a place's id.
    id_prefix: String,
    attribution: String,
}

impl Wikipedia {
    /// For the server at `base`.
    pub(in crate::places) fn new(mut base: Url) -> Self {
        let attribution = match html::link(base.as_str(), "Wikipedia") {
            Some(link) => format!("{link}, CC BY-SA 4.0"),
            None => "Wikipedia, CC BY-SA 4.0".into(),
        };
        let host = base.host_str().unwrap_or_default();
        let id_prefix = match host.strip_suffix(".wikipedia.org") {
            Some(language) => format!("{NAME}:{language}:"),
            None => format!("{NAME}:"),
        };
        base.set_path(PATH);
        Self { endpoint: base, id_prefix, attribution }
    }

    fn result(&self, found: &Found) -> Value {
        let id = format!("{}{}", self.id_prefix, found.pageid);
        let half_degrees = half_degrees(found.dim);
        let mut types = kinds(found.kind.as_deref().unwrap_or_default()).to_vec();
        types.extend(["point_of_interest", "establishment"]);
        types.dedup();
        let region: Vec<_> =
            [&found.region, &found.country].into_iter().filter_map(Option::as_deref).collect();
        let mut result = json!({
            "geometry": {
                "location": {"lat": found.lat, "lng": found.lon},
                "viewport": viewport(found.lat, found.lon, half_degrees),
            },
            "name": found.title,
            "place_id": id,
            "reference": id,
            "scope": "APP",
            "types": types,
        });
        if !region.is_empty() {
            result["vicinity"] = region.join(", ").into();
        }
        result
    }
}

impl Api for Wikipedia {
    fn name(&self) -> &'static str {
        NAME
    }

    fn request(&self, question: &Question, _: Option<&Key>) -> Request {
        let (at, radius) = (question.center, radius(question));
        let mut url = self.endpoint.clone();
        url.query_pairs_mut()
            .append_pair("action", "query")
            .append_pair("format", "json")
            .append_pair("formatversion", "2")
            .append_pair("list", "geosearch")
            .append_pair("gscoord", &format!("{}|{}", at.latitude(), at.longitude()))
            // Whole metres; what lies beyond the radius asked for is dropped from the answer.
            .append_pair("gsradius", &format!("{:.0}", radius.ceil()))
            .append_pair("gslimit", &MAX_RESULTS.to_string())
            .append_pair("gsprop", "type|name|dim|country|region|globe");
        Request::new(Method::GET, url)
    }

    fn read(&self, question: &Question, reply: Reply, _: Option<&Key>) -> Result<Page, Fault> {
        let body: Body = match serde_json::from_slice(&reply.body) {
            Ok(body) if reply.status.is_success() => body,
            _ => return Err(reply.fault()),
        };
        if let Some(error) = body.error {
            return refusal(&error, &reply);
        }
        let found = body.query.map(|query| query.geosearch).unwrap_or_default();
        let mut found: Vec<_> = found
            .into_iter()
            .filter(|found| found.primary != Some(false) && found.is_on_earth())
            .filter_map(|found| Some((found.distance(question.center)?, found)))
            .filter(|(distance, _)| *distance <= question.radius_meters)
            .collect();
        // The server sorts by whole metres and leaves ties as they fall.
        found.sort_by(|(distance, found), (distance2, found2)| {
            distance.total_cmp(distance2).then(found.pageid.cmp(&found2.pageid))
        });
        found.truncate(MAX_RESULTS as usize);
        let results: Vec<_> = found.iter().map(|(_, found)| self.result(found)).collect();
        let clamped = question.radius_meters > MAX_RADIUS_METERS;
        let message = format!("Radius limited to {MAX_RADIUS_METERS} m by the provider.");
        let notes = Notes {
            attributions: vec![self.attribution.clone()],
            info_messages: clamped.then_some(message).into_iter().collect(),
        };
        Ok(Page::compose(notes, &results, question.center))
    }
}

fn radius(question: &Question) -> f64 {
    question.radius_meters.clamp(MIN_RADIUS_METERS, MAX_RADIUS_METERS)
}

#[derive(Deserialize)]
struct Body {
    error: Option<Failure>,
    /// Left out where nothing was found.
    query: Option<Query>,
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    geosearch: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    pageid: u64,
    title: String,
    lat: f64,
    lon: f64,
    primary: Option<bool>,
    globe: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    dim: Option<f64>,
    country: Option<String>,
    region: Option<String>,
}

impl Found {
    fn is_on_earth(&self) -> bool {
        self.globe.as_deref().is_none_or(|globe| globe == "earth")
    }

    /// `None` for what lies nowhere.
    fn distance(&self, from: Position) -> Option<f64> {
        let at = Position::from_degrees(self.lat, self.lon).ok()?;
        Some(from.distance_meters(at))
    }
}

#[derive(Deserialize)]
struct Failure {
    code: String,
}

/// What MediaWiki's errors, which come with HTTP 200, mean.
fn refusal(error: &Failure, reply: &Reply) -> Result<Page, Fault> {
    match &*error.code {
        "ratelimited" | "maxlag" => Err(Fault::Throttled { retry_after: reply.retry_after }),
        code if code.starts_with("internal_api_error") || code == "readonly" => Err(Fault::Failed),
        _ => Ok(Page::refusal("INVALID_REQUEST", "The wiki did not understand the question.")),
    }
}

fn half_degrees(dim: Option<f64>) -> f64 {
    dim.unwrap_or(DEFAULT_DIM_METERS).clamp(1.0, MAX_DIM_METERS) / 2.0 / METERS_PER_DEGREE
}

/// Google's words for a kind of object.
fn kinds(kind: &str) -> &'static [&'static str] {
    match kind {
        "city" => &["locality"],
        "country" => &["country"],
        "adm1st" => &["administrative_area_level_1"],
        "adm2nd" => &["administrative_area_level_2"],
        "adm3rd" => &["administrative_area_level_3"],
        "airport" => &["airport"],
        "railwaystation" => &["train_station"],
        "edu" => &["university", "school"],
        "landmark" => &["tourist_attraction"],
        "mountain" | "isle" | "river" | "waterbody" | "forest" | "glacier" | "pass" => {
            &["natural_feature"]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question(radius_meters: f64) -> Question {
        let center = Position::parse("+34.068930-118.445127").unwrap();
        Question { center, center_text: "34.068930,-118.445127".into(), radius_meters }
    }

    fn wiki() -> Wikipedia {
        Wikipedia::new(Url::parse(DEFAULT_BASE).unwrap())
    }

    fn read(radius_meters: f64, body: &Value) -> Result<Page, Fault> {
        let reply = Reply { body: body.to_string().into_bytes(), ..Reply::bare(200) };
        wiki().read(&question(radius_meters), reply, None)
    }

    #[test]
    fn the_question_is_geosearchs_with_a_radius_that_it_takes() {
        let asked = |radius| wiki().request(&question(radius), None).url().to_string();
        let expected = "https://en.wikipedia.org/w/api.php?action=query&format=json\
                        &formatversion=2&list=geosearch&gscoord=34.06893%7C-118.445127\
                        &gsradius=2500&gslimit=20\
                        &gsprop=type%7Cname%7Cdim%7Ccountry%7Cregion%7Cglobe";
        assert_eq!(asked(2500.0), expected);
        for (radius, taken) in [(0.0, 10), (10.5, 11), (10_000.0, 10_000), (50_000.0, 10_000)] {
            assert!(asked(radius).contains(&format!("&gsradius={taken}&")), "{radius}");
        }
    }

    #[test]
    fn pages_are_told_in_googles_words_nearest_first() {
        let body = json!({"batchcomplete": true, "query": {"geosearch": [
            {"pageid": 3, "ns": 0, "title": "Moon base", "lat": 34.0689, "lon": -118.4451,
             "globe": "moon", "primary": true},
            {"pageid": 2, "ns": 0, "title": "Hotel", "lat": 34.0631, "lon": -118.4432,
             "dist": 672.1, "primary": true, "type": "landmark", "name": null, "dim": 1000,
             "country": "US", "region": "CA"},
            {"pageid": 1, "ns": 0, "title": "Mus\u{e9}e", "lat": 34.0709, "lon": -118.444,
             "dist": 242.3, "primary": true, "type": null, "dim": null},
        ]}});
        let page = read(10_000.0, &body).unwrap();
        let names: Vec<_> = page.places(20).into_iter().map(|place| place.name).collect();
        assert_eq!(names, ["Musée", "Hotel"]);
        let expected = r#"{
   "html_attributions" : [ "<a href=\"https://en.wikipedia.org/\">Wikipedia</a>, CC BY-SA 4.0" ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.0709,
               "lng" : -118.444
            },
            "viewport" : {
               "northeast" : {
                  "lat" : 34.0753966,
                  "lng" : -118.4395034
               },
               "southwest" : {
                  "lat" : 34.0664034,
                  "lng" : -118.4484966
               }
            }
         },
         "name" : "Musée",
         "place_id" : "wikipedia:en:1",
         "reference" : "wikipedia:en:1",
         "scope" : "APP",
         "types" : [ "point_of_interest", "establishment" ]
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(page.text(1), expected);
        assert_eq!(page.places(20)[1].vicinity, "CA, US");
        assert_eq!(page.places(20)[1].types[0], "tourist_attraction");
        assert_eq!(read(300.0, &body).unwrap().places(20).len(), 1, "the hotel is too far");
    }

    #[test]
    fn a_radius_that_was_limited_is_said() {
        let empty = json!({"batchcomplete": true});
        let message = "Radius limited to 10000 m by the provider.";
        let told = read(50_000.0, &empty).unwrap();
        assert_eq!(told.notes().info_messages, [message]);
        assert!(told.text(20).contains(message) && told.status() == "ZERO_RESULTS");
        assert_eq!(read(10_000.0, &empty).unwrap().notes().info_messages, [""; 0]);
        let no_list = json!({"query": {"geosearch": []}});
        assert_eq!(read(10_000.0, &no_list), read(10_000.0, &empty));
    }

    #[test]
    fn errors_come_with_http_200_and_mean_what_their_code_says() {
        let retry_after = Some(Duration::from_secs(5));
        let outcome = |code: &str| {
            let body = json!({"error": {"code": code, "info": "..."}}).to_string().into_bytes();
            let reply = Reply { retry_after, body, ..Reply::bare(200) };
            wiki().read(&question(1000.0), reply, None).map(|page| page.status().to_owned())
        };
        assert_eq!(outcome("ratelimited"), Err(Fault::Throttled { retry_after }));
        assert_eq!(outcome("maxlag"), Err(Fault::Throttled { retry_after }));
        assert_eq!(outcome("readonly"), Err(Fault::Failed));
        assert_eq!(outcome("internal_api_error_DBQueryError"), Err(Fault::Failed));
        assert_eq!(outcome("invalid-coord"), Ok("INVALID_REQUEST".into()));
        assert_eq!(read(1.0, &json!([])), Err(Fault::Malformed));
        let forbidden = wiki().read(&question(1.0), Reply::bare(403), None);
        assert_eq!(forbidden, Err(Fault::Refused));
    }
}
