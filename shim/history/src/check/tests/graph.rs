//! Comparison of the search for cycles with plain reachability, on small random graphs.

use proptest::prelude::*;

use super::runner;
use crate::check::cycle::{Arc, search};

const NODES: u32 = 8;

/// Returns the length of the shortest non-empty walk from each node to each node.
fn distances(arcs: &[Arc<()>]) -> Vec<Vec<Option<usize>>> {
    let nodes = NODES as usize;
    let mut distance = vec![vec![None; nodes]; nodes];
    for arc in arcs {
        distance[arc.from as usize][arc.to as usize] = Some(1);
    }
    for through in 0..nodes {
        for from in 0..nodes {
            for to in 0..nodes {
                let detour = distance[from][through].zip(distance[through][to]).map(|(a, b)| a + b);
                distance[from][to] = [distance[from][to], detour].into_iter().flatten().min();
            }
        }
    }
    distance
}

#[test]
fn each_component_has_one_shortest_cycle() {
    let arc = (0..NODES, 0..NODES).prop_filter("no arc to itself", |(from, to)| from != to);
    let arc = arc.prop_map(|(from, to)| Arc { from, to, why: () });
    let result = runner(20_000).run(&prop::collection::vec(arc, 0..16), |arcs| {
        let distance = distances(&arcs);
        let found = search(NODES as usize, arcs.clone());
        let mut knots = Vec::new();
        for (node, from_node) in distance.iter().enumerate() {
            // The strongly connected component of the node: all nodes that it reaches and that
            // reach it.
            let both_ways = |other: &usize| from_node[*other].is_some() && distance[*other][node].is_some();
            let knot: Vec<_> = (0..NODES as usize).filter(both_ways).collect();
            for other in 0..NODES as usize {
                let same = found.component[node] == found.component[other];
                prop_assert_eq!(same, node == other || knot.contains(&other));
            }
            if knot.first() == Some(&node) {
                knots.push(knot);
            }
        }
        prop_assert_eq!(found.cycles.len(), knots.len());
        for (cycle, knot) in found.cycles.iter().zip(&knots) {
            let shortest = knot.iter().filter_map(|node| distance[*node][*node]).min();
            prop_assert_eq!(Some(cycle.len()), shortest);
            for (arc, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                prop_assert!(arcs.contains(arc) && knot.contains(&(arc.from as usize)));
                prop_assert_eq!(arc.to, next.from);
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
