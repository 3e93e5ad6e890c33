//! The attributes that a door keeps with a value. The core does not look into them. They are part
//! of commit records, so their field numbers are durable and never reused.

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
    /// Encodes the attributes as a commit record holds them; without any, the result is empty.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Decodes the attributes of a commit record. Unknown fields (of a newer door) are skipped.
    ///
    /// # Errors
    /// Returns an error if `bytes` are not a protobuf message of this type.
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
