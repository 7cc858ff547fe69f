//! The table of well-known places that is built into the program.

use std::sync::LazyLock;

use herd_proto::Position;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) position: Position,
    /// How well known, 0 to 100.
    pub(super) rank: u8,
    /// In Google's vocabulary, most specific first, the general ones included.
    pub(super) types: Vec<&'static str>,
    /// The town, or the region where there is none.
    pub(super) vicinity: String,
    /// Two letters of ISO 3166.
    pub(super) country: String,
}

/// The rows of `data/places.csv`, or what is wrong with them.
pub(super) fn built_in() -> Result<&'static [Row], &'static RowError> {
    static ROWS: LazyLock<Result<Vec<Row>, RowError>> =
        LazyLock::new(|| read(include_str!("../../data/places.csv")));
    ROWS.as_deref()
}

/// The kinds that a row may be of.
const SPECIFIC_TYPES: [&str; 29] = [
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

/// Reads comma-separated rows: name, latitude, longitude, rank, kinds, vicinity, country.
/// Lines that start with `#` and the line of titles are skipped.
fn read(csv: &str) -> Result<Vec<Row>, RowError> {
    csv.lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && !line.starts_with("name,lat,"))
        .map(|(index, line)| {
            read_row(line).map_err(|problem| RowError { line: index + 1, problem })
        })
        .collect()
}

fn read_row(line: &str) -> Result<Row, &'static str> {
    if line.chars().any(char::is_control) {
        return Err("has a control character");
    }
    let fields = split(line).ok_or("has an open quote")?;
    let [name, lat, lng, rank, kinds, vicinity, country] = &fields[..] else {
        return Err("must have seven fields");
    };
    if name.is_empty() || vicinity.is_empty() {
        return Err("must have a name and a vicinity");
    }
    let degrees = |text: &str| text.parse::<f64>().map_err(|_| "must have decimal degrees");
    let position = Position::from_degrees(degrees(lat)?, degrees(lng)?)
        .map_err(|_| "must have degrees in range")?;
    let rank = rank.parse().ok().filter(|rank| *rank <= 100).ok_or("must have a rank to 100")?;
    let types = read_types(kinds).ok_or("has an unknown kind")?;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err("must have a country of two letters");
    }
    let (name, vicinity, country) = (name.clone(), vicinity.clone(), country.clone());
    Ok(Row { name, position, rank, types, vicinity, country })
}

/// Reads kinds parted by `|` and adds the general types that go with them.
fn read_types(kinds: &str) -> Option<Vec<&'static str>> {
    let known = |kind: &str| SPECIFIC_TYPES.into_iter().find(|known| *known == kind);
    let mut types: Vec<_> = kinds.split('|').map(known).collect::<Option<_>>()?;
    let general: &[_] = match types.first() {
        Some(&("locality" | "neighborhood")) => &["political"],
        Some(&("route" | "natural_feature")) => &["point_of_interest"],
        Some(&"hospital") => &["health", "point_of_interest", "establishment"],
        Some(&("church" | "mosque" | "synagogue" | "hindu_temple")) => {
            &["place_of_worship", "point_of_interest", "establishment"]
        }
        _ => &["point_of_interest", "establishment"],
    };
    for kind in general {
        if !types.contains(kind) {
            types.push(kind);
        }
    }
    Some(types)
}

/// Splits a line at its commas; a field in double quotes may hold some. `None` where a quote
/// stays open.
fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    (!quoted).then_some(fields)
}

/// A row that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("places.csv line {line} {problem}")]
pub(super) struct RowError {
    line: usize,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::places::sphere::distance_meters;

    #[test]
    fn every_built_in_row_keeps_the_rules() {
        let rows = built_in().unwrap();
        assert!(rows.len() >= 600, "only {} rows", rows.len());
        let mut names = HashSet::new();
        for row in rows {
            assert!(names.insert((&row.name, &row.country)), "{} stands twice", row.name);
            let trimmed = [&row.name, &row.vicinity].map(|text| text.trim() == text);
            assert_eq!(trimmed, [true, true], "{row:?}");
        }
        let countries: HashSet<_> = rows.iter().map(|row| &row.country).collect();
        assert!(countries.len() >= 60, "only {} countries", countries.len());
    }

    /// Catches a slip of a digit or a sign: a landmark belongs near its town.
    #[test]
    fn a_landmark_lies_near_the_town_it_names() {
        let rows = built_in().unwrap();
        let town = |row: &&Row| row.types.first() == Some(&"locality");
        let mut compared = 0;
        for row in rows.iter().filter(|row| !town(row)) {
            let named = |town: &&Row| town.name == row.vicinity && town.country == row.country;
            if let Some(town) = rows.iter().filter(town).find(named) {
                let distance = distance_meters(town.position, row.position);
                assert!(distance < 70_000.0, "{} is {distance} m from its town", row.name);
                compared += 1;
            }
        }
        assert!(compared >= 300, "only {compared} compared");
    }

    #[test]
    fn general_types_follow_the_specific_ones() {
        assert_eq!(read_types("locality").unwrap(), ["locality", "political"]);
        let museum = ["museum", "park", "point_of_interest", "establishment"];
        assert_eq!(read_types("museum|park").unwrap(), museum);
        assert_eq!(read_types("museum|pub"), None);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_rule() {
        let good = "# note\nname,lat,lng,rank,types,vicinity,country\n\
                    \"A, B\",1.5,-2,100,museum,Town,FJ\n";
        let rows = read(good).unwrap();
        assert_eq!((&*rows[0].name, rows[0].rank), ("A, B", 100));
        let table = [
            ("A,1,2,3,museum,T", "must have seven fields"),
            ("\"A,1,2,3,museum,T,FJ", "has an open quote"),
            (",1,2,3,museum,T,FJ", "must have a name and a vicinity"),
            ("A,x,2,3,museum,T,FJ", "must have decimal degrees"),
            ("A,91,2,3,museum,T,FJ", "must have degrees in range"),
            ("A,1,NaN,3,museum,T,FJ", "must have degrees in range"),
            ("A,1,2,101,museum,T,FJ", "must have a rank to 100"),
            ("A,1,2,3,pub,T,FJ", "has an unknown kind"),
            ("A,1,2,3,museum,T,Fiji", "must have a country of two letters"),
            ("A\t,1,2,3,museum,T,FJ", "has a control character"),
        ];
        for (line, problem) in table {
            assert_eq!(read(&format!("#\n{line}")), Err(RowError { line: 2, problem }));
        }
    }
}
