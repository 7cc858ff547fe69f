use herd_proto::Position;

use super::row::{Ledger, Row};

/// The line of titles.
const TITLES: &str = "name,lat,lng,rank,types,vicinity,country";

/// Whether a line holds no row.
pub(super) fn is_blank(line: &str) -> bool {
    line.starts_with('#') || line.is_empty() || line == TITLES
}

/// Reads a comma-separated row: name, latitude, longitude, rank, kinds, vicinity, country.
pub(super) fn read(line: &str, ledger: &mut Ledger) -> Result<Row, &'static str> {
    if line.chars().any(char::is_control) {
        return Err("has a control character");
    }
    let fields = split(line).ok_or("has an open quote")?;
    let [name, lat, lng, rank, kinds, vicinity, country] = &fields[..] else {
        return Err("must have seven fields: name,lat,lng,rank,types,vicinity,country");
    };
    if name.is_empty() || vicinity.is_empty() {
        return Err("must have a name and a vicinity");
    }
    let position = position(lat, lng)?;
    let rank = rank.parse().ok().filter(|rank| *rank <= 100).ok_or("must have a rank to 100")?;
    let types = ledger.types(kinds).ok_or("must have types such as museum|park")?;
    let letters = country.as_bytes();
    let [b'A'..=b'Z', b'A'..=b'Z'] = *letters else {
        return Err("must have a country of two letters");
    };
    Ok(Row {
        id: ledger.id(name, country, position),
        name: name.as_str().into(),
        position,
        rank,
        types,
        vicinity: vicinity.as_str().into(),
        country: [letters[0], letters[1]],
    })
}

/// Decimal degrees.
pub(super) fn position(lat: &str, lng: &str) -> Result<Position, &'static str> {
    let degrees = |text: &str| text.parse::<f64>().map_err(|_| "must have decimal degrees");
    Position::from_degrees(degrees(lat)?, degrees(lng)?).map_err(|_| "must have degrees in range")
}

/// Splits a line at its commas; a field in double quotes may hold some, and a doubled quote there
/// is one. `None` where a quote stays open.
fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => {
                fields.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_and_quotes_are_taken_off() {
        let row =
            read("\"A, \"\"B\"\"\",1.5,-2,100,museum,Town,FJ", &mut Ledger::default()).unwrap();
        assert_eq!((&*row.name, row.rank, row.country), ("A, \"B\"", 100, *b"FJ"));
        assert_eq!(row.position, Position::from_degrees(1.5, -2.0).unwrap());
        assert!(is_blank("# note") && is_blank("") && is_blank(TITLES));
    }

    #[test]
    fn a_bad_row_is_told_the_rule_that_it_breaks() {
        for (line, problem) in [
            ("A,1,2,3,museum,T", "must have seven fields"),
            ("\"A,1,2,3,museum,T,FJ", "has an open quote"),
            (",1,2,3,museum,T,FJ", "must have a name and a vicinity"),
            ("A,x,2,3,museum,T,FJ", "must have decimal degrees"),
            ("A,91,2,3,museum,T,FJ", "must have degrees in range"),
            ("A,1,NaN,3,museum,T,FJ", "must have degrees in range"),
            ("A,1,2,101,museum,T,FJ", "must have a rank to 100"),
            ("A,1,2,3,Pub!,T,FJ", "must have types"),
            ("A,1,2,3,museum,T,Fiji", "must have a country of two letters"),
            ("A\t,1,2,3,museum,T,FJ", "has a control character"),
        ] {
            let told = read(line, &mut Ledger::default()).unwrap_err();
            assert!(told.starts_with(problem), "{line}: {told}");
        }
    }
}
