use crate::{ClientId, Violations, v1};

/// Farthest that places are looked for, in metres: the limit of Google's Nearby Search, and of
/// the text protocol.
pub const MAX_RADIUS_METERS: f64 = 50_000.0;

/// Most places in one answer: one page of Google's Nearby Search.
pub const MAX_RESULTS: u32 = 20;

const DEFAULT_RADIUS_METERS: f64 = 10_000.0;

/// A checked `SearchRequest`.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Around whom.
    pub client: ClientId,
    /// How far, in metres, 0 to [`MAX_RADIUS_METERS`].
    pub radius_meters: f64,
    /// How many places at most, 0 to [`MAX_RESULTS`].
    pub max_results: u32,
    /// Whether the typed list is wanted.
    pub places: bool,
    /// Whether the legacy JSON is wanted.
    pub legacy_json: bool,
}

impl SearchQuery {
    /// Checks a request; all broken rules are reported together.
    pub fn from_request(request: &v1::SearchRequest) -> Result<Self, Violations> {
        let mut wrong = Violations::default();
        let client = wrong.check("client_id", ClientId::parse(&request.client_id));
        let radius_meters = request.radius_meters.unwrap_or(DEFAULT_RADIUS_METERS);
        if !(0.0..=MAX_RADIUS_METERS).contains(&radius_meters) {
            let rule = format!("must be between 0 and {MAX_RADIUS_METERS}, got {radius_meters}");
            wrong.add("radius_meters", rule);
        }
        let max_results = request.max_results.unwrap_or(MAX_RESULTS);
        if max_results > MAX_RESULTS {
            wrong.add("max_results", format!("must be at most {MAX_RESULTS}, got {max_results}"));
        }
        let view = wrong.check(
            "view",
            v1::SearchView::try_from(request.view)
                .map_err(|_| format!("must be a SearchView, got {}", request.view)),
        );
        let query = client.zip(view).map(|(client, view)| Self {
            client,
            radius_meters,
            max_results,
            places: view != v1::SearchView::LegacyJson,
            legacy_json: matches!(view, v1::SearchView::LegacyJson | v1::SearchView::Full),
        });
        wrong.into_result(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_defaults_and_zero_is_a_value() {
        let mut request = v1::SearchRequest { client_id: "kiwi".into(), ..Default::default() };
        let query = SearchQuery::from_request(&request).unwrap();
        assert_eq!((query.radius_meters, query.max_results), (10_000.0, 20));
        assert!(query.places && !query.legacy_json);
        request.radius_meters = Some(0.0);
        request.max_results = Some(0);
        let query = SearchQuery::from_request(&request).unwrap();
        assert_eq!((query.radius_meters, query.max_results), (0.0, 0));
    }

    #[test]
    fn every_broken_rule_is_named_by_its_field() {
        let request = v1::SearchRequest {
            client_id: String::new(),
            radius_meters: Some(f64::NAN),
            max_results: Some(21),
            view: 9,
        };
        let wrong = SearchQuery::from_request(&request).unwrap_err();
        let fields: Vec<_> = wrong.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["client_id", "radius_meters", "max_results", "view"]);
    }
}
