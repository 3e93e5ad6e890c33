//! The bounds of this protocol's calls. The bounds that all doors share belong to the desk and the
//! network.

/// The longest content type that is kept with a value, in bytes.
pub(crate) const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// The number of keys on a page of a listing, if the caller gives none.
pub(crate) const LIST_LIMIT_DEFAULT: u32 = 100;
/// The most keys on a page of a listing.
pub(crate) const LIST_LIMIT_MAX: u32 = 1_000;
