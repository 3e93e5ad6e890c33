//! The simulator: a driver for aft-core with time, faults and a store of its own.
//!
//! One thread, no I/O, no real clock: a run is a function of its seed. Two schedulers drive one [`world`]:
//!
//! * [`simulate()`] draws interleavings and faults from a seed, heals, and demands;
//! * [`explore`] enumerates every interleaving of a small world, and every crash between two outputs.
//!
//! Code map: [`model`] the store · [`clocks`] true time and what shows of it · [`script`] what clients are to do, [`attempt`] how far each has
//! come · [`world`] all that there is, of which [`hosts`] and store calls under way ([`flights`]) · `client` sends verbs, `replies` judges replies · [`trace`] the story · [`audit`] judges every effect on the store, `locks` those of checked keys · `serial` judges their order ·
//! `oracle` judges every read · [`reference`] what a perfect shim would hold · [`past`] the history checker's opinion · [`demand`] what must be so after
//! healing · [`draw`] what a seed means · [`random`] the streams.

pub mod attempt;
pub mod audit;
mod client;
pub mod clocks;
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
pub mod random;
pub mod reference;
mod replies;
pub mod scenario;
pub mod script;
mod serial;
mod simulate;
pub mod trace;
pub mod world;

pub use audit::Violation;
pub use simulate::{Options, Outcome, simulate};
