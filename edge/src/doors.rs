//! How many connections may be open: in all, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::refusals::Reason;

/// Lets connections in up to a limit.
#[derive(Debug)]
pub struct Doors {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Doors {
    /// Lets `max` connections in, of these `max_per_address` from one address, or from one /64
    /// network of IPv6, which is what one customer has.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, open: Mutex::default() })
    }

    /// Takes a place for a connection from `address`.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Reason> {
        let mut place = self.enter_unknown()?;
        place.comes_from(address)?;
        Ok(place)
    }

    /// Takes a place for a connection of which a proxy has yet to say whence it comes.
    ///
    /// # Errors
    /// There are too many connections in all.
    pub fn enter_unknown(self: &Arc<Self>) -> Result<Place, Reason> {
        let mut open = self.lock();
        if open.all >= self.max {
            return Err(Reason::Connections);
        }
        open.all += 1;
        Ok(Place { doors: Arc::clone(self), network: None })
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    doors: Arc<Doors>,
    network: Option<IpAddr>,
}

impl Place {
    /// Notes whence the connection comes, which is done once.
    ///
    /// # Errors
    /// There are too many from there.
    pub fn comes_from(&mut self, address: IpAddr) -> Result<(), Reason> {
        let network = network(address);
        let mut open = self.doors.lock();
        let here = open.by_address.entry(network).or_default();
        if *here >= self.doors.max_per_address {
            return Err(Reason::ConnectionsPerAddress);
        }
        *here += 1;
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.doors.lock();
        open.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(here) = open.by_address.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&network);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_a_place_that_is_left_can_be_taken_again() {
        let doors = Doors::new(3, 2);
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let first = doors.enter(here).unwrap();
        let _second = doors.enter(here).unwrap();
        assert_eq!(doors.enter(here).unwrap_err(), Reason::ConnectionsPerAddress);
        let third = doors.enter(there).unwrap();
        assert_eq!(doors.enter(there).unwrap_err(), Reason::Connections);
        drop(first);
        let _fourth = doors.enter(here).unwrap();
        drop(third);
        assert_eq!(doors.open(), 2);
        assert!(!doors.lock().by_address.contains_key(&there), "an empty entry stays");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_mapped_addresses_as_ipv4() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }
}
