//! What each transaction does: a function of the seed and of the transaction's number, whoever runs it and whenever.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::standard::Workload;
use crate::zipf::Zipf;

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In order; each runs after the one before.
    pub(crate) functions: Vec<Function>,
    /// Every key that is written, ascending, each once.
    pub(crate) write_set: Vec<u32>,
}

/// One function: its writes, then its reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Function {
    /// Keys, in order.
    pub(crate) writes: Vec<u32>,
    /// Keys, in order.
    pub(crate) reads: Vec<u32>,
}

/// Makes plans.
#[derive(Debug)]
pub(crate) struct Planner {
    workload: Workload,
    zipf: Zipf,
    seed: u64,
}

/// Keys in one transaction of the preparation: with values of 4 KiB half of what a write buffer takes.
const PREPARE_BYTES_MAX: usize = 512 * 1024;

impl Planner {
    pub(crate) fn new(workload: Workload, seed: u64) -> Planner {
        let zipf = Zipf::new(workload.keys, workload.zipf);
        Planner { workload, zipf, seed }
    }

    /// The transaction of a number.
    pub(crate) fn plan(&self, number: u64) -> Plan {
        // Neighbouring seeds give unrelated sequences: `seed_from_u64` mixes.
        let mut random = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut keys = |count| (0..count).map(|_| self.zipf.draw(&mut random)).collect::<Vec<_>>();
        let functions = (0..self.workload.functions)
            .map(|_| Function { writes: keys(self.workload.writes), reads: keys(self.workload.reads) })
            .collect();
        Plan::new(functions)
    }

    /// Transactions that write every key once.
    pub(crate) fn preparation(&self) -> impl Iterator<Item = Plan> {
        let keys = u32::try_from(self.workload.keys).expect("options bound the keys");
        let at_once = PREPARE_BYTES_MAX / self.workload.value_bytes.max(1);
        let at_once = u32::try_from(at_once.clamp(1, 100)).expect("at most a hundred");
        (0..keys.div_ceil(at_once)).map(move |nth| {
            let first = nth * at_once;
            let last = first.saturating_add(at_once).min(keys);
            Plan::new(vec![Function { writes: (first..last).collect(), reads: Vec::new() }])
        })
    }
}

impl Plan {
    fn new(functions: Vec<Function>) -> Plan {
        let mut write_set: Vec<u32> =
            functions.iter().flat_map(|function| function.writes.iter().copied()).collect();
        write_set.sort_unstable();
        write_set.dedup();
        Plan { functions, write_set }
    }
}

/// A key's name.
pub(crate) fn key_name(key: u32) -> String {
    format!("bench/{key:08}")
}

#[cfg(test)]
mod tests {
    use super::Planner;
    use crate::standard::Workload;

    #[test]
    fn the_standard_shape() {
        let planner = Planner::new(Workload::default(), 1);
        let plan = planner.plan(17);
        assert_eq!(plan.functions.len(), 2);
        assert!(
            plan.functions.iter().all(|function| function.writes.len() == 1 && function.reads.len() == 2)
        );
        assert_eq!(plan, Planner::new(Workload::default(), 1).plan(17));
        assert_ne!(plan, Planner::new(Workload::default(), 2).plan(17));
        assert_ne!(plan, planner.plan(18));
    }

    #[test]
    fn the_preparation_writes_every_key_once() {
        let workload = Workload { keys: 1_234, ..Workload::default() };
        let planner = Planner::new(workload, 1);
        let keys: Vec<u32> = planner.preparation().flat_map(|plan| plan.write_set).collect();
        assert_eq!(keys, (0..1_234).collect::<Vec<_>>());
    }
}
