//! Which of two records of one client wins: a total order, so that every node that has seen the
//! same records, in whatever order and however often, holds the same one.

use std::cmp::Ordering;

use herd_proto::LocationRecord;

/// Compares two records of one client; the greater wins.
///
/// From left to right: the higher generation (forgetting raises it), a report over a forgotten
/// mark, the later client time, and then, for what a client said twice of one instant, the
/// *earlier* receive time: repeating a report changes nothing, here or at any friend. The rest is
/// compared only so that no two different records are equal.
pub fn compare(a: &LocationRecord, b: &LocationRecord) -> Ordering {
    debug_assert_eq!(a.client, b.client, "records of two clients have no order");
    a.generation
        .cmp(&b.generation)
        .then_with(|| b.forgotten.cmp(&a.forgotten))
        .then_with(|| a.time.cmp(&b.time))
        .then_with(|| b.receive_time.cmp(&a.receive_time))
        .then_with(|| a.content_key().cmp(&b.content_key()))
}

#[cfg(test)]
pub(crate) mod tests {
    use herd_proto::{ClientId, NodeName, Position, Record, Timestamp};
    use proptest::prelude::*;

    use super::*;

    /// Records of one client that differ in few values, so that ties of every depth are common.
    pub(crate) fn rival_records() -> impl Strategy<Value = LocationRecord> {
        (0..3_u32, any::<bool>(), 0..3_i64, 0..3_i64, 0..2, 0..3_i32, 0..3_usize, 0..2_u8).prop_map(
            |(generation, forgotten, time, receive_time, origin, latitude, spelling, extra)| {
                let time = Timestamp::from_unix_nanos(time * 500_000_000).unwrap();
                let mut record = LocationRecord::new(
                    ClientId::parse("kiwi").unwrap(),
                    Position::from_e7(latitude, 0).unwrap(),
                    time,
                    Timestamp::from_unix_nanos(receive_time).unwrap(),
                    NodeName::parse(["Bailey", "Bona"][origin as usize]).unwrap(),
                );
                record.generation = generation;
                record.forgotten = forgotten;
                let mut wire = Record::from(&record);
                let seconds = time.to_string();
                wire.time_text =
                    ["", &format!("{seconds}0"), &format!("0{seconds}")][spelling].into();
                wire.unknown = vec![0x60, extra]; // field 12, a number
                LocationRecord::try_from(wire).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_order_is_total(a in rival_records(), b in rival_records(), c in rival_records()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_ne!(compare(&a, &c), Ordering::Greater);
            }
        }
    }

    #[test]
    fn the_rules_apply_from_left_to_right() {
        let base = |generation, forgotten, time, receive_time| {
            let mut record = LocationRecord::new(
                ClientId::parse("kiwi").unwrap(),
                Position::from_e7(0, 0).unwrap(),
                Timestamp::from_unix_nanos(time).unwrap(),
                Timestamp::from_unix_nanos(receive_time).unwrap(),
                NodeName::parse("Bailey").unwrap(),
            );
            record.generation = generation;
            record.forgotten = forgotten;
            record
        };
        let ascending = [
            base(0, true, 9, 0),
            base(0, false, 1, 9),
            base(0, false, 2, 9),
            base(0, false, 2, 8), // heard of earlier
            base(1, true, 0, 0),  // forgotten since
            base(1, false, 0, 0), // and back
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(&pair[0], &pair[1]), Ordering::Less, "{pair:#?}");
        }
    }
}
