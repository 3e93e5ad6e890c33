//! What a door keeps with a value. Opaque to the core; it stands in commit records, so its field numbers are durable and never reused.

use bytes::Bytes;
use prost::Message as _;

/// A value's attributes. The native API uses the content type; other doors add fields of their own.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attributes {
    /// The media type that the writer gave.
    #[prost(string, optional, tag = "1")]
    pub content_type: Option<String>,
}

impl Attributes {
    /// The attributes as a commit record holds them; without any, no bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// The attributes that a commit record holds. Unknown fields (of a newer door) are skipped.
    ///
    /// # Errors
    /// If the bytes are no attributes.
    pub fn from_bytes(bytes: &Bytes) -> Result<Attributes, prost::DecodeError> {
        Attributes::decode(&bytes[..])
    }
}

#[cfg(test)]
mod tests {
    use super::Attributes;

    /// The bytes are in stores: a change of this test is a change of the durable format.
    #[test]
    fn golden() {
        let attributes = Attributes { content_type: Some("text/plain".into()) };
        assert_eq!(&attributes.to_bytes()[..], b"\x0a\x0atext/plain");
        assert_eq!(Attributes::from_bytes(&attributes.to_bytes()).unwrap(), attributes);
        assert!(Attributes::default().to_bytes().is_empty());
        let newer = b"\x0a\x01x\xf2\x07\x03abc";
        assert_eq!(
            Attributes::from_bytes(&newer[..].into()).unwrap(),
            Attributes { content_type: Some("x".into()) }
        );
    }
}
