//! A store on Redis, or on a server that speaks its protocol.
//!
//! * [`RedisStore`] – the store; [`OpenError`] – why it cannot be opened; [`Options`] – how to open it.
//!
//! # Requests
//! Every call is one request and one round trip; Redis charges for none. A deletion of more than 1,000 names is one request for each thousand.
//!
//! | what | requests |
//! |---|---|
//! | commit, acknowledged | create record and put intent, at the same time: one round trip, whatever the number of keys |
//! | its versions entered, later | a put for each key |
//! | a read from the node's memory | none |
//! | a cold read | ZRANGEBYLEX of the key's versions, GET of the newest one's record |
//! | a large value | a put for each MiB; GET for each |
//! | collected, much later | reads and writes shared by a batch; deletions in batches |
//!
//! Every write is one EVALSHA: item and index change together. `tests/stores/tests/redis.rs` counts the first four at the server.
//!
//! # What an acknowledgement means
//! What the server is configured for, which is read at the opening and told by [`Capabilities::durability`](aft_store::Capabilities): fsynced only
//! under `appendonly yes` and `appendfsync always`. A replica that takes over has what it had received: a failover may lose acknowledged writes under any
//! setting, and a record that is lost so breaks every promise made about it. Decision 0012 says more.
//!
//! # How late a write may take effect
//! Bytes in the socket of a server that is stopped are carried out when it goes on, however long that is and whether or not their sender still waits. So each
//! write carries the last moment at which it may begin, by the server's own clock, and its script does nothing after that (`scripts`).
//!
//! # What it is not
//! A client of Redis Cluster or Sentinel, a cache, or a repeater of requests: it repeats only what the server says it did not run for want of
//! the script.

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
