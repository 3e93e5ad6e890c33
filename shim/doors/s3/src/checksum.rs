//! Checksums of bodies: which ones a call asks for, and whether its body has them.
//!
//! A body is verified before anything of it is committed. An algorithm that is not known is
//! rejected by name, since a checksum that nobody verifies protects nothing.

use aft_format::{Checksum, ChecksumAlgorithm};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::failure::{Failure, Result};
use crate::object::hex;

/// The start of the names of all headers that carry a checksum.
const PREFIX: &str = "x-amz-checksum-";
/// Headers with that start that carry no checksum.
const NO_CHECKSUMS: [&str; 3] = ["algorithm", "mode", "type"];

/// An algorithm with its names in the protocol.
struct Named {
    algorithm: ChecksumAlgorithm,
    /// The end of its header's name.
    header: &'static str,
    /// Its name as a value.
    value: &'static str,
}

const ALGORITHMS: [Named; 5] = [
    Named { algorithm: ChecksumAlgorithm::Crc32, header: "crc32", value: "CRC32" },
    Named { algorithm: ChecksumAlgorithm::Crc32c, header: "crc32c", value: "CRC32C" },
    Named { algorithm: ChecksumAlgorithm::Crc64Nvme, header: "crc64nvme", value: "CRC64NVME" },
    Named { algorithm: ChecksumAlgorithm::Sha1, header: "sha1", value: "SHA1" },
    Named { algorithm: ChecksumAlgorithm::Sha256, header: "sha256", value: "SHA256" },
];

/// Returns the algorithm with a name, in any case.
pub(crate) fn algorithm_of(name: &str) -> Result<ChecksumAlgorithm> {
    let known = ALGORITHMS.iter().find(|known| known.value.eq_ignore_ascii_case(name));
    known.map(|known| known.algorithm).ok_or_else(|| {
        let names: Vec<&str> = ALGORITHMS.iter().map(|known| known.value).collect();
        let name = aft_net::browser::excerpt(name);
        Failure::invalid_request(format!(
            "the checksum algorithm {name:?} is not known to this endpoint: use one of {}",
            names.join(", ")
        ))
    })
}

/// The digests that a call names for its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    md5: Option<[u8; 16]>,
    /// The SHA-256 that a signature covers.
    payload: Option<[u8; 32]>,
    /// The checksum to keep, and where the value comes from with which it is compared.
    checksum: Option<(ChecksumAlgorithm, Expected)>,
}

/// The origin of the value that a checksum must have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// The call's head.
    Value(Bytes),
    /// A field after the body.
    InTrailer,
    /// Nowhere: it is only computed.
    Computed,
}

impl Wanted {
    /// Reads the headers of a call.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Wanted> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut wanted = Wanted::default();
        if let Some(md5) = headers.get("content-md5") {
            let bytes = STANDARD.decode(md5.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
            let invalid =
                || Failure::new("InvalidDigest", 400, "the header Content-MD5 is not an MD5 in base64");
            wanted.md5 = Some(bytes.ok_or_else(invalid)?);
        }
        wanted.payload = text("x-amz-content-sha256").and_then(hexadecimal);
        for name in headers.keys() {
            let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
            if NO_CHECKSUMS.contains(&name) {
                continue;
            }
            let algorithm = algorithm_of(name)?;
            let value = text(&format!("{PREFIX}{name}")).unwrap_or_default();
            wanted.take(algorithm, Some(value))?;
        }
        // A checksum that follows the body is announced by its name.
        for name in text("x-amz-trailer").unwrap_or_default().split(',') {
            if let Some(name) = name.trim().to_ascii_lowercase().strip_prefix(PREFIX) {
                wanted.take(algorithm_of(name)?, None)?;
            }
        }
        for name in ["x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"] {
            let Some(name) = text(name) else { continue };
            let algorithm = algorithm_of(name)?;
            if wanted.checksum.as_ref().is_some_and(|(other, _)| *other != algorithm) {
                return Err(Failure::invalid_request(
                    "the call names one checksum algorithm and has the value of another",
                ));
            }
        }
        if text("x-amz-checksum-type").is_some_and(|kind| !kind.eq_ignore_ascii_case("FULL_OBJECT")) {
            let why = "x-amz-checksum-type: an object that is put as a whole has a checksum of the type FULL_OBJECT";
            return Err(Failure::invalid_request(why));
        }
        Ok(wanted)
    }

    /// Reads the headers of a call whose checksums are not those of its body.
    pub(crate) fn of_payload(headers: &HeaderMap) -> Wanted {
        let text = headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
        Wanted { payload: text.and_then(hexadecimal), ..Wanted::default() }
    }

    /// Wants a part of an upload to have a checksum of the upload's algorithm.
    ///
    /// # Errors
    /// Returns a failure if the call names a checksum of another one: no checksum of the object
    /// could be made of it.
    pub(crate) fn of_upload(self, algorithm: i32) -> Result<Wanted> {
        let algorithm = match ChecksumAlgorithm::try_from(algorithm) {
            Ok(ChecksumAlgorithm::None) | Err(_) => return Ok(self),
            Ok(algorithm) => algorithm,
        };
        match &self.checksum {
            None => Ok(Wanted { checksum: Some((algorithm, Expected::Computed)), ..self }),
            Some((named, _)) if *named == algorithm => Ok(self),
            Some((named, _)) => Err(Failure::invalid_request(format!(
                "the part has a checksum of the algorithm {named:?}, and its upload was made for {algorithm:?}"
            ))),
        }
    }

    /// Wants bytes that are known: they must have this MD5 and this checksum, which is kept.
    pub(crate) fn known(md5: Option<[u8; 16]>, checksum: Option<&Checksum>) -> Wanted {
        let checksum = checksum.filter(|checksum| checksum.parts == 0);
        let checksum = checksum.and_then(|Checksum { algorithm, value, .. }| {
            let algorithm = ChecksumAlgorithm::try_from(*algorithm).ok()?;
            (algorithm != ChecksumAlgorithm::None).then(|| (algorithm, Expected::Value(value.clone())))
        });
        Wanted { md5, payload: None, checksum }
    }

    /// Wants a checksum that is to be computed and kept.
    pub(crate) fn computed(algorithm: ChecksumAlgorithm) -> Wanted {
        Wanted { checksum: Some((algorithm, Expected::Computed)), ..Wanted::default() }
    }

    fn take(&mut self, algorithm: ChecksumAlgorithm, value: Option<&str>) -> Result<()> {
        if self.checksum.is_some() {
            return Err(Failure::invalid_request("the call has several checksums: send one"));
        }
        let value = match value {
            Some(text) => {
                let invalid = || {
                    Failure::invalid_request(format!(
                        "the value of {PREFIX}{} is not a checksum of this kind in base64",
                        header_of(algorithm)
                    ))
                };
                let bytes = STANDARD.decode(text).map_err(|_| invalid())?;
                if bytes.len() != Hasher::of(algorithm).bytes() {
                    return Err(invalid());
                }
                Expected::Value(bytes.into())
            }
            None => Expected::InTrailer,
        };
        self.checksum = Some((algorithm, value));
        Ok(())
    }
}

/// Returns the end of the header's name for an algorithm.
pub(crate) fn header_of(algorithm: ChecksumAlgorithm) -> &'static str {
    let known = ALGORITHMS.iter().find(|known| known.algorithm == algorithm);
    known.expect("an algorithm is in the table").header
}

/// Returns the name of a checksum's algorithm as a value; `None` if a newer program wrote it.
pub(crate) fn name_of(checksum: &Checksum) -> Option<&'static str> {
    name_of_algorithm(checksum.algorithm)
}

/// Returns the name of an algorithm as a value; `None` for none, or if a newer program wrote it.
pub(crate) fn name_of_algorithm(algorithm: i32) -> Option<&'static str> {
    let known = ALGORITHMS.iter().find(|known| i32::from(known.algorithm) == algorithm);
    known.map(|known| known.value)
}

/// Returns a checksum as the protocol writes it: its bytes in base64, and the number of parts if it
/// is one of their checksums.
pub(crate) fn text_of(checksum: &Checksum) -> String {
    let text = STANDARD.encode(&checksum.value);
    match checksum.parts {
        0 => text,
        parts => format!("{text}-{parts}"),
    }
}

/// Returns the MD5 of bytes.
pub(crate) fn md5_of(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Returns the checksum of the checksums of parts.
pub(crate) fn composite(algorithm: ChecksumAlgorithm, parts: &[Bytes]) -> Checksum {
    let mut hasher = Hasher::of(algorithm);
    parts.iter().for_each(|part| hasher.update(part));
    let count = u32::try_from(parts.len()).expect("an upload has at most 10,000 parts");
    Checksum { algorithm: algorithm.into(), value: hasher.finish(), parts: count }
}

/// Returns the checksum of the bytes of parts, from the checksums and the sizes of the parts;
/// `None` for an algorithm that has no such rule.
pub(crate) fn combined(algorithm: ChecksumAlgorithm, parts: &[(Bytes, u64)]) -> Option<Checksum> {
    let (crc, bytes) = match algorithm {
        ChecksumAlgorithm::Crc32 => (CrcAlgorithm::Crc32IsoHdlc, 4),
        ChecksumAlgorithm::Crc32c => (CrcAlgorithm::Crc32Iscsi, 4),
        ChecksumAlgorithm::Crc64Nvme => (CrcAlgorithm::Crc64Nvme, 8),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 | ChecksumAlgorithm::None => return None,
    };
    let number = |value: &Bytes| value.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let mut parts = parts.iter();
    let first = parts.next().map(|(value, _)| number(value))?;
    let whole = parts
        .fold(first, |before, (value, size)| crc_fast::checksum_combine(crc, before, number(value), *size));
    let digits = whole.to_be_bytes();
    let value = Bytes::copy_from_slice(&digits[digits.len() - bytes..]);
    Some(Checksum { algorithm: algorithm.into(), value, parts: 0 })
}

/// A checksum that a call names for a part of an upload, or for the object that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedSum {
    pub(crate) algorithm: ChecksumAlgorithm,
    /// The checksum in base64; that of an object may have the number of parts at its end.
    pub(crate) text: String,
}

impl NamedSum {
    /// Returns the checksum that a call names, by its fields in the order of the algorithms.
    pub(crate) fn of(fields: [Option<String>; 5]) -> Option<NamedSum> {
        let mut named = fields.into_iter().zip(&ALGORITHMS);
        named.find_map(|(text, known)| Some(NamedSum { algorithm: known.algorithm, text: text? }))
    }

    /// Returns true if this is the text of a checksum.
    pub(crate) fn is_of(&self, checksum: &Checksum) -> bool {
        let is_same = i32::from(self.algorithm) == checksum.algorithm;
        is_same && [text_of(checksum), STANDARD.encode(&checksum.value)].contains(&self.text)
    }
}

/// The computation of a checksum.
#[derive(Debug, Clone)]
enum Hasher {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn of(algorithm: ChecksumAlgorithm) -> Hasher {
        let crc = |algorithm, bytes| Hasher::Crc(crc_fast::Digest::new(algorithm), bytes);
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc, 4),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi, 4),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme, 8),
            ChecksumAlgorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            ChecksumAlgorithm::None => unreachable!("no call names it"),
        }
    }

    /// Returns the length of the checksum, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Hasher::Crc(_, bytes) => *bytes,
            Hasher::Sha1(_) => 20,
            Hasher::Sha256(_) => 32,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Crc(digest, _) => digest.update(bytes),
            Hasher::Sha1(digest) => digest.update(bytes),
            Hasher::Sha256(digest) => digest.update(bytes),
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Hasher::Crc(digest, bytes) => {
                let whole = digest.finalize().to_be_bytes();
                Bytes::copy_from_slice(&whole[whole.len() - bytes..])
            }
            Hasher::Sha1(digest) => Bytes::copy_from_slice(&digest.finalize()),
            Hasher::Sha256(digest) => Bytes::copy_from_slice(&digest.finalize()),
        }
    }
}

/// The digests of a body that is arriving.
#[derive(Debug, Clone)]
pub(crate) struct Digests {
    wanted: Wanted,
    md5: Md5,
    payload: Option<Sha256>,
    checksum: Option<Hasher>,
}

/// The digests of a whole body, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The MD5 in hexadecimal digits: the entity tag of an object that is put as a whole.
    pub(crate) etag: Bytes,
    /// The checksum to keep.
    pub(crate) checksum: Option<Checksum>,
}

impl Digests {
    /// Starts the digests of a body.
    pub(crate) fn new(wanted: Wanted) -> Digests {
        let payload = wanted.payload.map(|_| Sha256::new());
        let checksum = wanted.checksum.as_ref().map(|(algorithm, _)| Hasher::of(*algorithm));
        Digests { wanted, md5: Md5::new(), payload, checksum }
    }

    /// Takes the next bytes of the body.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        if let Some(payload) = &mut self.payload {
            payload.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    /// Ends the body, and compares its digests with those that the call named. `trailer` has the
    /// fields that followed the body.
    ///
    /// # Errors
    /// Returns `BadDigest`, or what is wrong with the trailer.
    pub(crate) fn verify(self, trailer: &[(String, String)]) -> Result<Verified> {
        let Digests { mut wanted, md5, payload, checksum } = self;
        let md5: [u8; 16] = md5.finalize().into();
        if wanted.md5.is_some_and(|wanted| wanted != md5) {
            return Err(Failure::bad_digest("Content-MD5"));
        }
        if let (Some(wanted), Some(payload)) = (wanted.payload, payload)
            && wanted[..] != payload.finalize()[..]
        {
            let why =
                "the body does not have the SHA-256 of the header x-amz-content-sha256: nothing was stored";
            return Err(Failure::new("XAmzContentSHA256Mismatch", 400, why));
        }
        let mut kept = None;
        if let (Some((algorithm, expected)), Some(hasher)) = (wanted.checksum.take(), checksum) {
            let value = hasher.finish();
            let name = format!("{PREFIX}{}", header_of(algorithm));
            let is_right = match expected {
                Expected::Value(expected) => expected == value,
                Expected::InTrailer => {
                    let Some((_, text)) = trailer.iter().find(|(field, _)| *field == name) else {
                        let why = format!(
                            "the field {name}, which x-amz-trailer announces, does not follow the body"
                        );
                        return Err(Failure::new("MalformedTrailerError", 400, why));
                    };
                    STANDARD.decode(text).is_ok_and(|expected| expected == value)
                }
                Expected::Computed => true,
            };
            if !is_right {
                return Err(Failure::bad_digest(&name));
            }
            kept = Some(Checksum { algorithm: algorithm.into(), value, parts: 0 });
        }
        Ok(Verified { etag: hex(&md5).into(), checksum: kept })
    }
}

/// Parses 64 hexadecimal digits.
fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn verify(pairs: &[(&str, &str)], trailer: &[(&str, &str)]) -> Result<Verified> {
        let mut digests = Digests::new(Wanted::of_headers(&headers(pairs))?);
        digests.update(b"hello ");
        digests.update(b"world");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        digests.verify(&trailer.iter().map(owned).collect::<Vec<_>>())
    }

    /// The checksums of `hello world`, as the AWS CLI and boto3 send them.
    const CHECKSUMS: [(&str, &str); 5] = [
        ("x-amz-checksum-crc32", "DUoRhQ=="),
        ("x-amz-checksum-crc32c", "yZRlqg=="),
        ("x-amz-checksum-crc64nvme", "jSnVw/bqjr4="),
        ("x-amz-checksum-sha1", "Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
        ("x-amz-checksum-sha256", "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="),
    ];

    #[test]
    fn right_checksums_are_kept_and_wrong_ones_rejected() {
        for (name, value) in CHECKSUMS {
            let verified = verify(&[(name, value)], &[]).expect("it is right");
            assert_eq!(&verified.etag[..], b"5eb63bbbe01eeed093cb22bb8f5acdc3");
            let kept = verified.checksum.expect("it is kept");
            assert_eq!(text_of(&kept), value, "{name}");
            assert_eq!(format!("x-amz-checksum-{}", name_of(&kept).unwrap().to_lowercase()), name);
            let in_trailer = verify(&[("x-amz-trailer", name)], &[(name, value)]);
            assert_eq!(in_trailer.expect("it is right").checksum, Some(kept));
            // Another byte at the front keeps the length.
            let wrong = format!("{}{}", if value.starts_with('A') { 'B' } else { 'A' }, &value[1..]);
            assert_eq!(verify(&[(name, &wrong)], &[]).unwrap_err().code, "BadDigest", "{name}");
            let in_trailer = verify(&[("x-amz-trailer", name)], &[(name, &wrong)]);
            assert_eq!(in_trailer.unwrap_err().code, "BadDigest", "{name}");
            for garbage in ["", "?", "AAAA", value.trim_end_matches('=')] {
                assert!(verify(&[(name, garbage)], &[]).is_err(), "{name}: {garbage}");
            }
        }
        assert_eq!(verify(&[], &[]).unwrap().checksum, None);
        for (at, (name, value)) in CHECKSUMS.iter().enumerate() {
            let algorithm = ALGORITHMS[at].algorithm;
            let of = |bytes: &[u8]| {
                let mut hasher = Hasher::of(algorithm);
                hasher.update(bytes);
                (hasher.finish(), bytes.len() as u64)
            };
            let whole = combined(algorithm, &[of(b"hello"), of(b" "), of(b"world")]);
            let is_crc = name.contains("crc");
            assert_eq!(whole.map(|whole| text_of(&whole)), is_crc.then(|| (*value).to_owned()), "{name}");
        }
        let missing = verify(&[("x-amz-trailer", "x-amz-checksum-crc32")], &[]);
        assert_eq!(missing.unwrap_err().code, "MalformedTrailerError");
    }

    #[test]
    fn other_digests_are_verified() {
        assert!(verify(&[("content-md5", "XrY7u+Ae7tCTyyK7j1rNww==")], &[]).is_ok());
        let wrong = verify(&[("content-md5", "XrY7u+Ae7tCTyyK7j1rNwA==")], &[]);
        assert_eq!(wrong.unwrap_err().code, "BadDigest");
        assert_eq!(verify(&[("content-md5", "abc")], &[]).unwrap_err().code, "InvalidDigest");
        let sha256 = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        assert!(verify(&[("x-amz-content-sha256", sha256)], &[]).is_ok());
        let wrong = verify(&[("x-amz-content-sha256", &"0".repeat(64))], &[]);
        assert_eq!(wrong.unwrap_err().code, "XAmzContentSHA256Mismatch");
        assert!(verify(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")], &[]).is_ok());
    }

    #[test]
    fn unknown_and_contradicting_checksums_are_rejected() {
        for (pairs, part) in [
            (&[("x-amz-checksum-xxhash64", "AAAA")][..], "xxhash64"),
            (&[("x-amz-trailer", "x-amz-checksum-sha512")], "sha512"),
            (&[("x-amz-sdk-checksum-algorithm", "MD5")], "MD5"),
            (&[CHECKSUMS[0], CHECKSUMS[1]], "several"),
            (&[CHECKSUMS[0], ("x-amz-sdk-checksum-algorithm", "SHA1")], "another"),
            (&[("x-amz-checksum-type", "COMPOSITE")], "FULL_OBJECT"),
        ] {
            let why = verify(pairs, &[]).unwrap_err();
            assert!(why.status == 400 && why.message.contains(part), "{pairs:?}: {why:?}");
        }
        let fine =
            [CHECKSUMS[0], ("x-amz-sdk-checksum-algorithm", "crc32"), ("x-amz-checksum-mode", "ENABLED")];
        assert!(verify(&fine, &[]).is_ok());
    }
}
