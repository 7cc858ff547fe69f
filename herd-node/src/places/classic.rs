//! The JSON layout that Google's Nearby Search had for most of its life: three spaces a level,
//! a space on both sides of the colon, keys sorted, short lists of scalars on one line.

use std::fmt::Write as _;

use serde_json::Value;

/// A list of scalars that would be as wide as this is broken over lines.
const MARGIN: usize = 74;

const INDENT: &str = "   ";

/// Writes `value` as it would stand `depth` levels deep, without indenting its first line.
pub(super) fn write(value: &Value, depth: usize) -> String {
    let mut out = String::new();
    put(&mut out, value, depth);
    out
}

fn put(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if members.is_empty() => out.push_str("{}"),
        Value::Object(members) => {
            // Sorted here because serde_json keeps insertion order when any crate of a build
            // asks it to.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            let items = members.into_iter().map(|(key, value)| (Some(key.as_str()), value));
            put_lines(out, ('{', '}'), items, depth);
        }
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => match one_line(items) {
            Some(line) => out.push_str(&line),
            None => put_lines(out, ('[', ']'), items.iter().map(|item| (None, item)), depth),
        },
        Value::Number(number) => put_number(out, number),
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

fn put_lines<'a>(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    depth: usize,
) {
    out.push(open);
    for (index, (key, value)) in items.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&INDENT.repeat(depth + 1));
        if let Some(key) = key {
            let _ = write!(out, "{} : ", Value::from(key));
        }
        put(out, value, depth + 1);
    }
    let _ = write!(out, "\n{}{close}", INDENT.repeat(depth));
}

/// `[ a, b ]` where that is short enough and holds nothing nested.
fn one_line(items: &[Value]) -> Option<String> {
    let nested = |item: &Value| match item {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    };
    if items.len() * INDENT.len() >= MARGIN || items.iter().any(nested) {
        return None;
    }
    let texts: Vec<_> = items.iter().map(|item| write(item, 0)).collect();
    let line = format!("[ {} ]", texts.join(", "));
    (line.len() < MARGIN).then_some(line)
}

/// A whole number loses its `.0`, as Google's do.
fn put_number(out: &mut String, number: &serde_json::Number) {
    let _ = match number.as_f64() {
        Some(float) if number.is_f64() => write!(out, "{float}"),
        _ => write!(out, "{number}"),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_the_classic_layout() {
        let value = json!({
            "status": "OK",
            "html_attributions": [],
            "results": [{
                "name": "Caf\u{e9} \"Example\"",
                "geometry": {"location": {"lng": -118.0, "lat": 34.054_907_6}},
                "opening_hours": {},
                "rating": 4.0,
                "price_level": 1,
                "types": ["cafe", "food"],
                "photos": [{"html_attributions": ["a".repeat(80)]}],
            }],
        });
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.0549076,
               "lng" : -118
            }
         },
         "name" : "Café \"Example\"",
         "opening_hours" : {},
         "photos" : [
            {
               "html_attributions" : [
                  "LONG"
               ]
            }
         ],
         "price_level" : 1,
         "rating" : 4,
         "types" : [ "cafe", "food" ]
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(write(&value, 0), expected.replace("LONG", &"a".repeat(80)));
    }

    #[test]
    fn a_list_is_broken_at_the_margin() {
        // With two such strings the line is 12 wider than one of them twice.
        let line = |width: usize| write(&json!(["a".repeat(width), "b"]), 0);
        assert_eq!(line(MARGIN - 13).lines().count(), 1);
        assert_eq!(line(MARGIN - 11).lines().count(), 4);
        assert_eq!(write(&json!(vec![1; 30]), 0).lines().count(), 32);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("\\PC*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_equal(value in any_json(), depth in 0_usize..4) {
            let text = write(&value, depth);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
