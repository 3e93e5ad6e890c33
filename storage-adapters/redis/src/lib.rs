//! A store on Redis, or on a server that speaks its protocol.
//!
//! * [`RedisStore`] – the store; [`OpenError`] – why it cannot be opened; [`Options`] – how to open
//!   it.
//!
//! # Requests
//! Every call is one request and one round trip, but for what has more than 1,000 names or 4 MiB,
//! which is cut. Redis charges for none.
//!
//! | call | requests |
//! |---|---|
//! | `commit`: a record and its entries | 1 script; beyond 1,000 names or 4 MiB 1 for each part, the first one alone, the others at once |
//! | `put`, `create`, `replace`, `delete_if` | 1 script |
//! | `delete` of n names | n / 1,000 scripts, rounded up |
//! | `get` | GET, with a GET of the identity behind it |
//! | `list`, `groups`, up to 1,000 names | ZRANGEBYLEX, with a GET of the identity behind it |
//! | `scan`, up to 1,000 names | 1 script |
//! | a look: on every new connection, and once a minute | INFO, 2 CONFIG GET, GET, TIME, in one round trip |
//!
//! Items and indexes change together, in one script. `tests/stores/tests/redis` counts at the
//! server.
//!
//! # Acknowledgements
//! They mean what the server is configured for, which is read at the opening and said by
//! [`Capabilities::durability`](aft_store::Capabilities): fsynced only under `appendonly yes` and
//! `appendfsync always`. A replica that takes over has what it had received: a failover may lose
//! acknowledged writes under any setting, and a record that is lost so breaks every promise made
//! about it. Decision 0012 says more.
//!
//! The server may change under a running store: `look` says what is compared with the opening,
//! when, and that calls are refused where it does not fit.
//!
//! # Late writes
//! Bytes in the socket of a server that is stopped are carried out when it goes on, however long
//! that is and whether or not their sender still waits. So each write carries the last moment at
//! which it may begin, by the server's own clock, and its script does nothing after that
//! (`scripts`, `clock`). After its deadline ([`Store::until`](aft_store::Store::until); else a
//! time-out of 15 s, 45 s for bodies beyond 64 KiB) a write takes no effect.
//!
//! Beyond that promise: a server whose clock is set back between its last answer and the script, or
//! whose whole machine is frozen with its clock and goes on before the clock is right. What was
//! sent before then takes effect late by as much. A sweep that goes by the same clock allows
//! for `skew_max` of it. Do not resume such a snapshot; start the server afresh.
//!
//! # What it is not
//! A client of Redis Cluster or Sentinel, a cache, or a repeater of requests: it repeats only what
//! the server says it did not run for want of the script.

mod clock;
mod commit;
mod error;
mod failure;
mod layout;
mod link;
mod location;
mod look;
mod meter;
mod open;
mod options;
mod scan;
mod scripts;
mod store;
mod times;

pub use error::OpenError;
pub use options::Options;
pub use store::RedisStore;
