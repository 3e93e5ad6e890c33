//! The parts of a simulator that know no core: a driver puts them together around the state
//! machine that it tests.
//!
//! One thread, no I/O, no real clock: a run is a function of its seed. This crate never owns the
//! world. The driver's world owns all state, and holds parts of this crate as fields; so the driver
//! decides what identifies a state, and its judges read everything.
//!
//! * [`process`] is a process that lives, pauses and ends;
//! * [`clocks`] turns true time into what a host reads, with drift, offsets and pauses;
//! * [`flights`] keeps the calls to servers that are under way, or land late; [`fate`] draws what
//!   happens to each;
//! * [`net`] keeps the messages between processes, and draws when each arrives;
//! * [`random`] gives the streams of random numbers of a seed, [`calendar`] orders planned events;
//! * [`run`] runs a seed, [`command`] many of them, and [`trace`] keeps the story of a run;
//! * [`shrink`] makes the plan of a run smaller while it breaks the same rule;
//! * [`search`] visits every order of events of a small world;
//! * [`verdict`] has broken promises, and turns panics into them.

pub mod calendar;
pub mod clocks;
pub mod command;
mod digest;
pub mod fate;
pub mod flights;
pub mod net;
pub mod process;
pub mod random;
pub mod run;
pub mod search;
pub mod shrink;
pub mod trace;
pub mod verdict;
