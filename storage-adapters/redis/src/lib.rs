//! A store on Redis, or on a server that speaks its protocol.
//!
//! * [`RedisStore`] – the store; [`OpenError`] – the reasons why it cannot be opened; [`Options`] –
//!   how to open it.
//!
//! # Requests
//! Every call is one request and one round trip, except for calls with more than 1,000 names or 4
//! MiB, which are split. Redis does not charge for requests.
//!
//! | call | requests |
//! |---|---|
//! | `commit`: a record and its entries | 1 script; above 1,000 names or 4 MiB, 1 for each part |
//! | `put`, `create`, `replace`, `delete_if` | 1 script |
//! | `delete` of n names | n / 1,000 scripts, rounded up |
//! | `get` | GET, followed by a GET of the identity |
//! | `list`, `groups`, up to 1,000 names | ZRANGEBYLEX, followed by a GET of the identity |
//! | `scan`, up to 1,000 names | 1 script |
//! | a look at the server | INFO, 2 CONFIG GET, GET, TIME, in one round trip |
//!
//! The first part of a split commit is sent alone, and the others then at the same time. A look is
//! taken on every new connection, and once a minute. Items and indexes change together, in one
//! script. `tests/stores/tests/redis` counts the requests at the server.
//!
//! # Acknowledgements
//! Their meaning depends on the server's configuration, which is read at the opening and reported
//! by [`Capabilities::durability`](aft_store::Capabilities): a write is fsynced only under
//! `appendonly yes` and `appendfsync always`. A replica that takes over has only what it had
//! received. So a failover may lose acknowledged writes under any setting, and a lost record breaks
//! every promise made about it. See decision 0012.
//!
//! The server may change under a running store: `look` describes what is compared with the opening,
//! when, and that calls are rejected while it does not match.
//!
//! # Late writes
//! Requests in the socket buffer of a stopped server are carried out when it resumes, however long
//! that takes and whether or not their sender still waits. So each write carries the latest time at
//! which it may begin, by the server's own clock, and its script does nothing after that
//! (`scripts`, `clock`). A write takes no effect after its deadline
//! ([`Store::until`](aft_store::Store::until); by default a timeout of 15 s, or 45 s for bodies
//! above 64 KiB).
//!
//! That promise does not cover a server whose clock is set back between its last answer and the
//! script, or whose whole machine is frozen together with its clock and resumes before the clock is
//! corrected. Earlier writes then take effect late by the same amount. A sweep that uses the same
//! clock allows for `skew_max` of it. Do not resume such a snapshot; restart the server.
//!
//! # What it is not
//! A client of Redis Cluster or Sentinel, a cache, or a layer that retries: it retries only
//! requests that the server did not run because it did not have the script.

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
mod tls;

pub use error::OpenError;
pub use options::Options;
pub use store::RedisStore;
