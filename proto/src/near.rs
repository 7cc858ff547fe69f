use std::time::Duration;

use crate::report::typed_position;
use crate::{ClientId, Position, Violations, v1};

/// Farthest that is looked for clients, in metres: half way round the Earth, whose circumference at
/// the equator of the WGS 84 ellipsoid this is.
pub const MAX_NEAR_METERS: f64 = 20_037_508.0;

/// Most clients in one answer.
pub const MAX_NEAR_RESULTS: u32 = 1000;

const DEFAULT_METERS: f64 = 10_000.0;

const DEFAULT_RESULTS: u32 = 100;

/// A question who is near something, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NearQuery {
    /// Near what.
    pub center: NearCenter,
    /// How far to look, in metres.
    pub radius_meters: f64,
    /// How many clients at most.
    pub max_results: u32,
    /// How long ago their reports may have been taken; `None` for any time.
    pub max_age: Option<Duration>,
}

/// What is in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearCenter {
    /// A point.
    Point(Position),
    /// Another client.
    Client(ClientId),
}

impl NearQuery {
    /// Checks a request; all broken rules are reported together.
    pub fn from_request(request: &v1::NearRequest) -> Result<Self, Violations> {
        let mut wrong = Violations::default();
        let center = center(&mut wrong, request);
        let radius_meters = request.radius_meters.unwrap_or(DEFAULT_METERS);
        if !(0.0..=MAX_NEAR_METERS).contains(&radius_meters) {
            let rule = format!("must be between 0 and {MAX_NEAR_METERS}, got {radius_meters}");
            wrong.add("radius_meters", rule);
        }
        let max_results = request.max_results.unwrap_or(DEFAULT_RESULTS);
        if !(1..=MAX_NEAR_RESULTS).contains(&max_results) {
            let rule = format!("must be 1 to {MAX_NEAR_RESULTS}, got {max_results}");
            wrong.add("max_results", rule);
        }
        let age = request.max_age.map(Duration::try_from);
        let max_age = age.and_then(|age| wrong.check("max_age", age.map_err(|_| NOT_AN_AGE)));
        let query = center.map(|center| Self { center, radius_meters, max_results, max_age });
        wrong.into_result(query)
    }

    /// The request that says the same.
    pub fn into_request(self) -> v1::NearRequest {
        let (position, client_id) = match self.center {
            NearCenter::Point(point) => (Some(point.into()), String::new()),
            NearCenter::Client(client) => (None, client.as_str().into()),
        };
        v1::NearRequest {
            position,
            position_text: String::new(),
            client_id,
            radius_meters: Some(self.radius_meters),
            max_results: Some(self.max_results),
            max_age: self.max_age.and_then(|age| age.try_into().ok()),
        }
    }
}

const NOT_AN_AGE: &str = "must not be negative";

const ONE_CENTER: &str = "exactly one of position, position_text and client_id must be set";

fn center(wrong: &mut Violations, request: &v1::NearRequest) -> Option<NearCenter> {
    match (&request.position, &*request.position_text, &*request.client_id) {
        (Some(point), "", "") => typed_position(wrong, "position", point).map(NearCenter::Point),
        (None, text, "") if !text.is_empty() => {
            let point = Position::parse(text).map_err(|rule| format!("{rule}, got {text:?}"));
            wrong.check("position_text", point).map(NearCenter::Point)
        }
        (None, "", client) if !client.is_empty() => {
            wrong.check("client_id", ClientId::parse(client)).map(NearCenter::Client)
        }
        _ => {
            wrong.add("position", ONE_CENTER);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(request: &v1::NearRequest) -> Vec<String> {
        let wrong = NearQuery::from_request(request).unwrap_err();
        wrong.iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn what_is_left_out_has_defaults_and_a_query_survives_its_request() {
        let request = v1::NearRequest { client_id: "kiwi".into(), ..Default::default() };
        let query = NearQuery::from_request(&request).unwrap();
        assert_eq!((query.radius_meters, query.max_results, query.max_age), (10_000.0, 100, None));
        for center in [query.center.clone(), NearCenter::Point(Position::parse("+1-1").unwrap())] {
            let query = NearQuery { center, max_age: Some(Duration::from_millis(1500)), ..query };
            assert_eq!(NearQuery::from_request(&query.clone().into_request()), Ok(query));
        }
    }

    #[test]
    fn every_broken_rule_is_named_by_its_field() {
        let position = Some(v1::Position { latitude: 91.0, longitude: 181.0 });
        let wrong = v1::NearRequest {
            position,
            radius_meters: Some(f64::NAN),
            max_results: Some(0),
            max_age: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(
            fields(&wrong),
            ["position.latitude", "position.longitude", "radius_meters", "max_results", "max_age"]
        );
        for (position, position_text, client_id, field) in [
            (None, "", "", "position"),
            (Some(v1::Position::default()), "", "kiwi", "position"),
            (Some(v1::Position::default()), "+1-1", "", "position"),
            (None, "+1-1", "kiwi", "position"),
            (None, "1,1", "", "position_text"),
            (None, "", "two words", "client_id"),
        ] {
            let (position_text, client_id) = (position_text.into(), client_id.into());
            let request =
                v1::NearRequest { position, position_text, client_id, ..Default::default() };
            assert_eq!(fields(&request), [field], "{request:?}");
        }
    }
}
