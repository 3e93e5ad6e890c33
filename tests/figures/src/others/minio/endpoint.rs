//! A minimal client of an S3 endpoint, for MinIO and for AFT alike: presigned calls of Signature
//! Version 4 over kept connections, with unsigned bodies, so that a load costs little beside the
//! servers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use hyper::StatusCode;

use crate::others::http::{Answer, Connection};
use crate::site::Failed;

const REGION: &str = "us-east-1";
/// The time for which a signature is valid: longer than any measurement.
const VALID_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// The most keys of a page, as S3 has it.
const PAGE_KEYS: &str = "1000";

/// An endpoint with an access key.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// `HOST:PORT`.
    host: String,
    credentials: Arc<Credentials>,
}

impl Endpoint {
    pub(super) fn new(host: String, id: &str, secret: &str) -> Endpoint {
        Endpoint { host, credentials: Arc::new(Credentials::new(id, secret, None, None, "figures")) }
    }

    pub(super) async fn connect(&self) -> Result<Session, Failed> {
        Ok(Session { endpoint: self.clone(), connection: Connection::open(&self.host).await? })
    }

    /// Returns `path`, which may have a query, with a signature for one method.
    ///
    /// # Errors
    /// Returns why it cannot be signed; no path of this program is one.
    pub(super) fn signed(&self, method: &str, path: &str) -> Result<String, Failed> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(VALID_FOR);
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        let identity = Credentials::clone(&self.credentials).into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build();
        let params = params.map_err(|why| why.to_string())?.into();
        let url = format!("http://{}{path}", self.host);
        let request = SignableRequest::new(method, url, std::iter::empty(), SignableBody::UnsignedPayload);
        let signed = sign(request.map_err(|why| why.to_string())?, &params);
        let (instructions, _) = signed.map_err(|why| why.to_string())?.into_parts();
        let (_, added) = instructions.into_parts();
        let mut path = path.to_owned();
        for (name, value) in added {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("{name}={}", query_text(&value)));
        }
        Ok(path)
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Session {
    endpoint: Endpoint,
    connection: Connection,
}

impl Session {
    /// Signs a call, and sends it.
    ///
    /// # Errors
    /// Returns the status and the error document if the call failed.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: Bytes) -> Result<Answer, String> {
        let path = self.endpoint.signed(method, path)?;
        self.send(method, &path, &[], body).await
    }

    /// Sends a call whose path is signed already.
    ///
    /// # Errors
    /// Returns the status and the error document if the call failed.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, String> {
        let answer = self.connection.send_bytes(method, path, headers, body).await?;
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(answer),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
        }
    }

    /// Lists `bucket` page by page, with a further query such as `delimiter=%2F`, and returns the
    /// number of keys and common prefixes.
    ///
    /// # Errors
    /// Returns the first failed call.
    pub(super) async fn list(&mut self, bucket: &str, query: &str) -> Result<usize, String> {
        let mut found = 0;
        let mut token: Option<String> = None;
        loop {
            let mut path = format!("/{bucket}?list-type=2&max-keys={PAGE_KEYS}");
            if !query.is_empty() {
                path.push_str(&format!("&{query}"));
            }
            if let Some(token) = &token {
                path.push_str(&format!("&continuation-token={}", query_text(token)));
            }
            let answer = self.call("GET", &path, Bytes::new()).await?;
            let page = String::from_utf8_lossy(&answer.body);
            found += page.matches("<Key>").count() + page.matches("<CommonPrefixes>").count();
            token = element(&page, "NextContinuationToken").map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }
}

/// Returns the text of the first XML element with a name; none if it has none.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// Returns a text as it stands in a query: all but unreserved characters (RFC 3986) are encoded.
pub(super) fn query_text(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_added_to_a_path_and_its_query() {
        let endpoint = Endpoint::new("127.0.0.1:9000".to_owned(), "id", "secret");
        let path = endpoint.signed("GET", "/bucket?list-type=2&prefix=a%2Fb").expect("it is signed");
        assert!(path.starts_with("/bucket?list-type=2&prefix=a%2Fb&X-Amz-"), "{path}");
        assert!(path.contains("X-Amz-Credential=id%2F") && path.contains("&X-Amz-Signature="), "{path}");
    }

    #[test]
    fn an_element_is_found_by_its_name() {
        let xml = "<A><B>one</B><NextContinuationToken>t+/=</NextContinuationToken></A>";
        assert_eq!(element(xml, "NextContinuationToken"), Some("t+/="));
        assert_eq!(element(xml, "C"), None);
        assert_eq!(query_text("t+/=~"), "t%2B%2F%3D~");
    }
}
