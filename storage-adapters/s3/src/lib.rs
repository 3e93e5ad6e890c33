//! A store on Amazon S3, or on a server that speaks its protocol.
//!
//! * [`S3Store`] – the store; [`OpenError`] – the reasons why it cannot be opened; [`Options`],
//!   [`Prices`], [`Keys`] – how to open it; [`Prepared`] – the findings of [`S3Store::init`].
//!
//! # Requests and cost
//! Every call is one request, with two exceptions: a commit is a PUT for each of its pieces, and
//! `groups` and `scan` over long names take more. At the list prices of S3 Standard, in US dollars
//! per million:
//!
//! | operation | requests | $ per million |
//! |---|---|---|
//! | a transaction of n keys (1) | PUT of the record and of each key's entry | 5 (n + 1) |
//! | a transaction of one key without a request ID | PUT of the entry, which is the commit | 5 |
//! | a request ID | GET of the record, when the transaction begins | 0.4 |
//! | written keys that are listed first (2) | LIST for each key | 5 a key |
//! | a read from the node's memory | none | 0 |
//! | a cold read | LIST of the key's versions, GET of the newest one's record | 5.4 |
//! | a fresh read, or one after ten seconds | LIST of the key's versions | 5 |
//! | a node's start | GET of the description; GET of the mark with the first request | 0.8 |
//! | `scan` | LIST for each 1,000 names; GET for each group longer than 480 characters | 5; 0.4 |
//! | a large value | PUT for each 8 MiB; GET for each | 5; 0.4 |
//! | collection, later (3) | GET of the record; listings; batched deletes | ≈ 0.5 |
//!
//! 1. The record's PUT has `If-None-Match: *`. All PUTs of a transaction are sent at the same time,
//!    up to 64 at once: up to 63 keys take one round trip.
//! 2. Only while the store's time is known too coarsely (protocol, section 9).
//! 3. Listings have 1,000 names, and batches 1,000 deletions.
//!
//! `tests/stores/tests/requests.rs` counts all but the last two rows on the wire.
//!
//! # What an acknowledgement means
//! The same as with S3 itself: the object is stored durably. Reads, listings and conditions see
//! every acknowledged write.
//!
//! # What a server must do
//! Support `If-None-Match: *` and `If-Match` on PUT, and decide them atomically. Opening a store
//! does not test that; the race probe does, which `aft serve` runs first. Support ListObjectsV2
//! with `start-after`, in byte order. Conditional and batched deletes are used if a test at the
//! opening shows that they work.
//!
//! # What it is not
//! A multipart uploader (large values come in parts, each an object), a cache, or a layer that
//! retries: it retries only requests that the server did not carry out because of a concurrent one
//! for the same key (409).

mod commit;
mod error;
mod failure;
mod groups;
mod layout;
mod link;
mod location;
mod meter;
mod open;
mod options;
mod remembered;
mod scan;
mod sortable;
mod store;

pub use aft_store_aws::Keys;
pub use error::OpenError;
pub use meter::Prices;
pub use open::Prepared;
pub use options::Options;
pub use store::S3Store;
