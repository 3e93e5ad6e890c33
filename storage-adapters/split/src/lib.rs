//! A store made of two: the parts of large values lie in one, everything else in the other.
//!
//! ```text
//!   Space::Blob ─────────► blobs      S3: a request costs the same whatever it carries
//!   every other space ───► records    DynamoDB: quick, and charged by the KB
//! ```
//!
//! * [`SplitStore`] – the store (`store`).
//! * [`Halves`] – the URLs of the two stores in the URL of both, `RECORDS?…&blobs=BLOBS`;
//!   [`place`] – the place of a store, as the description of another one names it (`url`).
//!
//! Nothing here makes sure that both belong together: the store's description names the place of
//! its parts, and an object in that place names the store (`aft-node`, decision 0024).

mod durability;
mod store;
mod url;

pub use store::SplitStore;
pub use url::{Halves, UrlError, place};
