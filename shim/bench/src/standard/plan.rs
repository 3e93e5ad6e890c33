//! The operations of each transaction: a function of the seed and the transaction's number alone.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::standard::{Prepare, Workload};
use crate::zipf::Zipf;

/// The operations of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The functions, in order; each runs after the one before.
    pub(crate) functions: Vec<Function>,
    /// The keys that are written, ascending, each once.
    pub(crate) write_set: Vec<u32>,
}

/// A function: its writes, then its reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Function {
    /// The keys to write, in order.
    pub(crate) writes: Vec<u32>,
    /// The keys to read, in order.
    pub(crate) reads: Vec<u32>,
}

/// A generator of plans.
#[derive(Debug)]
pub(crate) struct Planner {
    workload: Workload,
    zipf: Zipf,
    seed: u64,
}

/// The maximum number of bytes of values in one transaction of the preparation: less than any store
/// keeps in one record, so that values are stored inside the record.
const PREPARE_BYTES_MAX: usize = 128 * 1024;

impl Planner {
    pub(crate) fn new(workload: Workload, seed: u64) -> Planner {
        let zipf = Zipf::new(workload.keys, workload.zipf);
        Planner { workload, zipf, seed }
    }

    /// Returns the plan of the transaction with this number.
    pub(crate) fn plan(&self, number: u64) -> Plan {
        // `seed_from_u64` mixes the bits, so neighbouring numbers give unrelated sequences.
        let mut random = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut keys = |count| (0..count).map(|_| self.zipf.draw(&mut random)).collect::<Vec<_>>();
        let functions = (0..self.workload.functions)
            .map(|_| Function { writes: keys(self.workload.writes), reads: keys(self.workload.reads) })
            .collect();
        Plan::new(functions)
    }

    /// Returns transactions that write or read every key once.
    pub(crate) fn preparation(&self, how: Prepare) -> Vec<Plan> {
        let keys = u32::try_from(self.workload.keys).expect("options bound the keys");
        let at_once = PREPARE_BYTES_MAX / self.workload.value_bytes.max(1);
        let at_once = u32::try_from(at_once.clamp(1, 100)).expect("at most a hundred");
        let plan = |nth: u32| {
            let first = nth * at_once;
            let some = (first..first.saturating_add(at_once).min(keys)).collect();
            Plan::new(vec![match how {
                Prepare::Read => Function { reads: some, writes: Vec::new() },
                Prepare::Write | Prepare::Nothing => Function { writes: some, reads: Vec::new() },
            }])
        };
        match how {
            Prepare::Nothing => Vec::new(),
            Prepare::Write | Prepare::Read => (0..keys.div_ceil(at_once)).map(plan).collect(),
        }
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

/// Returns a key's name.
pub(crate) fn key_name(key: u32) -> String {
    format!("bench/{key:08}")
}

#[cfg(test)]
mod tests {
    use super::Planner;
    use crate::standard::{Prepare, Workload};

    #[test]
    fn a_plan_has_the_standard_shape_and_depends_on_seed_and_number() {
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
        let written = planner.preparation(Prepare::Write).into_iter().flat_map(|plan| plan.write_set);
        assert_eq!(written.collect::<Vec<_>>(), (0..1_234).collect::<Vec<_>>());
        let read = planner.preparation(Prepare::Read).into_iter().flat_map(|plan| plan.functions);
        let read = read.inspect(|function| assert!(function.writes.is_empty()));
        assert_eq!(
            read.flat_map(|function| function.reads).collect::<Vec<_>>(),
            (0..1_234).collect::<Vec<_>>()
        );
        assert!(planner.preparation(Prepare::Nothing).is_empty());
    }
}
