//! A place of the new API in the words of the legacy one.

use serde_json::{Map, Value, json};

use crate::places::api::html;

/// A place as a result of the legacy API. What the place does not tell is left out.
pub(super) fn result(place: &Value) -> Value {
    let mut result = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        result.extend(value.map(|value| (key.to_owned(), value)));
    };
    let text = |key: &str| place[key].as_str().map(Value::from);
    let icon = place["iconMaskBaseUri"].as_str();
    let address = text("shortFormattedAddress").or_else(|| text("formattedAddress"));
    put("business_status", text("businessStatus").filter(|status| status != "FUTURE_OPENING"));
    put("geometry", geometry(place));
    put("icon", icon.map(|icon| format!("{icon}.png").into()));
    put("icon_background_color", text("iconBackgroundColor"));
    put("icon_mask_base_uri", icon.map(Value::from));
    put("name", place["displayName"]["text"].as_str().map(Value::from));
    let open_now = place["currentOpeningHours"]["openNow"].as_bool();
    put("opening_hours", open_now.map(|open| json!({"open_now": open})));
    put("photos", photos(place));
    put("place_id", text("id"));
    put("plus_code", plus_code(&place["plusCode"]));
    put("price_level", place["priceLevel"].as_str().and_then(price_level));
    put("rating", number(&place["rating"]));
    put("reference", text("id"));
    put("scope", Some("GOOGLE".into()));
    put("types", place["types"].is_array().then(|| place["types"].clone()));
    put("user_ratings_total", number(&place["userRatingCount"]));
    put("vicinity", address);
    Value::Object(result)
}

fn number(value: &Value) -> Option<Value> {
    value.is_number().then(|| value.clone())
}

fn geometry(place: &Value) -> Option<Value> {
    let mut geometry = Map::new();
    geometry.insert("location".into(), corner(&place["location"])?);
    let viewport = &place["viewport"];
    if let (Some(northeast), Some(southwest)) =
        (corner(&viewport["high"]), corner(&viewport["low"]))
    {
        let viewport = json!({"northeast": northeast, "southwest": southwest});
        geometry.insert("viewport".into(), viewport);
    }
    Some(geometry.into())
}

/// A degree of 0 is left out in the JSON of proto3.
fn corner(point: &Value) -> Option<Value> {
    let degrees = |key: &str| number(&point[key]).unwrap_or_else(|| json!(0));
    point.is_object().then(|| json!({"lat": degrees("latitude"), "lng": degrees("longitude")}))
}

fn plus_code(code: &Value) -> Option<Value> {
    let pairs = [("compound_code", "compoundCode"), ("global_code", "globalCode")];
    let known: Map<_, _> = pairs
        .into_iter()
        .filter_map(|(legacy, new)| Some((legacy.to_owned(), code[new].as_str()?.into())))
        .collect();
    (!known.is_empty()).then(|| known.into())
}

fn price_level(word: &str) -> Option<Value> {
    let levels = [
        "PRICE_LEVEL_FREE",
        "PRICE_LEVEL_INEXPENSIVE",
        "PRICE_LEVEL_MODERATE",
        "PRICE_LEVEL_EXPENSIVE",
        "PRICE_LEVEL_VERY_EXPENSIVE",
    ];
    levels.iter().position(|level| *level == word).map(Value::from)
}

/// The legacy API tells one photograph of a place.
fn photos(place: &Value) -> Option<Value> {
    let photo = place["photos"].as_array()?.first()?;
    let name = photo["name"].as_str()?;
    let reference = name.rsplit_once("/photos/").map_or(name, |(_, reference)| reference);
    let authors = photo["authorAttributions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let authors: Vec<_> = authors
        .iter()
        .filter_map(|author| html::link(author["uri"].as_str()?, author["displayName"].as_str()?))
        .collect();
    Some(json!([{
        "height": number(&photo["heightPx"]).unwrap_or_else(|| json!(0)),
        "html_attributions": authors,
        "photo_reference": reference,
        "width": number(&photo["widthPx"]).unwrap_or_else(|| json!(0)),
    }]))
}

/// Whom the place's data is from, apart from Google.
pub(super) fn attributions(place: &Value) -> Vec<String> {
    let given = place["attributions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let link = |given: &Value| {
        let provider = given["provider"].as_str()?;
        let uri = given["providerUri"].as_str().unwrap_or_default();
        Some(html::link(uri, provider).unwrap_or_else(|| html::escape(provider)))
    };
    given.iter().filter_map(link).collect()
}
