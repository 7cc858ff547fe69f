use serde_json::{Value, json};

/// The box that a map of a place shows: so many degrees to each side, on the globe.
pub(super) fn viewport(latitude: f64, longitude: f64, half_degrees: f64) -> Value {
    let (north, south) = (latitude + half_degrees, latitude - half_degrees);
    let half_wide = half_degrees.min(180.0);
    json!({
        "northeast": corner(north.min(90.0), around(longitude + half_wide)),
        "southwest": corner(south.max(-90.0), around(longitude - half_wide)),
    })
}

/// In steps of 1e-7 degree, as far as anybody writes.
fn corner(latitude: f64, longitude: f64) -> Value {
    let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
    json!({"lat": rounded(latitude), "lng": rounded(longitude)})
}

/// A longitude that went over the antimeridian comes back on the other side.
fn around(longitude: f64) -> f64 {
    if longitude > 180.0 {
        longitude - 360.0
    } else if longitude < -180.0 {
        longitude + 360.0
    } else {
        longitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewport_stays_on_the_globe() {
        let fiji = viewport(-16.8, 179.99, 0.03);
        assert_eq!(fiji["northeast"]["lng"], json!(-179.98));
        assert_eq!(viewport(0.0, -179.99, 0.03)["southwest"]["lng"], json!(179.98));
        let pole = viewport(-90.0, 0.0, 0.001);
        assert_eq!(pole["southwest"]["lat"], json!(-90.0));
        let whole = viewport(10.0, 20.0, 1000.0);
        assert_eq!(whole["northeast"], json!({"lat": 90.0, "lng": -160.0}));
    }
}
