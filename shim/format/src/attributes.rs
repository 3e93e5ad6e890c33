//! The attributes that a door keeps with a value. The core does not look into them. They are part
//! of commit records, so their field numbers are durable and never reused.

use bytes::Bytes;
use prost::Message as _;

/// A value's attributes. The native API uses the content type; the S3 endpoint uses all of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attributes {
    /// The media type that the writer gave.
    #[prost(string, optional, tag = "1")]
    pub content_type: Option<String>,
    /// The header `Cache-Control`.
    #[prost(string, optional, tag = "2")]
    pub cache_control: Option<String>,
    /// The header `Content-Disposition`.
    #[prost(string, optional, tag = "3")]
    pub content_disposition: Option<String>,
    /// The header `Content-Encoding`.
    #[prost(string, optional, tag = "4")]
    pub content_encoding: Option<String>,
    /// The header `Content-Language`.
    #[prost(string, optional, tag = "5")]
    pub content_language: Option<String>,
    /// The header `Expires`.
    #[prost(string, optional, tag = "6")]
    pub expires: Option<String>,
    /// The header `x-amz-website-redirect-location`.
    #[prost(string, optional, tag = "7")]
    pub website_redirect: Option<String>,
    /// User metadata: the headers `x-amz-meta-*`, without that prefix.
    #[prost(message, repeated, tag = "8")]
    pub metadata: Vec<Pair>,
    /// The object's tags.
    #[prost(message, repeated, tag = "9")]
    pub tags: Vec<Pair>,
    /// A checksum of the bytes that was verified when they were written.
    #[prost(message, optional, tag = "10")]
    pub checksum: Option<Checksum>,
    /// The time of the last change of the bytes, in milliseconds since the epoch, if this version
    /// changed only attributes. Otherwise it is the version's commit time.
    #[prost(uint64, optional, tag = "11")]
    pub modified_ms: Option<u64>,
    /// The upload whose parts hold the bytes of a composed value.
    #[prost(string, optional, tag = "12")]
    pub upload: Option<String>,
    /// The entity tag that the object had where `aft import` took it from. A later write of the key
    /// leaves it out, so it says that the version is still the imported one.
    #[prost(string, optional, tag = "13")]
    pub source_etag: Option<String>,
}

/// A name with a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Pair {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A checksum of a value's bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Checksum {
    /// The algorithm.
    #[prost(enumeration = "ChecksumAlgorithm", tag = "1")]
    pub algorithm: i32,
    /// The checksum, in the algorithm's own number of bytes, big-endian.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The number of parts of whose checksums this is the checksum; 0 if it is that of the bytes.
    #[prost(uint32, tag = "3")]
    pub parts: u32,
}

/// An algorithm of checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ChecksumAlgorithm {
    /// None: what a field without a value means.
    None = 0,
    /// CRC-32 (ISO-HDLC).
    Crc32 = 1,
    /// CRC-32C (Castagnoli).
    Crc32c = 2,
    /// CRC-64/NVME.
    Crc64Nvme = 3,
    /// SHA-1.
    Sha1 = 4,
    /// SHA-256.
    Sha256 = 5,
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
    use super::{Attributes, Checksum, ChecksumAlgorithm, Pair};

    /// The bytes are in stores: a change of this test is a change of the durable format.
    #[test]
    fn golden() {
        let attributes = Attributes { content_type: Some("text/plain".into()), ..Attributes::default() };
        assert_eq!(&attributes.to_bytes()[..], b"\x0a\x0atext/plain");
        assert_eq!(Attributes::from_bytes(&attributes.to_bytes()).unwrap(), attributes);
        assert!(Attributes::default().to_bytes().is_empty());
        let newer = b"\x0a\x01x\xf2\x07\x03abc";
        let known = Attributes { content_type: Some("x".into()), ..Attributes::default() };
        assert_eq!(Attributes::from_bytes(&newer[..].into()).unwrap(), known);
        let pair = |name: &str| Pair { name: name.into(), value: "v".into() };
        let object = Attributes {
            content_type: Some("a".into()),
            cache_control: Some("b".into()),
            content_disposition: Some("c".into()),
            content_encoding: Some("d".into()),
            content_language: Some("e".into()),
            expires: Some("f".into()),
            website_redirect: Some("g".into()),
            metadata: vec![pair("m")],
            tags: vec![pair("t")],
            checksum: Some(Checksum {
                algorithm: ChecksumAlgorithm::Crc64Nvme.into(),
                value: vec![1, 2, 3].into(),
                parts: 2,
            }),
            modified_ms: Some(300),
            upload: Some("u".into()),
            source_etag: Some("s".into()),
        };
        let golden = b"\x0a\x01a\x12\x01b\x1a\x01c\x22\x01d\x2a\x01e\x32\x01f\x3a\x01g\
            \x42\x06\x0a\x01m\x12\x01v\x4a\x06\x0a\x01t\x12\x01v\x52\x09\x08\x03\x12\x03\x01\x02\x03\x18\x02\
            \x58\xac\x02\x62\x01u\x6a\x01s";
        assert_eq!(&object.to_bytes()[..], golden);
        assert_eq!(Attributes::from_bytes(&object.to_bytes()).unwrap(), object);
    }
}
