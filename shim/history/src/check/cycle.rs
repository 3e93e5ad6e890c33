//! Cycles of a directed graph: one shortest for each strongly connected component.
//!
//! Components by Tarjan's algorithm (without recursion: histories have chains of a million reads), in linear time.
//! Then in each component of more than one node: a cycle of two if there is any (a binary search for each arc),
//! else breadth first from each node in turn, up to a budget.

use std::collections::BTreeMap;

/// Arcs that the search for *shorter* cycles may follow in all. The first cycle that was found in a component stands
/// if this runs out (about a second): in a knot of millions of arcs a shortest witness is a luxury.
const ARCS_FOLLOWED_MAX: usize = 20_000_000;

/// From one node to another, for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arc<W> {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: W,
}

/// What a search found.
pub(crate) struct Found<W> {
    /// The strongly connected component of each node.
    pub(crate) component: Vec<u32>,
    /// A shortest cycle for each component that has one, by the smallest node of the component. Each begins where
    /// it ends.
    pub(crate) cycles: Vec<Vec<Arc<W>>>,
}

/// Finds the cycles. No arc leads from a node to itself.
pub(crate) fn search<W: Copy + Ord>(nodes: usize, mut arcs: Vec<Arc<W>>) -> Found<W> {
    arcs.sort_unstable();
    arcs.dedup_by_key(|arc| (arc.from, arc.to));
    let graph = Graph::new(nodes, arcs);
    let component = graph.components();
    let mut size = vec![0_u32; nodes];
    for of_node in &component {
        size[*of_node as usize] += 1;
    }
    let mut knots: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (node, of_node) in (0_u32..).zip(&component) {
        if size[*of_node as usize] > 1 {
            knots.entry(*of_node).or_default().push(node);
        }
    }
    let mut knots: Vec<_> = knots.into_values().collect();
    knots.sort_unstable();
    let mut walk =
        Walk { graph: &graph, component: &component, came: vec![(0, 0); nodes], round: 0, followed: 0 };
    let cycles = knots.iter().filter_map(|knot| walk.shortest(knot)).collect();
    Found { component, cycles }
}

/// A graph with its arcs sorted by origin.
struct Graph<W> {
    arcs: Vec<Arc<W>>,
    /// Where each node's arcs begin; one more entry than nodes.
    start: Vec<usize>,
}

impl<W: Copy> Graph<W> {
    fn new(nodes: usize, arcs: Vec<Arc<W>>) -> Self {
        let mut start = vec![0; nodes + 1];
        for arc in &arcs {
            assert!(arc.from != arc.to, "a transaction never comes before itself by one reason alone");
            start[arc.from as usize + 1] += 1;
        }
        for node in 0..nodes {
            start[node + 1] += start[node];
        }
        Self { arcs, start }
    }

    fn out(&self, node: u32) -> &[Arc<W>] {
        &self.arcs[self.start[node as usize]..self.start[node as usize + 1]]
    }

    /// Tarjan's strongly connected components: the number of each node's.
    fn components(&self) -> Vec<u32> {
        const NONE: u32 = u32::MAX;
        let nodes = self.start.len() - 1;
        let mut component = vec![NONE; nodes];
        let mut met = vec![NONE; nodes];
        let mut low = vec![NONE; nodes];
        let mut stack: Vec<u32> = Vec::new();
        // The path from the root: a node and the next of its arcs to follow.
        let mut path: Vec<(u32, usize)> = Vec::new();
        let (mut met_count, mut component_count) = (0, 0);
        for root in 0..nodes {
            if met[root] != NONE {
                continue;
            }
            path.push((u32::try_from(root).expect("nodes fit 32 bits"), self.start[root]));
            while let Some((node, arc)) = path.last_mut() {
                let at = *node as usize;
                if met[at] == NONE {
                    (met[at], low[at]) = (met_count, met_count);
                    met_count += 1;
                    stack.push(*node);
                }
                if *arc < self.start[at + 1] {
                    let to = self.arcs[*arc].to;
                    *arc += 1;
                    if met[to as usize] == NONE {
                        path.push((to, self.start[to as usize]));
                    } else if component[to as usize] == NONE {
                        low[at] = low[at].min(met[to as usize]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent as usize] = low[*parent as usize].min(low[at]);
                }
                if low[at] == met[at] {
                    while let Some(member) = stack.pop() {
                        component[member as usize] = component_count;
                        if member as usize == at {
                            break;
                        }
                    }
                    component_count += 1;
                }
            }
        }
        component
    }
}

/// Looks for short cycles, one component at a time.
struct Walk<'g, W> {
    graph: &'g Graph<W>,
    component: &'g [u32],
    /// For each node: the round in which it was last met, and the arc by which.
    came: Vec<(u32, usize)>,
    round: u32,
    /// Arcs followed so far.
    followed: usize,
}

impl<W: Copy> Walk<'_, W> {
    /// A shortest cycle among the nodes of one component.
    fn shortest(&mut self, knot: &[u32]) -> Option<Vec<Arc<W>>> {
        if let Some(pair) = knot.iter().find_map(|node| self.pair(*node)) {
            return Some(pair);
        }
        if planted!(LongCyclesMissed) {
            return None;
        }
        let mut best: Option<Vec<Arc<W>>> = None;
        for node in knot {
            // A cycle of three is the shortest that is left.
            let limit = best.as_ref().map_or(usize::MAX, |best| best.len() - 1);
            if limit < 3 || (best.is_some() && self.followed > ARCS_FOLLOWED_MAX) {
                break;
            }
            if let Some(shorter) = self.through(*node, limit) {
                best = Some(shorter);
            }
        }
        best
    }

    /// A cycle of two through a node.
    fn pair(&self, node: u32) -> Option<Vec<Arc<W>>> {
        self.graph.out(node).iter().find_map(|arc| {
            let back = self.graph.out(arc.to);
            let place = back.binary_search_by_key(&node, |arc| arc.to).ok()?;
            Some(vec![*arc, back[place]])
        })
    }

    /// A shortest cycle through a node, of at most `limit` arcs.
    fn through(&mut self, node: u32, limit: usize) -> Option<Vec<Arc<W>>> {
        self.round += 1;
        let mut reached = vec![node];
        for _ in 0..limit {
            let mut next = Vec::new();
            for from in reached {
                let first = self.graph.start[from as usize];
                for (at, arc) in (first..).zip(self.graph.out(from)) {
                    self.followed += 1;
                    if arc.to == node {
                        return Some(self.way_back(node, at));
                    }
                    let to = arc.to as usize;
                    if self.component[to] == self.component[node as usize] && self.came[to].0 != self.round {
                        self.came[to] = (self.round, at);
                        next.push(arc.to);
                    }
                }
            }
            if next.is_empty() {
                return None;
            }
            reached = next;
        }
        None
    }

    /// The arcs by which a node was come back to, the last of them given.
    fn way_back(&self, node: u32, last: usize) -> Vec<Arc<W>> {
        let mut arcs = vec![self.graph.arcs[last]];
        let mut from = self.graph.arcs[last].from;
        while from != node {
            let arc = self.graph.arcs[self.came[from as usize].1];
            from = arc.from;
            arcs.push(arc);
        }
        arcs.reverse();
        arcs
    }
}
