//! The table of well-known places that is built into the program.

use std::sync::{Arc, LazyLock};

use super::atlas::Atlas;
use super::load;
use super::row::Row;

const ATTRIBUTION: &str = "Places: the herd's built-in list; positions are approximate";

/// Far more rows than anybody writes by hand.
const MAX_ROWS: usize = 10_000;

/// What `data/places.csv` holds, read the first time.
pub(super) fn atlas() -> Result<Arc<Atlas>, String> {
    static ATLAS: LazyLock<Result<Arc<Atlas>, String>> = LazyLock::new(|| {
        let rows = rows().map_err(|error| format!("the built-in places: {error}"))?;
        Ok(Arc::new(Atlas::new(rows, ATTRIBUTION.into())))
    });
    ATLAS.clone()
}

fn rows() -> Result<Vec<Row>, load::LoadError> {
    let csv = include_str!("../../../data/places.csv");
    load::read(csv.as_bytes(), MAX_ROWS).map(|table| table.rows)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// The kinds that a built-in row may be of.
    const KINDS: [&str; 29] = [
        "airport",
        "amusement_park",
        "aquarium",
        "art_gallery",
        "cemetery",
        "church",
        "city_hall",
        "hindu_temple",
        "hospital",
        "library",
        "locality",
        "lodging",
        "mosque",
        "museum",
        "natural_feature",
        "neighborhood",
        "park",
        "place_of_worship",
        "premise",
        "route",
        "shopping_mall",
        "stadium",
        "store",
        "synagogue",
        "tourist_attraction",
        "town_square",
        "train_station",
        "university",
        "zoo",
    ];

    #[test]
    fn every_row_keeps_the_rules() {
        let rows = rows().unwrap();
        assert!((500..=1500).contains(&rows.len()), "{} rows", rows.len());
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        for row in &rows {
            assert!(names.insert((&row.name, &row.country)), "{} stands twice", row.name);
            assert!(ids.insert(row.id), "{} has another's id", row.name);
            let trimmed = [&row.name, &row.vicinity].map(|text| text.trim() == &**text);
            assert_eq!(trimmed, [true, true], "{row:?}");
            assert!(row.name.len() <= 80, "{row:?}");
            assert!(KINDS.contains(&&*row.types[0]), "{row:?}");
            assert!(row.country.iter().all(u8::is_ascii_uppercase), "{row:?}");
        }
        let countries: HashSet<_> = rows.iter().map(|row| row.country).collect();
        assert!(countries.len() >= 60, "only {} countries", countries.len());
    }

    #[test]
    fn some_eighty_cities_have_several_places_each() {
        let rows = rows().unwrap();
        let mut places = HashMap::<_, usize>::new();
        for row in &rows {
            *places.entry((&row.vicinity, row.country)).or_default() += 1;
        }
        let cities = places.values().filter(|count| **count >= 5).count();
        assert!(cities >= 80, "only {cities} cities with five places");
    }

    /// Catches a slip of a digit or a sign: a landmark belongs near its town.
    #[test]
    fn a_landmark_lies_near_the_town_it_names() {
        let rows = rows().unwrap();
        let is_town = |row: &&Row| &*row.types[0] == "locality";
        let mut compared = 0;
        for row in rows.iter().filter(|row| !is_town(row)) {
            let named = |town: &&Row| town.name == row.vicinity && town.country == row.country;
            if let Some(town) = rows.iter().filter(is_town).find(named) {
                let distance = town.position.distance_meters(row.position);
                assert!(distance < 70_000.0, "{} is {distance} m from its town", row.name);
                compared += 1;
            }
        }
        assert!(compared >= 300, "only {compared} compared");
    }
}
