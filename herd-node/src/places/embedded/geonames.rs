use super::csv::position;
use super::row::{Ledger, PlaceId, Row};

/// HTML that GeoNames' licence asks for.
pub(super) const ATTRIBUTION: &str =
    "<a href=\"https://www.geonames.org/\">GeoNames</a>, CC BY 4.0";

/// Columns of GeoNames' main tables.
const COLUMNS: usize = 19;

/// Whether a line is of a GeoNames table.
pub(super) fn is_row(line: &str) -> bool {
    line.split('\t').count() == COLUMNS
}

/// Reads a tab-separated row as the `geoname` table has it.
pub(super) fn read(line: &str, ledger: &mut Ledger) -> Result<Row, &'static str> {
    let columns: Vec<_> = line.split('\t').collect();
    let Ok(columns) = <[&str; COLUMNS]>::try_from(columns) else {
        return Err("must have the 19 columns of a GeoNames table");
    };
    let [id, name, _, _, lat, lng, class, code, country, _, region, _, _, _, population, ..] =
        columns;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("must have a name without control characters");
    }
    let id = id.parse().map_err(|_| "must have a number in the first column")?;
    let population: u64 = if population.is_empty() {
        0
    } else {
        population.parse().map_err(|_| "must have a number as population")?
    };
    let country_code = match *country.as_bytes() {
        [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => [a, b],
        // The high seas, and Antarctica in part.
        [] => *b"  ",
        _ => return Err("must have a country of two letters, or none"),
    };
    // Most regions are numbers, which tell a reader nothing.
    let region = Some(region).filter(|region| region.chars().any(char::is_alphabetic));
    let parts = region.into_iter().chain(Some(country).filter(|country| !country.is_empty()));
    let kind = kind(class, code);
    Ok(Row {
        id: PlaceId::GeoNames(id),
        name: name.into(),
        position: position(lat, lng)?,
        rank: rank(kind, population),
        types: ledger.types(kind).ok_or("is of no kind")?,
        vicinity: parts.collect::<Vec<_>>().join(", ").into(),
        country: country_code,
    })
}

/// Google's word for a feature.
fn kind(class: &str, code: &str) -> &'static str {
    match (class, code) {
        ("P", "PPLX") => "neighborhood",
        ("P", _) => "locality",
        ("A", "ADM1") => "administrative_area_level_1",
        ("A", "ADM2") => "administrative_area_level_2",
        ("A", code) if code.starts_with("PCL") => "country",
        ("A", _) => "administrative_area_level_3",
        ("S", "AIRP" | "AIRH" | "AIRF") => "airport",
        ("S", "CH") => "church",
        ("S", "CMTY") => "cemetery",
        ("S", "HSP") => "hospital",
        ("S", "HTL" | "GHSE" | "RSRT") => "lodging",
        ("S", "LIBR") => "library",
        ("S", "MALL") => "shopping_mall",
        ("S", "MSQE") => "mosque",
        ("S", "MUS") => "museum",
        ("S", "RSTN" | "RSTP" | "MTRO") => "train_station",
        ("S", "SCH") => "school",
        ("S", "STDM") => "stadium",
        ("S", "UNIV") => "university",
        ("S", "ZOO") => "zoo",
        ("S", "TMPL" | "SHRN" | "MSTY") => "place_of_worship",
        ("S", "CSTL" | "MNMT" | "PAL" | "TOWR" | "RUIN" | "HSTS" | "OPRA" | "THTR") => {
            "tourist_attraction"
        }
        ("L", "PRK" | "RESN" | "RESW") => "park",
        ("H" | "T" | "V" | "U", _) => "natural_feature",
        ("R", _) => "route",
        _ => "premise",
    }
}

/// How well known, by how many live there, or by what it is: twelve for each tenfold.
fn rank(kind: &str, population: u64) -> u8 {
    if population > 0 {
        return (12.0 * (population as f64).log10()).round().min(99.0) as u8;
    }
    match kind {
        "airport" => 55,
        "museum" | "tourist_attraction" | "university" => 50,
        "park" | "stadium" | "zoo" => 45,
        "hospital" | "train_station" | "library" | "shopping_mall" => 40,
        _ => 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(columns: [&str; 8]) -> String {
        let [id, name, lat, lng, class, code, country, population] = columns;
        format!(
            "{id}\t{name}\tascii\talt,alt\t{lat}\t{lng}\t{class}\t{code}\t{country}\t\tCA\t037\t\t\t\
             {population}\t89\t96\tAmerica/Los_Angeles\t2025-01-01"
        )
    }

    #[test]
    fn a_row_tells_name_kind_rank_and_region() {
        let text =
            line(["5", "Los \u{c1}ngeles", "34.05", "-118.24", "P", "PPLA2", "US", "3898747"]);
        assert!(is_row(&text));
        let row = read(&text, &mut Ledger::default()).unwrap();
        assert_eq!((&*row.name, row.rank, &*row.vicinity), ("Los Ángeles", 79, "CA, US"));
        assert_eq!((row.id, &*row.types[0]), (PlaceId::GeoNames(5), "locality"));
        let museum = line(["6", "M", "0", "0", "S", "MUS", "", ""]);
        let row = read(&museum, &mut Ledger::default()).unwrap();
        assert_eq!((row.rank, &*row.types[0], row.country), (50, "museum", *b"  "));
    }

    #[test]
    fn a_bad_row_is_told_the_rule_that_it_breaks() {
        for (columns, problem) in [
            (["x", "A", "0", "0", "P", "", "US", ""], "must have a number in the first"),
            (["1", "", "0", "0", "P", "", "US", ""], "must have a name"),
            (["1", "A\u{7}", "0", "0", "P", "", "US", ""], "must have a name without"),
            (["1", "A", "north", "0", "P", "", "US", ""], "must have decimal degrees"),
            (["1", "A", "0", "181", "P", "", "US", ""], "must have degrees in range"),
            (["1", "A", "0", "0", "P", "", "USA", ""], "must have a country"),
            (["1", "A", "0", "0", "P", "", "US", "many"], "must have a number as population"),
        ] {
            let told = read(&line(columns), &mut Ledger::default()).unwrap_err();
            assert!(told.starts_with(problem), "{columns:?}: {told}");
        }
        let told = read("1\t2", &mut Ledger::default()).unwrap_err();
        assert!(told.contains("19 columns"), "{told}");
    }
}
