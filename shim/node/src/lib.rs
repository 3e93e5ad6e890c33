//! The driver: one event loop that owns the state machine, and everything that the state machine
//! must not touch.
//!
//! ```text
//!  NodeHandle::run ──► bounded queue ──► event loop ──► Node::step ──► replies, calls, notes
//!                                            ▲                              │
//!                                            └── answers ◄── value cache ◄──┴──► Store
//! ```
//!
//! * [`start`], [`start_described`], [`NodeHandle`] (`handle`) – a running node, and how the doors
//!   talk to it.
//! * [`open_store`], [`Opened`], [`change_times`] (`opening`) – reading a store's description of
//!   itself, and creating it where the store is empty.
//! * [`init_split`] (`claiming`) – making a store whose parts of large values lie in another one.
//! * [`fresh_begin`], [`fresh_attempt`] (`clock`) – the arguments that open a transaction.
//! * [`NodeSettings`], [`StoreTimeouts`] (`settings`) – the driver's own bounds, each with its
//!   reason.
//! * [`NodeHandle::commit`], [`NodeHandle::list`] … (`verbs`) – one typed method for each verb.
//! * [`NodeHandle::begin`], [`NodeHandle::run`] (`batches`), [`NodeHandle::read_value`] (`values`)
//!   – batches with values of any size: values that do not fit into the commit record are stored in
//!   parts, without passing through the event loop.
//! * [`NodeHandle::upload`], [`Upload`] (`upload`), [`NodeHandle::read_part`] – large values,
//!   written and read part by part.
//! * [`NodeHandle::store_trouble`] (`health`) – whether the store answers and takes writes, logged
//!   when it begins to fail and when it is well again.
//! * [`Stats`] (`stats`), `meters` – counts of a node's work, for figures and for Prometheus.
//! * `event_loop`, `waiters`, `calls`, `cache`, `clock`, `heard` – the loop and its helpers.
//!
//! The loop is a task of the runtime on which [`start`] is called. [`start_several`] runs several
//! loops in one process, behind one handle: each has its own state and its share of the bounds, a
//! transaction is pinned to one of them, and they notify each other of their commits.
//!
//! This crate takes no protocol decisions (aft-core does), knows no format (aft-format does), and
//! does not retry the core's store calls (the core repeats them itself).

mod batches;
mod cache;
mod calls;
mod claiming;
mod clock;
mod event_loop;
mod handle;
mod health;
mod heard;
mod meters;
mod opening;
mod reports;
mod settings;
mod stats;
mod upload;
mod values;
mod verbs;
mod waiters;

pub use claiming::init_split;
pub use clock::{fresh_attempt, fresh_begin};
pub use handle::{Drained, NodeHandle, StartError, State, start, start_described, start_several};
pub use opening::{NewStore, Opened, change_levels, change_times, open_store, read_description};
pub use settings::{NodeSettings, StoreTimeouts};
pub use stats::{CallKind, Stats};
pub use upload::{UPLOAD_PARTS_HELD, Upload};
pub use values::PARTS_BYTES_AT_ONCE;
pub use verbs::{Begun, Ended, Page, Ran};
