//! The search for cycles in a directed graph: one shortest cycle for each strongly connected
//! component.
//!
//! Tarjan's algorithm finds the components in linear time (without recursion, because histories
//! have chains of a million reads). In each component of more than one node, the search looks for a
//! cycle of two (a binary search for each arc), and then breadth first from each node in turn, up
//! to a budget.

use std::collections::BTreeMap;

/// The number of arcs that the search for *shorter* cycles may follow in total (about a second).
/// When it is exhausted, the shortest cycle found so far in a component is reported: a component of
/// millions of arcs does not need a shortest witness.
const ARCS_FOLLOWED_MAX: usize = 20_000_000;

/// An arc from one node to another, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arc<W> {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: W,
}

/// The result of a search.
pub(crate) struct Found<W> {
    /// The strongly connected component of each node.
    pub(crate) component: Vec<u32>,
    /// A shortest cycle for each component that has one, in the order of the smallest node of the
    /// component. Each begins where it ends.
    pub(crate) cycles: Vec<Vec<Arc<W>>>,
}

/// Finds the cycles of a graph. No arc may lead from a node to itself.
pub(crate) fn search<W: Copy + Ord>(nodes: usize, mut arcs: Vec<Arc<W>>) -> Found<W> {
    // Of several arcs between two nodes, keep the one with the preferred (smallest) reason.
    arcs.sort_unstable();
    arcs.dedup_by_key(|arc| (arc.from, arc.to));
    let graph = Graph::new(nodes, arcs);
    let component = graph.components();
    let mut size = vec![0_u32; nodes];
    for of_node in &component {
        size[*of_node as usize] += 1;
    }
    // A component of one node has no cycle, since no arc leads from a node to itself.
    let mut knots: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (node, of_node) in (0_u32..).zip(&component) {
        if size[*of_node as usize] > 1 {
            knots.entry(*of_node).or_default().push(node);
        }
    }
    // Components are numbered in the order of the algorithm: sort them by their smallest node.
    let mut knots: Vec<_> = knots.into_values().collect();
    knots.sort_unstable();
    let mut walk =
        Walk { graph: &graph, component: &component, came: vec![(0, 0); nodes], round: 0, followed: 0 };
    let cycles = knots.iter().filter_map(|knot| walk.shortest(knot)).collect();
    Found { component, cycles }
}

/// A graph with its arcs sorted by their first node.
struct Graph<W> {
    arcs: Vec<Arc<W>>,
    /// The index of each node's first arc; one more entry than there are nodes.
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

    /// Returns the strongly connected component of each node (Tarjan's algorithm).
    fn components(&self) -> Vec<u32> {
        const NONE: u32 = u32::MAX;
        let nodes = self.start.len() - 1;
        let mut component = vec![NONE; nodes];
        // The order in which nodes are met, and the first met node that each can reach back to.
        let mut met = vec![NONE; nodes];
        let mut low = vec![NONE; nodes];
        // The nodes that are met but not yet in a component.
        let mut stack: Vec<u32> = Vec::new();
        // The path from the root, instead of recursion: each node with its next arc to follow.
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
                // All arcs of the node are followed: return to its parent.
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent as usize] = low[*parent as usize].min(low[at]);
                }
                // The node reaches nothing met before it, so it is the first node of a component,
                // and the rest of the component is above it on the stack.
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

/// The state of the search for short cycles, one component at a time.
struct Walk<'g, W> {
    graph: &'g Graph<W>,
    component: &'g [u32],
    /// The round in which each node was last reached, and the arc by which it was reached.
    came: Vec<(u32, usize)>,
    /// The number of the current breadth-first search. It saves clearing `came` for each.
    round: u32,
    /// The number of arcs followed so far.
    followed: usize,
}

impl<W: Copy> Walk<'_, W> {
    /// Returns a shortest cycle among the nodes of one component.
    fn shortest(&mut self, knot: &[u32]) -> Option<Vec<Arc<W>>> {
        if let Some(pair) = knot.iter().find_map(|node| self.pair(*node)) {
            return Some(pair);
        }
        if planted!(LongCyclesMissed) {
            return None;
        }
        let mut best: Option<Vec<Arc<W>>> = None;
        for node in knot {
            // There is no cycle of two, so nothing is shorter than three.
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

    /// Returns a cycle of two through a node, if there is one.
    fn pair(&self, node: u32) -> Option<Vec<Arc<W>>> {
        self.graph.out(node).iter().find_map(|arc| {
            let back = self.graph.out(arc.to);
            let place = back.binary_search_by_key(&node, |arc| arc.to).ok()?;
            Some(vec![*arc, back[place]])
        })
    }

    /// Returns a shortest cycle through a node, if there is one of at most `limit` arcs.
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

    /// Returns the arcs of the cycle through `node` that ends with the arc at `last`.
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
