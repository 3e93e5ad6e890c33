//! The headers of an object that are kept with it, and its part in the checks of a write's head.

use aft_format::Attributes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::failure::{Failure, Result};

/// The most bytes of all names and values of an object's metadata, as S3 has it.
pub(crate) const METADATA_BYTES_MAX: usize = 2 << 10;
/// The content type of an object that was written without one.
pub(crate) const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// The coding that frames a body, and is not part of the object.
const FRAMING: &str = "aws-chunked";

const WEBSITE_REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");

/// The header in which a call's `Expires` is passed on as it is. The protocol's library would parse
/// it as a time, and S3 keeps any text.
pub(crate) const EXPIRES_AS_TEXT: HeaderName = HeaderName::from_static("x-aft-expires");
/// The header in which the parameter response-expires is passed on, for the same reason.
pub(crate) const RESPONSE_EXPIRES: HeaderName = HeaderName::from_static("x-aft-response-expires");

/// Headers of features that this endpoint does not have. A write with one is rejected by name,
/// rather than carried out as if the header were not there.
const UNSUPPORTED: [(&str, &str); 11] = [
    ("x-amz-server-side-encryption-customer-algorithm", "encryption with a key of the customer (SSE-C)"),
    ("x-amz-server-side-encryption", "server-side encryption"),
    ("x-amz-object-lock-mode", "object lock"),
    ("x-amz-object-lock-legal-hold", "object lock"),
    ("x-amz-object-lock-retain-until-date", "object lock"),
    ("x-amz-write-offset-bytes", "appending to an object"),
    ("x-amz-grant-read", "access control by grants"),
    ("x-amz-grant-read-acp", "access control by grants"),
    ("x-amz-grant-write", "access control by grants"),
    ("x-amz-grant-write-acp", "access control by grants"),
    ("x-amz-grant-full-control", "access control by grants"),
];

/// Checks the parts of a write's head that this endpoint does not have.
pub(crate) fn check_supported(headers: &HeaderMap) -> Result<()> {
    if let Some((name, what)) = UNSUPPORTED.iter().find(|(name, _)| headers.contains_key(*name)) {
        return Err(Failure::not_implemented(&format!("{what} (the header {name})")));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("x-amz-acl") {
        None | Some("private" | "bucket-owner-full-control") => {}
        Some(_) => {
            let why = "access is granted by the server's credentials file, and not by x-amz-acl";
            return Err(Failure::new("AccessControlListNotSupported", 400, why));
        }
    }
    match text("x-amz-storage-class") {
        None | Some("STANDARD") => Ok(()),
        Some(_) => Err(Failure::new("InvalidStorageClass", 400, "the only storage class is STANDARD")),
    }
}

/// Returns the attributes that the headers of a write give, without metadata, tags and checksum.
pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Attributes> {
    let text = |name: HeaderName| match headers.get(&name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok("") => Ok(None),
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Failure::invalid_argument(format!("the header {name} is not ASCII"))),
        },
    };
    Ok(Attributes {
        content_type: text(header::CONTENT_TYPE)?,
        cache_control: text(header::CACHE_CONTROL)?,
        content_disposition: text(header::CONTENT_DISPOSITION)?,
        content_encoding: text(header::CONTENT_ENCODING)?.and_then(|coding| without_framing(&coding)),
        content_language: text(header::CONTENT_LANGUAGE)?,
        expires: text(EXPIRES_AS_TEXT)?,
        website_redirect: text(WEBSITE_REDIRECT)?,
        ..Attributes::default()
    })
}

/// Returns a content coding without the framing of the body.
pub(crate) fn without_framing(coding: &str) -> Option<String> {
    if !coding.is_empty() && !coding.to_ascii_lowercase().contains(FRAMING) {
        return Some(coding.to_owned());
    }
    let kept = coding.split(',').map(str::trim).filter(|coding| !coding.eq_ignore_ascii_case(FRAMING));
    let kept: Vec<&str> = kept.filter(|coding| !coding.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Checks the size of an object's metadata.
pub(crate) fn check_metadata(about: &Attributes) -> Result<()> {
    let bytes: usize = about.metadata.iter().map(|pair| pair.name.len() + pair.value.len()).sum();
    if bytes <= METADATA_BYTES_MAX {
        return Ok(());
    }
    let why = format!("the metadata has {bytes} bytes, and at most {METADATA_BYTES_MAX} are allowed");
    Err(Failure::new("MetadataTooLarge", 400, why))
}

/// Returns the headers of an answer that sends an object, without metadata and checksum.
pub(crate) fn to_headers(about: &Attributes) -> HeaderMap {
    let content_type = Some(about.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE));
    let pairs = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, about.cache_control.as_deref()),
        (header::CONTENT_DISPOSITION, about.content_disposition.as_deref()),
        (header::CONTENT_ENCODING, about.content_encoding.as_deref()),
        (header::CONTENT_LANGUAGE, about.content_language.as_deref()),
        (header::EXPIRES, about.expires.as_deref()),
        (WEBSITE_REDIRECT, about.website_redirect.as_deref()),
    ];
    // A text that is no header's value came from another door, and is left out.
    let valid = |(name, text): (HeaderName, Option<&str>)| {
        Some((name, HeaderValue::from_bytes(text?.as_bytes()).ok()?))
    };
    pairs.into_iter().filter_map(valid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_is_not_kept() {
        for (coding, kept) in [
            ("aws-chunked", None),
            ("", None),
            ("gzip", Some("gzip")),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, br", Some("gzip, br")),
            ("gzip, AWS-chunked, br", Some("gzip,br")),
        ] {
            assert_eq!(without_framing(coding).as_deref(), kept, "{coding}");
        }
    }

    #[test]
    fn headers_are_kept_and_sent() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("cache-control", "no-cache"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-language", "de"),
            ("expires", "never"),
            ("x-amz-website-redirect-location", "/b"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut passed_on = headers.clone();
        passed_on.insert(EXPIRES_AS_TEXT, headers["expires"].clone());
        assert_eq!(to_headers(&of_headers(&passed_on).unwrap()), headers);
        assert_eq!(to_headers(&Attributes::default()).len(), 1);
    }

    #[test]
    fn features_that_are_missing_are_rejected_by_name() {
        for (name, value, code) in [
            ("x-amz-server-side-encryption", "aws:kms", Some("NotImplemented")),
            ("x-amz-acl", "public-read", Some("AccessControlListNotSupported")),
            ("x-amz-acl", "private", None),
            ("x-amz-storage-class", "GLACIER", Some("InvalidStorageClass")),
            ("x-amz-storage-class", "STANDARD", None),
        ] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(check_supported(&headers).err().map(|failure| failure.code), code, "{name}: {value}");
        }
    }
}
