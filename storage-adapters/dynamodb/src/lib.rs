//! A store on Amazon DynamoDB, or on a server that speaks its protocol: one table, on-demand.
//!
//! * [`DynamoDbStore`] – the store; [`OpenError`] – the reasons why it cannot be opened;
//!   [`Options`], [`Prices`], [`Keys`] – how to open it; [`Prepared`] – the findings of
//!   [`DynamoDbStore::init`]; [`Consumed`] – the capacity that it has used.
//!
//! # Requests and cost
//! DynamoDB charges by units: a write unit for each KB written or deleted, a read unit for each 4
//! KB read, at least one per request. With small records, at the list prices of on-demand tables,
//! in US dollars per million:
//!
//! | operation | requests | units | $ per million |
//! |---|---|---|---|
//! | a transaction of n keys (1) | PutItem; BatchWriteItem | n + 1 write | 0.625 (n + 1) |
//! | one key without a request ID (2) | PutItem | 1 write | 0.625 |
//! | a request ID | GetItem of the record at the beginning | 1 read | 0.125 |
//! | written keys that are listed first (3) | Query for each key | 1 read a key | 0.125 a key |
//! | a read from the node's memory | none | 0 | 0 |
//! | a cold read | Query of the versions; GetItem of the newest record | 2 read | 0.25 |
//! | a fresh read, or one after ten seconds | Query of the key's versions | 1 read | 0.125 |
//! | a node's start (4) | GetItem of the description and of the mark | 2 read | 0.25 |
//! | `scan` of n entries (5) | Query of 8 partitions for 1,000 names | n / 14 read | 0.009 n |
//! | a large value (6) | PutItem; GetItem | 257 write; 65 read | 161; 8.1 |
//! | collection, later (7) | GetItem of the record | 1 read; n + 1 write | ≈ 0.625 n + 0.75 |
//!
//! 1. The record's PutItem has the condition that it is absent. Each 25 entries are a
//!    BatchWriteItem (a single entry is a PutItem). All are sent at the same time: one round trip.
//! 2. The entry is the commit.
//! 3. Only while the store's time is known too coarsely (protocol, section 9).
//! 4. The mark is read at the same time as the first request.
//! 5. Entries that have small records as their bodies.
//! 6. For each part of 256 KiB.
//! 7. Also Queries that are shared by a sweep, and deletions in batches of 25.
//!
//! A record of n KB takes n write units. `tests/stores/tests/dynamodb/requests.rs` counts all but
//! the last two rows on the wire, and compares them with the units that the server reports.
//!
//! # What an acknowledgement means
//! The same as with DynamoDB itself: the item is written in at least two places. All reads and
//! queries are strongly consistent. A global table whose replicas are only eventually consistent
//! must be written in one region only.
//!
//! # What bounds it
//! A space has eight partitions. Each takes a thousand write units a second, until DynamoDB splits
//! it, which it can unless the keys are times. An item has at most 400 KB. So a body has at most
//! 400,000 bytes, larger values are stored in parts, and the node bounds the values that one
//! transaction keeps inline.
//!
//! # What it is not
//! A layer that retries: it retries only deletions that the server reports as not carried out.

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
