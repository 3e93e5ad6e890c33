//! A store on Amazon DynamoDB, or on a server that speaks its protocol: one table, on-demand.
//!
//! * [`DynamoDbStore`] – the store; [`OpenError`] – why it cannot be opened; [`Options`],
//!   [`Prices`], [`Keys`] – how to open it; [`Consumed`] – what it took.
//!
//! # Requests and cost
//! DynamoDB charges by units: a write unit for each KB written or deleted, a read unit for each 4
//! KB read, at least one a request. At the list prices of on-demand tables, in US dollars a
//! million:
//!
//! | what | requests | units, where records are small | $ per million |
//! |---|---|---|---|
//! | a transaction of n keys | PutItem record (if absent), and BatchWriteItem for each 25 entries (PutItem for one), at the same time: one round trip | n + 1 write | 0.625 (n + 1) |
//! | a transaction of one key without a request ID | PutItem of the entry, which is the commit | 1 write | 0.625 |
//! | a request ID | GetItem of the record, at the begin | 1 read | 0.125 |
//! | written keys looked at first, while the store's time is known too coarsely (protocol, section 9) | Query for each key | 1 read a key | 0.125 a key |
//! | a read from the node's memory | none | 0 | 0 |
//! | a cold read | Query of the key's versions, GetItem of the newest one's record | 2 read | 0.25 |
//! | a fresh read, or one after ten seconds | Query of the key's versions | 1 read | 0.125 |
//! | a node's start | GetItem of the description, and of the mark beside the first request | 2 read | 0.25 |
//! | `scan` of n entries that have small records as their bodies | Query of each of 8 partitions for some 1,000 names | n / 14 read | 0.009 n |
//! | a large value | PutItem for each 256 KiB; GetItem for each | 257 write; 65 read | 161; 8.1 |
//! | collected, much later | GetItem of the record; Queries shared by a sweep; deletions in batches of 25 | 1 read; n + 1 write | ≈ 0.125 + 0.625 (n + 1) |
//!
//! A record of n KB takes n write units. `tests/stores/tests/dynamodb/requests.rs` counts all but
//! the last two on the wire, and holds them against the units that the server tells.
//!
//! # What an acknowledgement means
//! What DynamoDB means by it: written in two places at least. All reads and queries are strongly
//! consistent. A global table whose replicas are only eventually consistent must be written in one
//! region alone.
//!
//! # What bounds it
//! A space has eight partitions of a thousand write units a second each, before DynamoDB splits
//! those whose keys are no time. An item has 400 KB: so a body has 400,000 bytes, larger values go
//! into parts, and what one transaction keeps inline is bounded by its node.
//!
//! # What it is not
//! A repeater of requests: it repeats only deletions of which the server says that it did not carry
//! them out.

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
