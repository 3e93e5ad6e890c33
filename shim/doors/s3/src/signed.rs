//! The rest of the check of a signature, before a body is read: that it covers all which would
//! change the call, that it is not too old, and that its key exists.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, DATE};
use axum::http::{HeaderMap, Request};

use crate::failure::{Failure, Result};
use crate::unchecked::DECODED_LENGTH;

/// The start of the names of headers that change a call.
const PROTOCOL: &str = "x-amz-";

/// The longest life of a presigned URL of version 4, in seconds, as S3 has it.
const EXPIRES_S_MAX: u64 = 7 * 24 * 3_600;
/// The most that the time of a signature may differ from the server's, as S3 has it.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// The ways to write the time zone of a signature of version 2. Programs write the second, as in
/// S3's own examples, or the third; HTTP has the first alone.
const ZONES: [&str; 3] = ["GMT", "+0000", "UTC"];

/// The parameters of a query with a signature of either version.
const PARAMETERS: [&str; 10] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "AWSAccessKeyId",
    "Expires",
    "Signature",
];

/// Rejects a call whose signature need not be computed to be rejected. `is_key` returns true for an
/// access key of the server.
///
/// # Errors
/// Returns a failure that names what is wrong.
pub(crate) fn check(request: &Request<Body>, is_key: impl Fn(&str) -> bool) -> Result<()> {
    check_parameters(request)?;
    let header = header_of(request)?;
    // The library looks for signatures in another order than this check. With one of them only,
    // both look at the same.
    if header.is_some() && ["X-Amz-Signature", "Signature"].iter().any(|name| raw(request, name).is_some()) {
        let why =
            "the call has two signatures, one in its query and one in the header Authorization: send one";
        return Err(Failure::invalid_argument(why));
    }
    check_all_signed(request, header.as_ref())?;
    let length = request.headers().get(DECODED_LENGTH);
    if length.is_some_and(|value| value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).is_none()) {
        return Err(Failure::invalid_argument(format!("the header {DECODED_LENGTH} is no length")));
    }
    if let Some(expires) = parameter(request, "X-Amz-Expires")
        && expires.parse::<u64>().is_ok_and(|seconds| seconds > EXPIRES_S_MAX)
    {
        let why = format!("X-Amz-Expires: a URL is valid for at most {EXPIRES_S_MAX} seconds");
        return Err(Failure::new("AuthorizationQueryParametersError", 400, why));
    }
    let key = match header {
        Some(Header::Version2 { key }) => {
            check_time(request.headers())?;
            Some(key.to_owned())
        }
        Some(Header::Version4 { credential, .. }) => Some(key_of(credential)),
        None => match parameter(request, "X-Amz-Credential") {
            Some(credential) => Some(key_of(&credential)),
            None => parameter(request, "AWSAccessKeyId"),
        },
    };
    match key {
        Some(key) if !is_key(key.trim()) => {
            let why = "the access key is not one of this server's";
            Err(Failure::new("InvalidAccessKeyId", 403, why))
        }
        _ => Ok(()),
    }
}

/// The header Authorization of a signed call.
enum Header<'a> {
    Version2 { key: &'a str },
    Version4 { credential: &'a str, signed_headers: &'a str },
}

/// Parses the header Authorization; `None` if the call has none.
///
/// # Errors
/// Returns a failure for a header that is sent twice or has another form: what this check cannot
/// read, the library might read in another way.
fn header_of(request: &Request<Body>) -> Result<Option<Header<'_>>> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || {
        let why = "the header Authorization is not `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…` \
                   or `AWS KEY:SIGNATURE`, or it is there twice";
        Failure::new("AuthorizationHeaderMalformed", 400, why)
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(malformed)?;
    let (algorithm, rest) = text.split_once(' ').ok_or_else(malformed)?;
    if algorithm == "AWS" {
        let (key, _) = rest.split_once(':').ok_or_else(malformed)?;
        return Ok(Some(Header::Version2 { key }));
    }
    let mut fields = rest.split(',').map(|field| field.trim().split_once('='));
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (
            Some(Some(("Credential", credential))),
            Some(Some(("SignedHeaders", signed_headers))),
            Some(Some(("Signature", _))),
            None,
        ) => Ok(Some(Header::Version4 { credential, signed_headers })),
        _ => Err(malformed()),
    }
}

/// Rejects a query with a parameter of a signature that is there twice, or with a name that is
/// encoded: only one of two readers would find it.
fn check_parameters(request: &Request<Body>) -> Result<()> {
    let query = request.uri().query().unwrap_or_default();
    let mut seen = Vec::new();
    for (name, _) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        if !PARAMETERS.contains(&&*decoded) {
            continue;
        }
        if name != decoded || seen.contains(&decoded) {
            let why = format!("the parameter {decoded} is there twice, or its name is encoded");
            return Err(Failure::new("AuthorizationQueryParametersError", 400, why));
        }
        seen.push(decoded);
    }
    Ok(())
}

/// Returns the access key at the start of a credential.
fn key_of(credential: &str) -> String {
    credential.split('/').next().unwrap_or_default().to_owned()
}

/// Rejects a signature of version 2 in a header whose time is not about the server's. Otherwise
/// who has seen a call could send it again for ever.
fn check_time(headers: &HeaderMap) -> Result<()> {
    let text = headers.get("x-amz-date").or_else(|| headers.get(DATE)).and_then(|value| value.to_str().ok());
    let time = text.and_then(|text| read_time(text.trim())).ok_or_else(|| {
        Failure::new("AccessDenied", 403, "a signature of version 2 needs a valid header Date or x-amz-date")
    })?;
    let now = SystemTime::now();
    let skew = now.duration_since(time).or_else(|_| time.duration_since(now)).expect("one of them is later");
    match skew <= SKEW {
        true => Ok(()),
        false => {
            let why = format!(
                "the time of the signature differs by {} s from the server's: set the clock, or sign the call again",
                skew.as_secs()
            );
            Err(Failure::new("RequestTimeTooSkewed", 403, why))
        }
    }
}

/// Reads the time of a signature of version 2.
fn read_time(text: &str) -> Option<SystemTime> {
    let at = ZONES.iter().find_map(|zone| text.strip_suffix(zone));
    httpdate::parse_http_date(&at.map_or(text.to_owned(), |at| format!("{at}GMT"))).ok()
}

/// Rejects a call with a header of the protocol that its signature (version 4) does not cover. Who
/// has a presigned URL that stores one object could read another one with it, by a header that
/// names a source. Version 2 covers these headers without a list of them.
///
/// # Errors
/// Returns a failure that names the headers.
fn check_all_signed(request: &Request<Body>, header: Option<&Header<'_>>) -> Result<()> {
    let signed = match header {
        Some(Header::Version2 { .. }) => return Ok(()),
        Some(Header::Version4 { signed_headers, .. }) => (*signed_headers).to_owned(),
        None => match parameter(request, "X-Amz-SignedHeaders") {
            Some(signed) => signed,
            None => return Ok(()),
        },
    };
    let is_covered = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    let names = request.headers().keys().map(|name| name.as_str());
    let missing: Vec<&str> = names.filter(|name| name.starts_with(PROTOCOL) && !is_covered(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("the signature does not cover these headers: {}", missing.join(", "));
    Err(Failure::new("AccessDenied", 403, why))
}

/// Returns a parameter of a request's query, decoded.
fn parameter(request: &Request<Body>, name: &str) -> Option<String> {
    let value = raw(request, name)?;
    percent_encoding::percent_decode_str(value).decode_utf8().ok().map(|value| value.into_owned())
}

/// Returns a parameter of a request's query as it was sent.
fn raw<'a>(request: &'a Request<Body>, name: &str) -> Option<&'a str> {
    let mut pairs = request.uri().query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, headers: &[(&str, &str)]) -> Result<()> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        super::check(&request.body(Body::empty()).unwrap(), |key| key == "a")
    }

    fn code(uri: &str, headers: &[(&str, &str)]) -> &'static str {
        check(uri, headers).unwrap_err().code
    }

    #[test]
    fn headers_of_the_protocol_are_signed() {
        let url = "/b/k?X-Amz-SignedHeaders=host%3Bx-amz-acl&X-Amz-Signature=a";
        assert_eq!(check(url, &[("x-amz-acl", "private"), ("content-type", "a/b")]), Ok(()));
        assert_eq!(check(url, &[("x-amz-copy-source", "/b/secret")]).unwrap_err().code, "AccessDenied");
        let covered = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=c";
        assert_eq!(check("/b/k", &[("authorization", covered), ("x-amz-date", "d")]), Ok(()));
        let other = [("authorization", covered), ("x-amz-tagging", "a=b")];
        assert!(check("/b/k", &other).unwrap_err().message.contains("x-amz-tagging"));
        let now = httpdate::fmt_http_date(SystemTime::now());
        let version_2 = [("authorization", "AWS a:b"), ("x-amz-tagging", "a=b"), ("date", &now)];
        assert_eq!(check("/b/k", &version_2), Ok(()));
        assert_eq!(check("/b/k", &[("x-amz-tagging", "a=b")]), Ok(()));
    }

    #[test]
    fn a_call_has_one_signature_that_all_readers_find() {
        let url = "/b/k?X-Amz-SignedHeaders=host&X-Amz-Signature=a";
        let source = ("x-amz-copy-source", "/b/secret");
        let decoy = "x Credential=a/b, SignedHeaders=host;x-amz-copy-source, Signature=c";
        assert_eq!(code(url, &[source, ("authorization", decoy)]), "InvalidArgument");
        assert_eq!(code("/b/k?Signature=c&AWSAccessKeyId=a", &[("authorization", decoy)]), "InvalidArgument");
        for malformed in ["x", "x SignedHeaders=host;x-amz-copy-source", "AWS4-HMAC-SHA256 é", "AWS a"] {
            let headers = [source, ("authorization", malformed)];
            assert_eq!(code("/b/k", &headers), "AuthorizationHeaderMalformed", "{malformed}");
        }
        let covered = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c";
        let twice = [("authorization", covered), ("authorization", covered)];
        assert_eq!(code("/b/k", &twice), "AuthorizationHeaderMalformed");
        for query in [
            "X-Amz-SignedHeader%73=host&X-Amz-Signature=a",
            "X-Amz-SignedHeaders=host;x-amz-copy-source&X-Amz-SignedHeaders=host&X-Amz-Signature=a",
        ] {
            let url = format!("/b/k?{query}");
            assert_eq!(code(&url, &[source]), "AuthorizationQueryParametersError", "{query}");
        }
    }

    #[test]
    fn old_signatures_are_rejected() {
        let version_2 = ("authorization", "AWS a:b");
        let old = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3_600));
        assert_eq!(code("/b/k", &[version_2, ("date", &old)]), "RequestTimeTooSkewed");
        assert_eq!(code("/b/k", &[version_2, ("date", "garbage")]), "AccessDenied");
        assert_eq!(code("/b/k", &[version_2]), "AccessDenied");
        let now = httpdate::fmt_http_date(SystemTime::now());
        for zone in ZONES {
            assert_eq!(check("/b/k", &[version_2, ("date", &now.replace("GMT", zone))]), Ok(()), "{zone}");
        }
        assert_eq!(code("/b/k", &[version_2, ("date", &now.replace("GMT", "PST"))]), "AccessDenied");
        let url = "/b/k?X-Amz-Credential=a%2F20261130&X-Amz-Expires=604801";
        assert_eq!(code(url, &[]), "AuthorizationQueryParametersError");
    }

    #[test]
    fn keys_that_do_not_exist_are_rejected() {
        let header = "AWS4-HMAC-SHA256 Credential=b/20261130/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=c";
        assert_eq!(code("/b/k", &[("authorization", header)]), "InvalidAccessKeyId");
        assert_eq!(code("/b/k?X-Amz-Credential=b%2F20261130", &[]), "InvalidAccessKeyId");
        assert_eq!(code("/b/k?AWSAccessKeyId=b&Signature=c", &[]), "InvalidAccessKeyId");
    }
}
