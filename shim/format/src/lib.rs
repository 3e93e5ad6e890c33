//! The second protocol's durable formats: the bytes that a store holds. Golden files (`golden/`)
//! pin them.
//!
//! * [`encode_name`], [`decode_name`], [`describe`] (`name`) – typed names to a store's structured
//!   names and back, in the order that the core documents.
//! * [`encode_object`], [`decode_body`], [`PartInPieces`] (`body`, `record`, `notes`, `messages`,
//!   `frame`) – bodies: a format number, a checksum, a protobuf message.
//! * [`Listing`], [`Scanning`] (`listing`) – pages of names to answers of the core; damaged names
//!   become text.
//! * [`perform`] (`perform`) – one call of the core, by way of all of these.
//! * [`encode_commit`], [`decode_committed`], [`call_error`] (`commit`) – one commit and its
//!   outcomes.
//! * [`read_format`], [`About`] (`about`) – the object `store/format`, and the part of it that is
//!   opaque to the core.
//! * [`Blobs`] (`about`), [`Claim`] (`claim`) – the place of parts of large values in another
//!   store, and the object by which a store claims it.
//! * [`Times`] (`times`) – the times that all nodes on a store share.
//! * [`Looking`], [`Looked`], [`Holds`] (`look`) – the contents of a store that has no
//!   `store/format`.
//! * [`request_hash`], [`own_hash`], [`own_hash_of`], [`fingerprint`] (`hash`) – names of requests.
//! * [`Attributes`] (`attributes`) – the bytes that a door keeps with a value.
//! * [`Manifest`], [`ComposedTag`] (`composed`) – values made of the bytes of others.
//! * [`encode_session`], [`TransactionToken`] (`token`) – tokens that clients carry from call to
//!   call, as text.
//!
//! Two rules for changes of a format:
//!
//! 1. A field that an older reader may ignore gets a new field number. A field that it must not
//!    ignore raises the format number: older readers then refuse the object instead of guessing.
//! 2. Nothing is decoded into a state that the core does not allow. Bytes that do not parse are
//!    [`aft_store::Error::Damaged`], and the text names the object.

mod about;
mod attributes;
mod body;
mod claim;
mod commit;
mod composed;
mod fault;
mod frame;
mod hash;
mod listing;
mod look;
mod messages;
mod name;
mod notes;
mod perform;
mod record;
mod times;
mod token;

pub use about::{Abilities, About, AboutError, Blobs, FormatFound, Race, read_format};
pub use attributes::{Attributes, Checksum, ChecksumAlgorithm, Pair};
pub use body::{PartInPieces, decode_body, encode_object, encode_part};
pub use claim::Claim;
pub use commit::{call_error, decode_committed, encode_commit};
pub use composed::{ComposedTag, Manifest, Piece};
pub use frame::Gone;
pub use hash::{FingerprintOfPieces, fingerprint, own_hash, own_hash_of, request_hash};
pub use listing::{Ask, Listing, Scanning};
pub use look::{Holds, Looked, Looking};
pub use name::{decode_name, describe, encode_name};
pub use perform::perform;
pub use times::Times;
pub use token::{
    MERGED_COVER_MS, SESSION_TOKEN_BYTES_MAX, TokenError, TransactionToken, decode_session, encode_session,
};

/// The number of the formats that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 2;
