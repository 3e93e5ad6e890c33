//! The operations of a call, with the memory that they take.

use aft_access::Load;
use aft_core::ids::Key;
use aft_core::message::Op;

/// The operations of one call. Their keys come from a [`Caller`](crate::Caller), which has checked
/// them. Values of any size are inline: the node decides where to store them.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    ops: Vec<Op>,
    has_reads: bool,
}

impl Plan {
    /// Makes a plan with one operation.
    pub fn of(op: Op) -> Plan {
        [op].into_iter().collect()
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) {
        self.has_reads |= matches!(op, Op::Get(_));
        self.ops.push(op);
    }

    /// Returns true if there is a get.
    pub fn has_reads(&self) -> bool {
        self.has_reads
    }

    /// Returns the first key that the operations touch.
    pub fn first_key(&self) -> Option<&Key> {
        self.ops.iter().find_map(Op::key)
    }

    /// Returns the memory that the operations take in their transaction.
    pub(crate) fn load(&self) -> Load {
        let mut load = Load::default();
        for op in &self.ops {
            match op {
                Op::Get(key) | Op::Delete(key) | Op::Check(key, _) | Op::Add(key, _) => {
                    load.add(key.as_str().len(), 0);
                }
                Op::Put(key, value) => load.add(key.as_str().len(), value.inline_bytes()),
                Op::Result(_) | Op::Fingerprint(_) => {}
            }
        }
        load
    }

    pub(crate) fn into_ops(self) -> Vec<Op> {
        self.ops
    }
}

impl Extend<Op> for Plan {
    fn extend<I: IntoIterator<Item = Op>>(&mut self, ops: I) {
        ops.into_iter().for_each(|op| self.push(op));
    }
}

impl FromIterator<Op> for Plan {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Plan {
        let mut plan = Plan::default();
        plan.extend(ops);
        plan
    }
}
