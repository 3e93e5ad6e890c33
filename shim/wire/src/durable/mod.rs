//! The durable formats: what stands in a store, byte by byte. Golden files (`golden/`) hold them fast.
//!
//! * [`encode_name`], [`decode_item`], … (`name`) – typed names to a store's structured names and back, in the order that the core documents.
//! * [`encode_body`], [`decode_body`] (`body`, `messages`, `frame`) – bodies: a format version, a checksum, a protobuf message.
//! * [`encode_group`], [`encode_groups`], … (`cursor`) – what is listed, and from where.
//! * [`request_hash`], [`own_hash`], [`own_hash_of`], [`fingerprint`] (`hash`) – names of requests.
//! * [`encode_session`], [`TransactionToken`] (`token`) – what clients carry from call to call, as text.
//!
//! Two rules for whoever changes a format:
//!
//! 1. A field that an older reader may ignore gets a new field number. A field that it must not ignore (outbox entries, conditions: it
//!    would drop them when it writes the slim form) raises the format version, and older readers say so instead of guessing.
//! 2. Nothing is ever decoded into a state that the core does not allow: what does not parse is [`aft_store::Error::Damaged`], by name.

mod body;
mod cursor;
mod fault;
mod frame;
mod hash;
mod messages;
mod name;
mod token;

pub use body::{PartInPieces, decode_body, encode_body, encode_part};
pub use cursor::{GroupsAt, decode_keys, decode_minutes, encode_after, encode_group, encode_groups};
pub use frame::Gone;
pub use hash::{FingerprintOfPieces, fingerprint, own_hash, own_hash_of, request_hash};
pub use name::{decode_item, decode_name, encode_name};
pub use token::{
    SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session, merge_sessions,
};
