//! Stories: each shows one sequence of events, seen from outside of the node.

mod checking;
mod clocks;
mod conditions;
mod damage;
mod entries_first;
mod freshness;
mod line;
mod locking;
#[cfg(feature = "planted-bugs")]
mod planted;
mod prefixes;
mod reading;
mod session_floor;
mod shop;
mod sweeping;
mod unknown;
mod writing;
