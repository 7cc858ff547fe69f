//! Points on the Earth, indexed as points of a unit sphere in three dimensions, where neither
//! the poles nor the antimeridian are special.

use herd_proto::{EARTH_RADIUS_METERS, Position};
use rstar::RTree;
use rstar::primitives::GeomWithData;

/// Widens the search in the tree past any rounding; what it lets in is measured again.
const CHORD_SLACK: f64 = 1e-12;

/// An immutable set of points, each with the number it was given.
#[derive(Debug)]
pub(super) struct SphereIndex {
    // Numbers are kept small: there may be millions.
    tree: RTree<GeomWithData<[f64; 3], (Position, u32)>>,
}

impl SphereIndex {
    /// Numbers the points in their order, from 0.
    pub(super) fn new(points: impl IntoIterator<Item = Position>) -> Self {
        let points = (0..).zip(points);
        let entry = |(number, at)| GeomWithData::new(on_unit_sphere(at), (at, number));
        Self { tree: RTree::bulk_load(points.map(entry).collect()) }
    }

    /// All points within a radius, with their distances, both in metres, in no order.
    pub(super) fn within(
        &self,
        center: Position,
        radius_meters: f64,
    ) -> impl Iterator<Item = (usize, f64)> {
        let half_turn = std::f64::consts::FRAC_PI_2;
        let half_angle = (radius_meters / (2.0 * EARTH_RADIUS_METERS)).clamp(0.0, half_turn);
        let chord = 2.0 * half_angle.sin() * (1.0 + 1e-9) + CHORD_SLACK;
        self.tree
            .locate_within_distance(on_unit_sphere(center), chord * chord)
            .map(move |entry| (entry.data.1 as usize, center.distance_meters(entry.data.0)))
            .filter(move |(_, distance)| *distance <= radius_meters)
    }
}

fn on_unit_sphere(at: Position) -> [f64; 3] {
    let (lat, lng) = (at.latitude().to_radians(), at.longitude().to_radians());
    [lat.cos() * lng.cos(), lat.cos() * lng.sin(), lat.sin()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::herd::cells::tests::position;

    proptest! {
        #[test]
        fn the_index_agrees_with_brute_force(
            mut points in prop::collection::vec(position(), 0..80),
            twins in 0_usize..5,
            center in position(),
            radius in prop_oneof![Just(0.0), 0.0..50_000.0, 0.0..30_000_000.0],
        ) {
            points.extend(points.clone().into_iter().take(twins));
            points.push(center);
            let mut found: Vec<_> =
                SphereIndex::new(points.iter().copied()).within(center, radius).collect();
            found.sort_by_key(|(number, _)| *number);
            let expected: Vec<_> = points
                .iter()
                .map(|&point| center.distance_meters(point))
                .enumerate()
                .filter(|(_, distance)| *distance <= radius)
                .collect();
            prop_assert!(!found.is_empty());
            prop_assert_eq!(found, expected);
        }
    }
}
