use crate::report::typed_position;
use crate::{EARTH_RADIUS_METERS, MAX_NEAR_METERS, Position, Violations, v1};

/// A part of the Earth.
#[derive(Debug, Clone, PartialEq)]
pub enum Area {
    /// All within a distance of a point.
    Circle {
        /// The point.
        center: Position,
        /// The distance, along a great circle.
        radius_meters: f64,
    },
    /// All between two parallels and two meridians, these included; across the antimeridian if the
    /// first's longitude is the greater.
    Box {
        /// The corner of least latitude, and the meridian where the box begins.
        south_west: Position,
        /// The corner of greatest latitude, and the meridian where the box ends.
        north_east: Position,
    },
}

impl Area {
    /// Checks the area that a request has at `path`.
    pub fn from_request(wrong: &mut Violations, path: &str, area: &v1::Area) -> Option<Self> {
        match &area.shape {
            None => {
                wrong.add(path, "must have a circle or a box");
                None
            }
            Some(v1::area::Shape::Circle(circle)) => {
                let path = format!("{path}.circle");
                let radius_meters = circle.radius_meters;
                let fits = (0.0..=MAX_NEAR_METERS).contains(&radius_meters);
                if !fits {
                    let rule =
                        format!("must be between 0 and {MAX_NEAR_METERS}, got {radius_meters}");
                    wrong.add(&format!("{path}.radius_meters"), rule);
                }
                let Some(center) = &circle.center else {
                    wrong.add(&format!("{path}.center"), "must be set");
                    return None;
                };
                let center = typed_position(wrong, &format!("{path}.center"), center)?;
                fits.then_some(Self::Circle { center, radius_meters })
            }
            Some(v1::area::Shape::Box(edges)) => {
                let mut corner = |(latitude, degrees_north), (longitude, degrees_east)| {
                    let (north, east) = (degrees_north, degrees_east);
                    let mut rule = |edge: &str, limit: i32, got: f64| {
                        let rule = format!("must be between -{limit} and {limit}, got {got}");
                        wrong.add(&format!("{path}.box.{edge}"), rule);
                    };
                    if Position::from_degrees(north, 0.0).is_err() {
                        rule(latitude, 90, north);
                    }
                    if Position::from_degrees(0.0, east).is_err() {
                        rule(longitude, 180, east);
                    }
                    Position::from_degrees(north, east).ok()
                };
                let south_west = corner(("south", edges.south), ("west", edges.west));
                let north_east = corner(("north", edges.north), ("east", edges.east));
                let (south_west, north_east) = (south_west?, north_east?);
                if south_west.latitude_e7() > north_east.latitude_e7() {
                    let rule = format!("must be at most north, which is {}", edges.north);
                    wrong.add(&format!("{path}.box.south"), rule);
                    return None;
                }
                Some(Self::Box { south_west, north_east })
            }
        }
    }

    /// Whether a position lies in it.
    pub fn holds(&self, at: Position) -> bool {
        match *self {
            Self::Circle { center, radius_meters } => {
                // Most of the Earth is farther north or south, and this is quickly told.
                let apart = (at.latitude() - center.latitude()).abs().to_radians();
                apart * EARTH_RADIUS_METERS <= radius_meters + 1.0
                    && center.distance_meters(at) <= radius_meters
            }
            Self::Box { south_west, north_east } => {
                let (west, east) = (south_west.longitude_e7(), north_east.longitude_e7());
                let is_between = |longitude: i32| {
                    if west <= east {
                        (west..=east).contains(&longitude)
                    } else {
                        longitude >= west || longitude <= east
                    }
                };
                let longitude = at.longitude_e7();
                (south_west.latitude_e7()..=north_east.latitude_e7()).contains(&at.latitude_e7())
                    // The antimeridian has two numbers.
                    && (is_between(longitude)
                        || (longitude.abs() == HALF_TURN_E7 && is_between(-longitude)))
            }
        }
    }
}

const HALF_TURN_E7: i32 = 1_800_000_000;

impl From<&Area> for v1::Area {
    fn from(area: &Area) -> Self {
        let shape = match area {
            Area::Circle { center, radius_meters } => v1::area::Shape::Circle(v1::Circle {
                center: Some((*center).into()),
                radius_meters: *radius_meters,
            }),
            Area::Box { south_west, north_east } => v1::area::Shape::Box(v1::Box {
                south: south_west.latitude(),
                west: south_west.longitude(),
                north: north_east.latitude(),
                east: north_east.longitude(),
            }),
        };
        Self { shape: Some(shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64) -> Position {
        Position::from_degrees(latitude, longitude).unwrap()
    }

    fn read(area: &v1::Area) -> Result<Area, Vec<String>> {
        let mut wrong = Violations::default();
        let area = Area::from_request(&mut wrong, "area", area);
        let fields = |wrong: Violations| wrong.into_iter().map(|rule| rule.field).collect();
        wrong.into_result(area).map_err(fields)
    }

    #[test]
    fn a_box_may_lie_across_the_antimeridian() {
        let fiji = Area::Box { south_west: at(-20.0, 177.0), north_east: at(-15.0, -179.0) };
        for (position, is_in) in [
            (at(-18.0, 178.0), true),
            (at(-18.0, 180.0), true),
            (at(-18.0, -180.0), true),
            (at(-18.0, -179.5), true),
            (at(-18.0, -178.5), false),
            (at(-18.0, 0.0), false),
            (at(-14.0, 178.0), false),
        ] {
            assert_eq!(fiji.holds(position), is_in, "{position}");
        }
        let east_edge = Area::Box { south_west: at(0.0, 170.0), north_east: at(1.0, 180.0) };
        assert!(east_edge.holds(at(0.5, -180.0)));
    }

    #[test]
    fn a_circle_holds_what_is_within_its_radius() {
        let circle = Area::Circle { center: at(89.9, 0.0), radius_meters: 50_000.0 };
        assert!(circle.holds(at(89.9, 180.0)) && !circle.holds(at(89.0, 0.0)));
        let point = Area::Circle { center: at(1.0, 1.0), radius_meters: 0.0 };
        assert!(point.holds(at(1.0, 1.0)) && !point.holds(at(1.0, 1.0001)));
    }

    #[test]
    fn an_area_survives_its_request_and_a_bad_one_names_its_fields() {
        for area in [
            Area::Circle { center: at(1.5, -2.5), radius_meters: 7.0 },
            Area::Box { south_west: at(-1.0, 170.0), north_east: at(1.0, -170.0) },
        ] {
            assert_eq!(read(&(&area).into()), Ok(area));
        }
        assert_eq!(read(&v1::Area::default()).unwrap_err(), ["area"]);
        let circle = v1::Circle { center: None, radius_meters: -1.0 };
        let shape = Some(v1::area::Shape::Circle(circle));
        assert_eq!(
            read(&v1::Area { shape }).unwrap_err(),
            ["area.circle.radius_meters", "area.circle.center"]
        );
        let edges = v1::Box { south: 91.0, west: 181.0, north: f64::NAN, east: 0.0 };
        let shape = Some(v1::area::Shape::Box(edges));
        let fields = ["area.box.south", "area.box.west", "area.box.north"];
        assert_eq!(read(&v1::Area { shape }).unwrap_err(), fields);
        let edges = v1::Box { south: 2.0, west: 1.0, north: 1.0, east: 0.0 };
        let shape = Some(v1::area::Shape::Box(edges));
        assert_eq!(read(&v1::Area { shape }).unwrap_err(), ["area.box.south"]);
    }
}
