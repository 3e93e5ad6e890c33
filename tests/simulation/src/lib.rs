//! The simulator: drives aft-core with simulated time, faults and a model of the store.
//!
//! One thread, no I/O, no real clock: a run is a function of its seed. Two schedulers drive one
//! [`world`]:
//!
//! * [`simulate()`] draws interleavings and faults from a seed, then heals the world and checks
//!   that it recovered;
//! * [`explore`] enumerates every interleaving of a small world, and every crash between two
//!   outputs.
//!
//! Code map, in the order in which a run passes through it:
//!
//! * setting up: [`draw`] turns a seed into a plan, [`scenario`] builds the small worlds;
//! * state: [`world`] holds everything, with the [`hosts`], the store ([`model`]) and its
//!   [`store_clock`], and what is the shim's own of the store calls in flight ([`flights`]);
//! * clients: [`script`] has their programs, [`attempt`] the progress of each, `client` sends
//!   verbs;
//! * judging: [`audit`] judges every effect on the store, `locks` those of checked keys, `serial`
//!   the order of serializable transactions, `conditional` conditions and sums, `replies` every
//!   reply, `oracle` every read;
//! * at the end: [`demand`] checks what must hold after healing, against [`reference`] (the
//!   contents of a perfect shim), and [`past`] asks the history checker for a second opinion.
//!
//! The parts that know no core are in `aft-sim`: random streams, the calendar of events, calls and
//! messages in flight and their fates, processes and their clocks, the search, traces, verdicts,
//! and the command line.

pub mod attempt;
pub mod audit;
mod client;
mod conditional;
pub mod demand;
pub mod draw;
pub mod explore;
pub mod flights;
pub mod hosts;
mod locks;
pub mod model;
mod oracle;
pub mod past;
pub mod reference;
mod replies;
pub mod scenario;
pub mod script;
mod serial;
mod simulate;
pub mod store_clock;
pub mod world;

pub use aft_sim::run::Outcome;
pub use aft_sim::verdict::Violation;
pub use simulate::{Options, Shim, simulate};
