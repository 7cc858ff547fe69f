//! Who belongs to the herd when DNS says so, and whom of them a node befriends.
//!
//! An answer is a hint and no more. What it names is befriended at once; what it lacks is let go
//! only after many answers have lacked it, and never while a link to it is up: a link proves more
//! than any name server. Answers that lack the node itself are partial, as they are while names of
//! new pods spread, and let go of nobody.
//!
//! All nodes that know the same names choose the same friendships, so nothing is negotiated: up to
//! [`FULL_MESH`] nodes are all friends of each other. Beyond, they stand in a circle, in one order
//! that all know, and each befriends those 1, 3, 9, 27 ... places away, both ways. Any distance is a
//! sum of such strides, each taken once, forward or back, or not at all (balanced ternary); so with `k` strides
//! each node has at most `2k` friends, any other is at most `k` links away, and no death of one
//! node parts the rest: 6 friends and 3 links for 26 nodes, 8 and 4 for 80, 10 and 5 for 242.

use std::collections::{BTreeMap, BTreeSet};

use herd_proto::NodeName;

/// Up to so many nodes, each is everybody's friend: a change is everywhere after one hop, at
/// eleven times its size in traffic. More would cost more than the hops saved are worth.
pub const FULL_MESH: usize = 12;

/// Most nodes that are known at a time, far above any herd in which every node holds everything.
/// What an answer names beyond it is left out, and the same by all.
pub const MAX_MEMBERS: usize = 1024;

/// Answers in a row that must lack a name before it is let go: a minute's, at the usual pace, in which
/// a pod that is replaced has long come back under the same name.
const ABSENCES: u32 = 12;

/// Answers for which a friend is kept that is no longer chosen, while others find their new
/// friends: without, a circle that grows could come apart for a moment.
const FAREWELLS: u32 = 6;

/// The members of the herd, as one node knows them, and those that it has befriended.
#[derive(Debug)]
pub struct Membership {
    own: NodeName,
    members: BTreeMap<Place, Member>,
    friends: BTreeMap<NodeName, Friend>,
}

/// Orders names by length first: `node-9` comes before `node-10`, and a herd that grows by one
/// keeps the places of all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place(usize, NodeName);

#[derive(Debug)]
struct Member {
    address: String,
    absences: u32,
}

#[derive(Debug)]
struct Friend {
    address: String,
    farewells: u32,
}

/// What to do about friendships.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Friends to let go of. First, since a friend that moved is also among those to befriend.
    pub part: Vec<NodeName>,
    /// Names and addresses to befriend.
    pub befriend: Vec<(NodeName, String)>,
}

/// What an answer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It names this node too, and so counts against those that it lacks.
    Whole,
    /// It does not: it only adds.
    Partial,
}

impl Place {
    fn of(name: &NodeName) -> Self {
        Self(name.as_str().len(), name.clone())
    }
}

impl Membership {
    /// A node called `own` that knows of nobody yet.
    pub fn new(own: NodeName) -> Self {
        Self { own, members: BTreeMap::new(), friends: BTreeMap::new() }
    }

    /// How many nodes there are, this one included.
    pub fn count(&self) -> usize {
        self.members.len() + 1
    }

    /// Whether there is nobody but this node.
    pub fn is_alone(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes an answer that names at least one node: names and addresses. `is_linked` tells
    /// whether a link to a node is up.
    pub fn observe(
        &mut self,
        named: impl IntoIterator<Item = (NodeName, String)>,
        is_linked: impl Fn(&NodeName) -> bool,
    ) -> (Answer, Change) {
        let mut addresses = BTreeMap::<_, BTreeSet<String>>::new();
        for (name, address) in named {
            addresses.entry(Place::of(&name)).or_default().insert(address);
        }
        // Of several, name servers give now this first and now that: a member stays where it is.
        let one = |(place, addresses): (Place, BTreeSet<String>)| {
            let known = self.members.get(&place).map(|member| &member.address);
            let address = known.filter(|address| addresses.contains(*address)).cloned();
            address.or_else(|| addresses.into_iter().next()).map(|address| (place, address))
        };
        let mut named: BTreeMap<_, _> = addresses.into_iter().filter_map(one).collect();
        let whole = named.remove(&Place::of(&self.own)).is_some();
        if whole {
            for (place, member) in &mut self.members {
                member.absences += 1;
                if named.contains_key(place) || is_linked(&place.1) {
                    member.absences = 0;
                }
            }
            self.members.retain(|_, member| member.absences < ABSENCES);
        }
        for (place, address) in named {
            self.members.insert(place, Member { address, absences: 0 });
        }
        while self.members.len() >= MAX_MEMBERS {
            self.members.pop_last();
        }
        (if whole { Answer::Whole } else { Answer::Partial }, self.choose())
    }

    /// Compares the friends that there are with those that there should be.
    fn choose(&mut self) -> Change {
        let mut circle: Vec<_> = self.members.keys().map(|place| &place.1).collect();
        let own = circle.partition_point(|name| Place::of(name) < Place::of(&self.own));
        circle.insert(own, &self.own);
        let wanted: BTreeSet<_> =
            friends_of(own, circle.len()).into_iter().map(|place| circle[place].clone()).collect();
        let mut change = Change::default();
        for (name, friend) in &mut self.friends {
            let member = self.members.get(&Place::of(name));
            friend.farewells = if wanted.contains(name) { 0 } else { friend.farewells + 1 };
            let moved = member.is_some_and(|member| member.address != friend.address);
            if member.is_none() || moved || friend.farewells >= FAREWELLS {
                change.part.push(name.clone());
            }
        }
        for name in &change.part {
            self.friends.remove(name);
        }
        for name in wanted {
            if let Some(member) = self.members.get(&Place::of(&name))
                && !self.friends.contains_key(&name)
            {
                let address = member.address.clone();
                let friend = Friend { address: address.clone(), farewells: 0 };
                self.friends.insert(name.clone(), friend);
                change.befriend.push((name, address));
            }
        }
        change
    }
}

/// The friends of the node at `own` in a circle of `count` nodes, by ascending place.
fn friends_of(own: usize, count: usize) -> BTreeSet<usize> {
    if count <= FULL_MESH {
        return (0..count).filter(|place| *place != own).collect();
    }
    let strides = strides(count);
    let places =
        strides.iter().flat_map(|s| [(own + s) % count, (own + count - s % count) % count]);
    places.filter(|place| *place != own).collect()
}

/// Powers of three, as many as it takes for their sum to reach half-way round.
fn strides(count: usize) -> Vec<usize> {
    let mut strides = Vec::new();
    let (mut stride, mut reach) = (1, 0);
    while reach < count / 2 {
        strides.push(stride);
        reach += stride;
        stride *= 3;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> NodeName {
        NodeName::parse(&format!("node-{number}")).unwrap()
    }

    fn named(numbers: impl IntoIterator<Item = usize>) -> Vec<(NodeName, String)> {
        let entry = |number| (name(number), format!("node-{number}.herd:50051"));
        numbers.into_iter().map(entry).collect()
    }

    fn befriended(change: &Change) -> Vec<String> {
        change.befriend.iter().map(|(name, _)| name.to_string()).collect()
    }

    const NO_LINKS: fn(&NodeName) -> bool = |_| false;

    /// Links from node 0 to the farthest of a circle without `dead`; `None` if some are out of reach.
    fn farthest(count: usize, dead: Option<usize>) -> Option<usize> {
        let start = usize::from(dead == Some(0));
        let mut distance = vec![None; count];
        distance[start] = Some(0);
        let mut frontier = vec![start];
        for links in 1.. {
            frontier = frontier.into_iter().flat_map(|node| friends_of(node, count)).collect();
            frontier.retain(|node| distance[*node].is_none() && dead != Some(*node));
            frontier.sort_unstable();
            frontier.dedup();
            if frontier.is_empty() {
                break;
            }
            for node in &frontier {
                distance[*node] = Some(links);
            }
        }
        let alive = (0..count).filter(|node| dead != Some(*node));
        alive.map(|node| distance[node]).max_by_key(|d| d.unwrap_or(usize::MAX)).flatten()
    }

    #[test]
    fn friendship_is_two_way_few_and_near_in_any_circle() {
        for count in 1..=300 {
            let k = strides(count).len();
            let (most, far) =
                if count <= FULL_MESH { (count - 1, usize::from(count > 1)) } else { (2 * k, k) };
            for node in 0..count {
                let friends = friends_of(node, count);
                assert!(friends.len() <= most, "{count}: {friends:?}");
                assert!(!friends.contains(&node));
                assert!(friends.iter().all(|friend| friends_of(*friend, count).contains(&node)));
            }
            // The circle looks the same from everywhere.
            let reached = farthest(count, None);
            assert!(reached.is_some_and(|links| links <= far), "{count}: {reached:?}, not {far}");
        }
    }

    #[test]
    fn no_death_of_one_node_parts_the_rest() {
        for count in 3..=100 {
            for dead in 0..count {
                assert!(farthest(count, Some(dead)).is_some(), "{dead} of {count}");
            }
        }
    }

    #[test]
    fn whoever_is_named_is_befriended_at_once_and_only_once() {
        let mut membership = Membership::new(name(1));
        let (answer, change) = membership.observe(named([0]), NO_LINKS);
        assert_eq!((answer, befriended(&change)), (Answer::Partial, vec!["node-0".to_owned()]));
        let (answer, change) = membership.observe(named([0, 1, 2]), NO_LINKS);
        assert_eq!((answer, befriended(&change)), (Answer::Whole, vec!["node-2".to_owned()]));
        let (_, change) = membership.observe(named([0, 1, 2]), NO_LINKS);
        assert_eq!(change, Change::default());
        assert_eq!(membership.count(), 3);
    }

    #[test]
    fn a_name_is_let_go_after_many_whole_answers_without_it_and_without_a_link() {
        let mut membership = Membership::new(name(0));
        membership.observe(named([0, 1, 2]), NO_LINKS);
        for _ in 0..3 * ABSENCES {
            let (_, change) = membership.observe(named([2]), NO_LINKS);
            assert_eq!(change, Change::default(), "a partial answer is no evidence");
            let linked = |other: &NodeName| *other == name(1);
            let (_, change) = membership.observe(named([0, 2]), linked);
            assert_eq!(change, Change::default(), "a link is better evidence");
        }
        for _ in 1..ABSENCES {
            assert_eq!(membership.observe(named([0, 2]), NO_LINKS).1, Change::default());
        }
        assert_eq!(membership.observe(named([0, 2]), NO_LINKS).1.part, [name(1)]);
        assert_eq!(membership.count(), 2);
        assert_eq!(befriended(&membership.observe(named([0, 1, 2]), NO_LINKS).1), ["node-1"]);
    }

    #[test]
    fn a_friend_at_another_address_is_befriended_anew() {
        let mut membership = Membership::new(name(0));
        membership.observe(named([0, 1]), NO_LINKS);
        let moved = [(name(1), "node-1.herd:4".to_owned())];
        let (_, change) = membership.observe(moved.clone(), NO_LINKS);
        assert_eq!(change, Change { part: vec![name(1)], befriend: moved.to_vec() });
    }

    #[test]
    fn a_friend_with_several_addresses_stays_at_the_one_where_it_was_found() {
        let at = |port: usize| (name(1), format!("node-1.herd:{port}"));
        let mut membership = Membership::new(name(0));
        let (_, change) = membership.observe([at(3), at(2)], NO_LINKS);
        assert_eq!(change.befriend, [at(2)]);
        for answer in [[at(2), at(1)], [at(1), at(2)], [at(2), at(3)]] {
            assert_eq!(membership.observe(answer, NO_LINKS).1, Change::default());
        }
        let (_, change) = membership.observe([at(5), at(4)], NO_LINKS);
        assert_eq!(change, Change { part: vec![name(1)], befriend: vec![at(4)] });
    }

    #[test]
    fn growing_beyond_a_full_mesh_parts_from_old_friends_only_after_a_while() {
        let mut membership = Membership::new(name(0));
        let (_, change) = membership.observe(named(0..FULL_MESH), NO_LINKS);
        assert_eq!(change.befriend.len(), FULL_MESH - 1);
        for _ in 1..FAREWELLS {
            let (_, change) = membership.observe(named(0..=FULL_MESH), NO_LINKS);
            assert_eq!(change.part, []);
        }
        let (_, change) = membership.observe(named(0..=FULL_MESH), NO_LINKS);
        assert_eq!(change.part.len(), FULL_MESH - 6);
    }

    #[test]
    fn an_answer_of_any_size_costs_a_bounded_number_of_members_and_friends() {
        let mut membership = Membership::new(name(0));
        let (_, change) = membership.observe(named(0..5000), NO_LINKS);
        assert_eq!(membership.count(), MAX_MEMBERS);
        assert_eq!(change.befriend.len(), 2 * strides(MAX_MEMBERS).len());
        // And the same ones are known to all.
        let mut other = Membership::new(name(7));
        other.observe(named(0..5000), NO_LINKS);
        assert!(other.members.contains_key(&Place::of(&name(0))));
    }
}
