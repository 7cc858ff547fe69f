//! Herds that DNS names, badly: each node hears its own answers, late, partial or not at all,
//! while nodes come and go.

use std::collections::{BTreeMap, BTreeSet};

use herd_node::herd::membership::Membership;
use herd_proto::NodeName;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const SEEDS: u64 = 20;

/// Rounds of bad answers, and of good ones after them: enough for absences and farewells.
const BAD: u32 = 60;
const GOOD: u32 = 30;

#[derive(Default)]
struct World {
    /// Who runs, and what each has made of the answers so far.
    nodes: BTreeMap<usize, (Membership, BTreeSet<NodeName>)>,
    next: usize,
}

fn name(number: usize) -> NodeName {
    NodeName::parse(&format!("node-{number}")).unwrap()
}

fn number(name: &NodeName) -> usize {
    name.as_str().rsplit('-').next().unwrap().parse().unwrap()
}

impl World {
    fn scale_up(&mut self, by: usize) {
        for number in self.next..self.next + by {
            let node = (Membership::new(name(number)), BTreeSet::new());
            self.nodes.insert(number, node);
        }
        self.next += by;
    }

    /// As a StatefulSet does: the last ones go.
    fn scale_down(&mut self, by: usize) {
        for _ in 0..by.min(self.nodes.len().saturating_sub(1)) {
            self.nodes.pop_last();
            self.next -= 1;
        }
    }

    /// Whether the two have a stream: one of them dials, and both run.
    fn linked(&self, one: usize, other: &NodeName) -> bool {
        let befriends = |node: usize, other: &NodeName| self.nodes[&node].1.contains(other);
        let other_number = number(other);
        self.nodes.contains_key(&other_number)
            && (befriends(one, other) || befriends(other_number, &name(one)))
    }

    fn answer(&mut self, node: usize, named: &[usize]) {
        let others = self.nodes.keys().copied().map(name);
        let linked: BTreeSet<_> = others.filter(|other| self.linked(node, other)).collect();
        let (membership, friends) = self.nodes.get_mut(&node).unwrap();
        let named = named.iter().map(|number| (name(*number), format!("{number}:1")));
        let (_, change) = membership.observe(named, |other| linked.contains(other));
        for friend in &change.part {
            assert!(friends.remove(friend), "{friend} was no friend");
        }
        for (friend, _) in change.befriend {
            assert!(friends.insert(friend.clone()), "{friend} was a friend already");
        }
    }

    fn is_connected(&self) -> bool {
        let numbers: Vec<_> = self.nodes.keys().copied().collect();
        let mut reached = BTreeSet::from([numbers[0]]);
        let mut frontier = vec![numbers[0]];
        while let Some(node) = frontier.pop() {
            let near = numbers.iter().filter(|other| self.linked(node, &name(**other)));
            frontier.extend(near.filter(|other| reached.insert(**other)));
        }
        reached.len() == numbers.len()
    }
}

#[test]
fn whatever_dns_said_before_good_answers_link_all_and_nobody_else() {
    let (mut partial, mut grown, mut shrunk) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::default();
        world.scale_up(rng.random_range(1..30));
        for _ in 0..BAD {
            match rng.random_range(0..20) {
                0 => {
                    world.scale_up(rng.random_range(1..6));
                    grown += 1;
                }
                1 => {
                    world.scale_down(rng.random_range(1..6));
                    shrunk += 1;
                }
                _ => {}
            }
            let truth: Vec<_> = world.nodes.keys().copied().collect();
            for node in truth.clone() {
                let heard: Vec<_> = match rng.random_range(0..4) {
                    0 => continue,
                    1 => truth.iter().copied().filter(|_| rng.random()).collect(),
                    // Of some time ago: those who left are still named, the last to come are not.
                    2 => (0..rng.random_range(1..world.next + 6)).collect(),
                    _ => truth.clone(),
                };
                partial += u32::from(heard != truth);
                if !heard.is_empty() {
                    world.answer(node, &heard);
                }
            }
        }
        let truth: Vec<_> = world.nodes.keys().copied().collect();
        for _ in 0..GOOD {
            for node in &truth {
                world.answer(*node, &truth);
            }
        }
        assert!(world.is_connected(), "seed {seed}");
        let alive: BTreeSet<_> = truth.iter().copied().map(name).collect();
        for (node, (membership, friends)) in &world.nodes {
            assert_eq!(membership.count(), truth.len(), "seed {seed}, node {node}");
            assert!(friends.is_subset(&alive), "seed {seed}, node {node}: {friends:?}");
            for friend in friends {
                let (_, theirs) = &world.nodes[&number(friend)];
                assert!(theirs.contains(&name(*node)), "seed {seed}: {node} and {friend}");
            }
        }
    }
    assert!(partial > 100 && grown > 10 && shrunk > 10, "{partial} {grown} {shrunk}");
}
