use std::sync::LazyLock;
use std::time::SystemTime;

use anyhow::ensure;
use herd_proto::{ClientId, Position, Report, Timestamp};

/// Digits of a client's number in its id. With its prefix an id has 20 bytes.
const ID_DIGITS: usize = 14;

/// What stands before the number.
const ID_PREFIX: &[u8; 6] = b"client";

/// Length of a client's id, in bytes.
const ID_BYTES: usize = ID_PREFIX.len() + ID_DIGITS;

/// How many places there are where clients are: the blocks of all cities.
const PLACES: usize = 16 * 64;

/// They take longer to write down than a load of many connections should take to begin.
static ALL_PLACES: LazyLock<Vec<Place>> =
    LazyLock::new(|| (0..PLACES as i32).map(Place::new).collect());

/// Clients that report one after the other, each time at a later time and from a block further, so
/// that positions change as those of clients on the move do.
#[derive(Debug, Clone)]
pub struct Population {
    /// Where this part's clients begin, and how far they are apart.
    first: u32,
    step: u32,
    clients: u32,
    state: u64,
    places: &'static [Place],
    time: i64,
    id: [u8; ID_BYTES],
    second: i64,
    time_text: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Place {
    position: Position,
    iso6709: String,
    longitude: String,
    latitude: String,
}

/// What the next client reports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next<'a> {
    pub(crate) id: &'a [u8],
    place: &'a Place,
    pub(crate) time_text: &'a [u8],
    time: i64,
}

impl Population {
    /// The `part`-th of `parts` of a population of `clients`. No client is in two parts, so each
    /// part may be used by a connection of its own and times still only grow.
    ///
    /// # Errors
    /// There are fewer clients than parts.
    pub fn new(clients: u32, part: u32, parts: u32) -> anyhow::Result<Self> {
        ensure!(part < parts && clients >= parts, "{clients} clients cannot be {parts} parts");
        let mut id = [b'0'; ID_BYTES];
        id[..ID_PREFIX.len()].copy_from_slice(ID_PREFIX);
        let time = Timestamp::from(SystemTime::now()).unix_nanos();
        Ok(Self {
            first: part,
            step: parts,
            clients: (clients - part).div_ceil(parts),
            state: u64::from(part).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1,
            places: &ALL_PLACES,
            time,
            id,
            second: -1,
            time_text: Vec::new(),
        })
    }

    /// How many clients are in this part.
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// The next report, of a client chosen at random.
    pub fn report(&mut self) -> Report {
        let client = self.choose();
        self.report_of(client)
    }

    /// The next report of the part's `index`-th client.
    pub fn report_of(&mut self, index: u32) -> Report {
        let next = self.next_of(index);
        let id = str::from_utf8(next.id).unwrap_or_default();
        let time = Timestamp::from_unix_nanos(next.time);
        match ClientId::parse(id) {
            Ok(client) => Report::new(client, next.place.position, time),
            Err(_) => unreachable!("ids are letters and digits"),
        }
    }

    /// What the next client reports, chosen at random.
    pub(crate) fn next(&mut self) -> Next<'_> {
        let client = self.choose();
        self.next_of(client)
    }

    fn choose(&mut self) -> u32 {
        // xorshift64: good enough to miss caches as real clients do, and nearly free.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((u128::from(self.state) * u128::from(self.clients)) >> 64) as u32
    }

    /// What the part's `index`-th client reports.
    pub(crate) fn next_of(&mut self, index: u32) -> Next<'_> {
        let client = self.first + index * self.step;
        let mut number = client;
        for digit in self.id[ID_PREFIX.len()..].iter_mut().rev().take(10) {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.time += 1;
        let (second, mut nanos) = (self.time / 1_000_000_000, self.time % 1_000_000_000);
        if second != self.second {
            self.second = second;
            self.time_text = format!("{second}.000000000").into_bytes();
        }
        for digit in self.time_text.iter_mut().rev().take(9) {
            *digit = b'0' + (nanos % 10) as u8;
            nanos /= 10;
        }
        // A block to and fro.
        let block = CITIES.len() * (self.time & 1) as usize;
        let place = (client as usize % PLACES) ^ block;
        Next {
            id: &self.id,
            place: &self.places[place],
            time_text: &self.time_text,
            time: self.time,
        }
    }
}

impl Next<'_> {
    pub(crate) fn iso6709(&self) -> &[u8] {
        self.place.iso6709.as_bytes()
    }

    pub(crate) fn longitude(&self) -> &[u8] {
        self.place.longitude.as_bytes()
    }

    pub(crate) fn latitude(&self) -> &[u8] {
        self.place.latitude.as_bytes()
    }
}

/// Big cities of all continents, in degrees, so that who asks for places finds some.
const CITIES: [(f64, f64); 16] = [
    (34.0522, -118.2437), // Los Angeles
    (40.7580, -73.9855),  // New York
    (19.4326, -99.1332),  // Mexico City
    (-22.9068, -43.1729), // Rio de Janeiro
    (-34.6037, -58.3816), // Buenos Aires
    (51.5074, -0.1278),   // London
    (48.8584, 2.2945),    // Paris
    (52.5200, 13.4050),   // Berlin
    (41.9028, 12.4964),   // Rome
    (30.0444, 31.2357),   // Cairo
    (-33.9249, 18.4241),  // Cape Town
    (28.6139, 77.2090),   // Delhi
    (39.9042, 116.4074),  // Beijing
    (35.6586, 139.7454),  // Tokyo
    (1.2839, 103.8607),   // Singapore
    (-33.8568, 151.2153), // Sydney
];

impl Place {
    /// A block of a city: 8 x 8 of them, some 200 m apart.
    fn new(number: i32) -> Self {
        let (latitude, longitude) = CITIES[number as usize % CITIES.len()];
        let block = number / CITIES.len() as i32;
        // Six decimals, as clients of the text protocol write them.
        let units = |degrees: f64, step: i32| ((degrees * 1e6).round() as i32 + step * 2000) * 10;
        let position = Position::from_e7(units(latitude, block / 8), units(longitude, block % 8));
        let Some(position) = position else { unreachable!("within the bounds of a position") };
        Self {
            position,
            iso6709: position.to_string(),
            longitude: format!("{:.6}", position.longitude()),
            latitude: format!("{:.6}", position.latitude()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn times_of_a_client_only_grow_and_its_places_change() {
        let mut part = Population::new(10, 0, 1).unwrap();
        let mut newest = BTreeMap::new();
        for _ in 0..2000 {
            let report = part.report();
            assert_eq!(report.client.as_str().len(), 20);
            let before = newest.insert(report.client.clone(), report.clone());
            assert!(before.is_none_or(|before| before.time < report.time));
        }
        assert_eq!(newest.len(), 10, "each client is chosen");
    }

    #[test]
    fn parts_have_no_client_in_common_and_all_of_them_together() {
        let mut all = BTreeSet::new();
        for part in 0..3 {
            let mut part = Population::new(10, part, 3).unwrap();
            for client in 0..part.clients() {
                assert!(all.insert(part.report_of(client).client));
            }
        }
        assert_eq!(all.len(), 10);
        assert!(Population::new(2, 0, 3).is_err());
    }

    #[test]
    fn the_texts_say_what_the_report_says() {
        let mut part = Population::new(5, 0, 1).unwrap();
        let mut same = part.clone();
        for client in [0, 4, 2] {
            let report = part.report_of(client);
            let next = same.next_of(client);
            let text = |bytes| str::from_utf8(bytes).unwrap();
            let read =
                Report::from_operands(text(next.id), text(next.iso6709()), text(next.time_text));
            assert_eq!(read, Ok(report));
        }
    }
}
