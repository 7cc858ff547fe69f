//! Google's Nearby Search (New), told in the words of the legacy one.

mod place;

use herd_proto::MAX_RESULTS;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::places::config::Tier;
use crate::places::fault::Fault;
use crate::places::key::Key;
use crate::places::page::{Notes, Page};
use crate::places::provider::Question;
use crate::places::upstream::{Api, Reply};

/// Its name in settings and answers.
pub(in crate::places) const NAME: &str = "google-new";

/// Where Google listens.
pub(in crate::places) const DEFAULT_BASE: &str = "https://places.googleapis.com";

const PATH: &str = "/v1/places:searchNearby";

const KEY_HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");

const MASK_HEADER: HeaderName = HeaderName::from_static("x-goog-fieldmask");

/// What costs the Pro price, and nothing dearer.
const PRO_FIELDS: &str = "places.id,places.displayName,places.location,places.viewport,\
    places.types,places.businessStatus,places.shortFormattedAddress,places.formattedAddress,\
    places.iconMaskBaseUri,places.iconBackgroundColor,places.plusCode,places.photos,\
    places.attributions";

/// What makes the whole request cost the Enterprise price.
const ENTERPRISE_FIELDS: &str = "places.rating,places.userRatingCount,places.priceLevel,\
    places.currentOpeningHours.openNow";

/// Asks one address for the fields of one price.
#[derive(Debug)]
pub(in crate::places) struct GoogleNew {
    endpoint: Url,
    fields: HeaderValue,
}

impl GoogleNew {
    /// For the server at `base`.
    pub(in crate::places) fn new(mut base: Url, tier: Tier) -> Self {
        base.set_path(PATH);
        let fields = match tier {
            Tier::Pro => HeaderValue::from_static(PRO_FIELDS),
            Tier::Enterprise => {
                let both = format!("{PRO_FIELDS},{ENTERPRISE_FIELDS}");
                HeaderValue::try_from(both).unwrap_or(HeaderValue::from_static(PRO_FIELDS))
            }
        };
        Self { endpoint: base, fields }
    }
}

impl Api for GoogleNew {
    fn name(&self) -> &'static str {
        NAME
    }

    fn request(&self, question: &Question, key: Option<&Key>) -> Request {
        let center = question.center;
        let body = json!({
            "locationRestriction": {"circle": {
                "center": {"latitude": center.latitude(), "longitude": center.longitude()},
                "radius": question.radius_meters,
            }},
            "maxResultCount": MAX_RESULTS,
            "rankPreference": "POPULARITY",
        });
        let mut request = Request::new(Method::POST, self.endpoint.clone());
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(MASK_HEADER, self.fields.clone());
        if let Some(mut key) = key.and_then(|key| HeaderValue::from_str(key.expose()).ok()) {
            key.set_sensitive(true);
            headers.insert(KEY_HEADER, key);
        }
        *request.body_mut() = Some(body.to_string().into());
        request
    }

    fn read(&self, question: &Question, reply: Reply, _: Option<&Key>) -> Result<Page, Fault> {
        if !reply.status.is_success() {
            return refusal(&reply).ok_or_else(|| reply.fault());
        }
        let places = read_places(&reply.body).ok_or(Fault::Malformed)?;
        let results: Vec<_> = places.iter().map(place::result).collect();
        let mut attributions: Vec<_> = places.iter().flat_map(place::attributions).collect();
        attributions.sort();
        attributions.dedup();
        let notes = Notes { attributions, info_messages: Vec::new() };
        Ok(Page::compose(notes, &results, question.center))
    }
}

/// The list of places. Nothing found is `{}`.
fn read_places(body: &[u8]) -> Option<Vec<Value>> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    match answer.remove("places") {
        None => Some(Vec::new()),
        Some(Value::Array(mut places)) => {
            places.truncate(MAX_RESULTS as usize);
            Some(places)
        }
        Some(_) => None,
    }
}

/// A `google.rpc.Status` in JSON.
#[derive(Deserialize)]
struct Failure {
    error: FailureStatus,
}

#[derive(Deserialize)]
struct FailureStatus {
    status: String,
    #[serde(default)]
    details: Vec<Value>,
}

/// Google's refusal in the words of the legacy API. Its own message is left out: it can hold the
/// number of the operator's project.
fn refusal(reply: &Reply) -> Option<Page> {
    let Failure { error } = serde_json::from_slice(&reply.body).ok()?;
    let reason = error.details.iter().find_map(|detail| detail["reason"].as_str());
    let status = match reply.status.as_u16() {
        400 if reason == Some("API_KEY_INVALID") => "REQUEST_DENIED",
        400 => "INVALID_REQUEST",
        401 | 403 => "REQUEST_DENIED",
        429 => "OVER_QUERY_LIMIT",
        500.. => "UNKNOWN_ERROR",
        _ => return None,
    };
    let words: Vec<_> = std::iter::once(&*error.status).chain(reason).filter(is_word).collect();
    let message = format!("The provider answered {}.", words.join(", "));
    Some(Page::refusal(status, &message))
}

/// Google's constants look so; anything else may quote something.
fn is_word(text: &&str) -> bool {
    text.len() <= 60 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use herd_proto::Position;
    use proptest::prelude::*;

    use super::*;
    use crate::places::page::tests::assert_same;

    fn question() -> Question {
        let center = Position::parse("+34.068930-118.445127").unwrap();
        Question { center, center_text: "34.068930,-118.445127".into(), radius_meters: 10_000.0 }
    }

    fn google(tier: Tier) -> GoogleNew {
        GoogleNew::new(Url::parse("https://h").unwrap(), tier)
    }

    fn read(code: u16, body: &Value) -> Result<Page, Fault> {
        let reply = Reply { body: body.to_string().into_bytes(), ..Reply::bare(code) };
        google(Tier::Pro).read(&question(), reply, None)
    }

    #[test]
    fn the_key_is_in_a_header_that_is_never_printed_and_the_tier_picks_the_fields() {
        let key = Key::parse("s3cret").unwrap();
        let request = google(Tier::Pro).request(&question(), Some(&key));
        assert_eq!(request.url().as_str(), "https://h/v1/places:searchNearby");
        assert_eq!(request.headers()[KEY_HEADER], "s3cret");
        assert!(!format!("{request:?}").contains("s3cret"));
        let body: Value =
            serde_json::from_slice(request.body().and_then(|body| body.as_bytes()).unwrap())
                .unwrap();
        let expected = json!({
            "locationRestriction": {"circle": {
                "center": {"latitude": 34.068_93, "longitude": -118.445_127},
                "radius": 10_000.0,
            }},
            "maxResultCount": 20,
            "rankPreference": "POPULARITY",
        });
        assert_eq!(body, expected);
        let fields = |tier| {
            let request = google(tier).request(&question(), None);
            request.headers()[MASK_HEADER].to_str().unwrap().to_owned()
        };
        let (pro, enterprise) = (fields(Tier::Pro), fields(Tier::Enterprise));
        assert!(pro.split(',').all(|field| field.starts_with("places.")), "{pro}");
        assert!(!pro.contains("rating") && !pro.contains("OpeningHours") && !pro.contains("price"));
        assert_eq!(enterprise, format!("{pro},{ENTERPRISE_FIELDS}"));
    }

    fn hotel() -> Value {
        json!({
            "id": "ID-2",
            "types": ["hotel", "lodging"],
            "plusCode": {"globalCode": "8563XXXX+XX", "compoundCode": "XXXX+XX Los Angeles"},
            "location": {"latitude": 34.0631, "longitude": -118.4432},
            "viewport": {"low": {"latitude": 34.06}, "high": {"latitude": 34.07, "longitude": 1}},
            "rating": 4.0,
            "businessStatus": "OPERATIONAL",
            "priceLevel": "PRICE_LEVEL_MODERATE",
            "userRatingCount": 812,
            "iconMaskBaseUri": "https://h/hotel_pinlet",
            "iconBackgroundColor": "#909CE1",
            "displayName": {"text": "Example Hotel", "languageCode": "en"},
            "currentOpeningHours": {"openNow": true},
            "shortFormattedAddress": "100 Example Avenue",
            "photos": [
                {"name": "places/ID-2/photos/REF", "widthPx": 40, "heightPx": 30,
                 "authorAttributions": [{"displayName": "A <b>", "uri": "https://h/a?b=1&c=2"}]},
                {"name": "places/ID-2/photos/OTHER"},
            ],
            "attributions": [{"provider": "B & Co", "providerUri": "https://b"}, {"provider": "C"}],
        })
    }

    #[test]
    fn a_place_is_told_in_the_words_of_the_legacy_api() {
        let place = hotel();
        let page = read(200, &json!({"places": [place.clone(), place]})).unwrap();
        let expected = r##"{
   "html_attributions" : [ "<a href=\"https://b\">B &amp; Co</a>", "C" ],
   "results" : [
      {
         "business_status" : "OPERATIONAL",
         "geometry" : {
            "location" : {
               "lat" : 34.0631,
               "lng" : -118.4432
            },
            "viewport" : {
               "northeast" : {
                  "lat" : 34.07,
                  "lng" : 1
               },
               "southwest" : {
                  "lat" : 34.06,
                  "lng" : 0
               }
            }
         },
         "icon" : "https://h/hotel_pinlet.png",
         "icon_background_color" : "#909CE1",
         "icon_mask_base_uri" : "https://h/hotel_pinlet",
         "name" : "Example Hotel",
         "opening_hours" : {
            "open_now" : true
         },
         "photos" : [
            {
               "height" : 30,
               "html_attributions" : [ "<a href=\"https://h/a?b=1&amp;c=2\">A &lt;b&gt;</a>" ],
               "photo_reference" : "REF",
               "width" : 40
            }
         ],
         "place_id" : "ID-2",
         "plus_code" : {
            "compound_code" : "XXXX+XX Los Angeles",
            "global_code" : "8563XXXX+XX"
         },
         "price_level" : 2,
         "rating" : 4,
         "reference" : "ID-2",
         "scope" : "GOOGLE",
         "types" : [ "hotel", "lodging" ],
         "user_ratings_total" : 812,
         "vicinity" : "100 Example Avenue"
      }
   ],
   "status" : "OK"
}"##;
        assert_eq!(page.text(1), expected);
        assert_eq!(page.places(20)[1].name, "Example Hotel");
    }

    #[test]
    fn a_place_that_says_little_or_nonsense_harms_nobody() {
        let future = json!({"id": "x", "businessStatus": "FUTURE_OPENING", "rating": "4"});
        let odd = json!({"location": 5, "photos": [{}], "plusCode": [], "priceLevel": "NEW"});
        let page = read(200, &json!({"places": [future, odd, 7]})).unwrap();
        assert!(!page.text(20).contains("business_status") && !page.text(20).contains("rating"));
        assert_eq!((page.status(), page.places(20).len()), ("OK", 3));
    }

    #[test]
    fn nothing_found_is_an_empty_object() {
        let page = read(200, &json!({})).unwrap();
        assert_eq!((page.status(), page.places(20).len()), ("ZERO_RESULTS", 0));
        assert_eq!(read(200, &json!([])), Err(Fault::Malformed));
        assert_eq!(read(200, &json!({"places": 1})), Err(Fault::Malformed));
    }

    #[test]
    fn refusals_are_told_in_the_words_of_the_legacy_api_and_name_no_project() {
        let error = |status: &str, reason: &str| {
            let message = "consumer projects/123456 has no AIza-key";
            let details = json!([{"@type": "ErrorInfo", "reason": reason}]);
            json!({"error": {"code": 1, "status": status, "message": message, "details": details}})
        };
        let table = [
            (400, "INVALID_ARGUMENT", "API_KEY_INVALID", "REQUEST_DENIED"),
            (400, "INVALID_ARGUMENT", "OTHER", "INVALID_REQUEST"),
            (401, "UNAUTHENTICATED", "X", "REQUEST_DENIED"),
            (403, "PERMISSION_DENIED", "SERVICE_DISABLED", "REQUEST_DENIED"),
            (429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "OVER_QUERY_LIMIT"),
            (500, "INTERNAL", "X", "UNKNOWN_ERROR"),
            (503, "UNAVAILABLE", "X", "UNKNOWN_ERROR"),
        ];
        for (code, status, reason, legacy) in table {
            let page = read(code, &error(status, reason)).unwrap();
            assert_eq!(page.status(), legacy, "{code}");
            let text = page.text(20);
            assert!(text.contains(&format!("answered {status}, {reason}.")), "{text}");
            assert!(!text.contains("123456") && !text.contains("AIza"), "{text}");
        }
        let quoting = read(403, &error("PERMISSION_DENIED", "project 123456")).unwrap().text(20);
        assert!(quoting.contains("answered PERMISSION_DENIED."), "{quoting}");
        assert_eq!(read(404, &error("NOT_FOUND", "X")), Err(Reply::bare(404).fault()));
        assert_eq!(read(403, &json!("<html>")), Err(Fault::Refused));
        assert_eq!(read(429, &json!({})), Err(Fault::Throttled { retry_after: None }));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "id",
            "location",
            "latitude",
            "photos",
            "name",
            "attributions",
            "types",
            "plusCode",
            "displayName",
            "text",
            "viewport",
            "high",
            "low",
            "rating",
            "priceLevel",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| {
                    map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_place_makes_an_answer_that_reads_back(places in prop::collection::vec(any_json(), 0..25)) {
            let page = read(200, &json!({"places": places})).unwrap();
            let read_back = Page::read(page.text(20).into_bytes(), question().center).unwrap();
            assert_same(&read_back, &page);
        }
    }
}
