//! Who is whose friend.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How many nodes, and which of them are friends.
pub(crate) type Graph<'a> = (usize, &'a [(usize, usize)]);

/// The seed's friendships: Bailey, Bona, Campbell, Clark, Jaquez.
pub(crate) const SEED_GRAPH: Graph<'_> = (5, &[(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)]);

/// Friends that each node of a random graph has, where there are as many others.
const DEGREES: std::ops::RangeInclusive<usize> = 3..=6;

/// Random friendships by which all nodes are connected. Most nodes have three to six friends.
pub(crate) fn random_graph(seed: u64, nodes: usize) -> Vec<(usize, usize)> {
    let mut rng = StdRng::seed_from_u64(seed);
    // Each joins one of those before it, so that nobody is alone.
    let mut edges: Vec<_> = (1..nodes).map(|node| (rng.random_range(0..node), node)).collect();
    for node in 0..nodes {
        let degree = rng.random_range(DEGREES).min(nodes - 1);
        for _ in 0..4 * degree {
            let friends = edges.iter().filter(|(a, b)| *a == node || *b == node).count();
            if friends >= degree {
                break;
            }
            let other = rng.random_range(0..nodes);
            let edge = (node.min(other), node.max(other));
            if node != other && !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

#[test]
fn random_graphs_are_connected_and_of_few_friends() {
    for seed in 0..20 {
        let nodes = 3 + seed as usize * 5;
        let edges = random_graph(seed, nodes);
        let mut reached = vec![0];
        let mut next = 0;
        while let Some(&node) = reached.get(next) {
            next += 1;
            for &(a, b) in &edges {
                for (from, to) in [(a, b), (b, a)] {
                    if from == node && !reached.contains(&to) {
                        reached.push(to);
                    }
                }
            }
        }
        assert_eq!(reached.len(), nodes);
        assert!(edges.len() <= nodes * DEGREES.end(), "{} edges", edges.len());
    }
}
