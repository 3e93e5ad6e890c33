//! A store on Amazon DynamoDB, or on a server that speaks its protocol: one table, on-demand.
//!
//! * [`DynamoDbStore`] – the store; [`OpenError`] – why it cannot be opened; [`Options`], [`Prices`], [`Keys`] – how to open it; [`Consumed`] – what it took.
//!
//! # Requests and cost
//! DynamoDB charges by units: a write unit for each KB written or deleted, a read unit for each 4 KB read, at least one a request. At the list prices of
//! on-demand tables, in US dollars a million:
//!
//! | what | requests | units, where records are small | $ per million |
//! |---|---|---|---|
//! | commit, acknowledged | PutItem record (if absent) and PutItem intent, at the same time: one round trip, whatever the number of keys | 2 write | 1.25 |
//! | its versions entered, later | PutItem for each key, together where more than four puts are under way (`puts`) | 1 write a key | 0.625 a key |
//! | a read from the node's memory | none | 0 | 0 |
//! | a cold read | Query of the key's versions, GetItem of the newest one's record | 2 read | 0.25 |
//! | `commit` of a record and n entries | PutItem record, and BatchWriteItem for each 25 entries, at the same time | n + 1 write | 0.625 (n + 1) |
//! | `scan` of n entries that have small records as their bodies | Query of each of 8 partitions for some 1,000 names | n / 14 read | 0.009 n |
//! | a large value | PutItem for each 256 KiB; GetItem for each | 257 write; 65 read | 161; 8.1 |
//! | collected, much later | GetItems, Queries and PutItems shared by a batch; deletions in batches of 25 | 1 write each | ≈ 3 |
//!
//! A record of n KB takes n write units, and again when it is replaced by its slim form. `tests/stores/tests/dynamodb/requests.rs` counts all but the last two on the wire, and
//! holds them against the units that the server tells.
//!
//! # What an acknowledgement means
//! What DynamoDB means by it: written in two places at least. All reads and queries are strongly consistent. A global table whose replicas are only eventually
//! consistent must be written in one region alone.
//!
//! # What bounds it
//! A space has eight partitions of a thousand write units a second each, before DynamoDB splits those whose keys are no time. An item has 400 KB:
//! so a body has 400,000 bytes, larger values go into parts, and what one transaction keeps inline is bounded by its node.
//!
//! # What it is not
//! A repeater of requests: it repeats only deletions of which the server says that it did not carry them out.

mod commit;
mod error;
mod failure;
mod layout;
mod link;
mod listing;
mod location;
mod meter;
mod open;
mod options;
mod puts;
mod scan;
mod store;
mod transaction;

pub use aft_store_aws::Keys;
pub use error::OpenError;
pub use meter::{Consumed, Prices};
pub use open::Prepared;
pub use options::Options;
pub use store::DynamoDbStore;
