//! A store on Amazon S3, or on a server that speaks its protocol.
//!
//! * [`S3Store`] – the store; [`OpenError`] – why it cannot be opened; [`Options`], [`Prices`], [`Keys`] – how to open it;
//!   [`Prepared`] – what making one found.
//!
//! # Requests and cost
//! Every call is one request, but for a commit, a PUT for each of its pieces, and for `groups` and
//! `scan` over long names. At the list prices of S3 Standard, in US dollars a million:
//!
//! | what | requests | $ per million |
//! |---|---|---|
//! | a transaction of n keys | PUT record (`If-None-Match: *`) and PUT for each key, at the same time, 64 at once: one round trip up to 63 keys | 5 (n + 1) |
//! | a transaction of one key without a request ID | PUT of the entry, which is the commit | 5 |
//! | a request ID | GET of the record, at the begin | 0.4 |
//! | written keys looked at first, while the store's time is known too coarsely (protocol, section 9) | LIST for each key | 5 a key |
//! | a read from the node's memory | none | 0 |
//! | a cold read | LIST of the key's versions, GET of the newest one's record | 5.4 |
//! | a fresh read, or one after ten seconds | LIST of the key's versions | 5 |
//! | a node's start | GET of the description, and of the mark beside the first request | 0.8 |
//! | `scan` | LIST for each 1,000 names; GET for each group longer than 480 characters | 5; 0.4 |
//! | a large value | PUT for each 8 MiB; GET for each | 5; 0.4 |
//! | collected, much later | GET of the record; names in pages of 1,000; deletions in batches of 1,000 | ≈ 0.5 |
//!
//! `tests/stores/tests/requests.rs` counts all but the last two on the wire.
//!
//! # What an acknowledgement means
//! What S3 means by it. Reads, listings and conditions see every acknowledged write.
//!
//! # What a server must do
//! `If-None-Match: *` and `If-Match` on PUT, decided atomically: that is not tried here but by the race probe, which `aft serve` runs first. ListObjectsV2 with
//! `start-after`, in byte order. Conditional and batched deletes are used where a look at the opening sees them work.
//!
//! # What it is not
//! A multipart uploader (large values come in parts of their own), a cache, or a repeater of requests: it repeats only what the server said it
//! did not carry out because of a neighbour (409).

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
