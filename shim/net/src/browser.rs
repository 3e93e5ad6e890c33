//! The checks that keep web pages out of a server that asks for no credentials.
//!
//! A page in a browser on the same machine reaches a loopback address, and sends a call without
//! asking anybody. If the page's name resolves to a loopback address (DNS rebinding), the page also
//! reads the answers. So while there are no credentials, a call must name a loopback host, and must
//! not come from another origin. With credentials none of this is needed: a page does not have
//! them.

use std::net::IpAddr;

use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, Version};

/// The result of a check.
type Result<T> = std::result::Result<T, BadHead>;

/// The reason why a call's head is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadHead {
    /// The head breaks a rule of HTTP; the text gives the rule and the remedy.
    Malformed(String),
    /// The call may come from a web page. The text says what shows that, and the remedy.
    Foreign {
        /// The part of the head that shows it, for metrics: `host` or `origin`.
        reason: &'static str,
        /// The explanation, for people.
        detail: String,
    },
}

/// Returns the start of a text that a client sent, for a message.
pub fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut excerpt: String = text.chars().take(CHARS_MAX).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

/// The header in which a browser tells where a call comes from (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const REMEDY: &str = "call the server by a loopback address, such as http://127.0.0.1:7400, from a program; or give the server credentials (aft credentials add), with which it serves every host and origin";

/// Checks that a call names exactly one host, as HTTP/1.1 asks (RFC 9112, section 3.2).
///
/// # Errors
/// Returns [`BadHead::Malformed`] if it names none or several.
pub fn check_one_host(version: Version, headers: &HeaderMap) -> Result<()> {
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 {
        return Err(BadHead::Malformed("the call has several headers Host: send one".into()));
    }
    if hosts == 0 && version == Version::HTTP_11 {
        return Err(BadHead::Malformed(
            "the call has no header Host, which HTTP/1.1 requires: send one".into(),
        ));
    }
    Ok(())
}

/// Checks that a call cannot come from a web page, at a server without credentials.
///
/// # Errors
/// Returns [`BadHead::Foreign`] if it can, and [`BadHead::Malformed`] if its host cannot be parsed.
pub fn check(uri: &Uri, headers: &HeaderMap) -> Result<()> {
    let host = host(uri, headers)?;
    if let Some(host) = &host
        && !is_loopback(host.host())
    {
        return Err(foreign("host", format!("the call names the host {:?}", excerpt(host.as_str()))));
    }
    for origin in headers.get_all(ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let own = host.as_ref().is_some_and(|host| {
            origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host.as_str()))
        });
        if !own {
            let from = excerpt(&origin);
            return Err(foreign("origin", format!("the call comes from a web page of the origin {from:?}")));
        }
    }
    for site in headers.get_all(FETCH_SITE) {
        if site != "same-origin" && site != "none" {
            return Err(foreign("origin", "the call comes from a web page of another site".to_owned()));
        }
    }
    Ok(())
}

/// Returns the host that a call names: in its target (HTTP/2, or a proxy's form), or in its header.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let Some(text) = headers.get(HOST) else { return Ok(None) };
    match Authority::try_from(text.as_bytes()) {
        Ok(host) => Ok(Some(host)),
        Err(_) => {
            let text = String::from_utf8_lossy(text.as_bytes());
            Err(BadHead::Malformed(format!("the header Host is {:?}, which is no host", excerpt(&text))))
        }
    }
}

/// Returns true if a host is a loopback address, or a name that always stands for one (RFC 6761).
fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
    address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn foreign(reason: &'static str, what: String) -> BadHead {
    let why = "this server has no credentials, so it serves only programs on this machine";
    BadHead::Foreign { reason, detail: format!("{what}, and {why}: {REMEDY}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(target: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("tests name headers");
            map.append(name, value.parse().expect("tests send plain text"));
        }
        let checked = check(&target.parse().expect("tests name targets"), &map);
        checked.err().map(|bad| match bad {
            BadHead::Foreign { reason, .. } => reason,
            BadHead::Malformed(_) => "malformed",
        })
    }

    #[test]
    fn only_loopback_hosts_are_served() {
        for host in
            ["127.0.0.1:7400", "localhost", "LOCALHOST:1", "a.localhost:1", "localhost.:1", "[::1]:7400"]
        {
            assert_eq!(code("/v1/keys/a", &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example:7400", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1", "0.0.0.0:7400"] {
            assert_eq!(code("/v1/keys/a", &[("host", host)]), Some("host"), "{host}");
            let target = format!("http://{host}/v1/keys/a");
            assert_eq!(code(&target, &[("host", "127.0.0.1")]), Some("host"), "{target}");
        }
        assert_eq!(code("/v1/keys/a", &[("host", "a b")]), Some("malformed"));
        // HTTP/1.0, which no browser sends.
        assert_eq!(code("/v1/keys/a", &[]), None);
    }

    #[test]
    fn other_origins_are_rejected() {
        let of = |name, value| code("/v1/execute", &[("host", "localhost:7400"), (name, value)]);
        assert_eq!(of("origin", "http://localhost:7400"), None);
        for origin in ["https://evil.example", "null", "http://localhost:3000", "http://localhost", ""] {
            assert_eq!(of("origin", origin), Some("origin"), "{origin}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(of("sec-fetch-site", site), None, "{site}");
        }
        for site in ["cross-site", "same-site", "later"] {
            assert_eq!(of("sec-fetch-site", site), Some("origin"), "{site}");
        }
    }

    #[test]
    fn a_call_names_one_host() {
        let hosts = |count| {
            let mut map = HeaderMap::new();
            for _ in 0..count {
                map.append(HOST, "localhost".parse().expect("plain text"));
            }
            map
        };
        assert!(check_one_host(Version::HTTP_11, &hosts(1)).is_ok());
        assert!(check_one_host(Version::HTTP_10, &hosts(0)).is_ok());
        assert!(check_one_host(Version::HTTP_2, &hosts(0)).is_ok());
        assert!(check_one_host(Version::HTTP_11, &hosts(0)).is_err());
        assert!(check_one_host(Version::HTTP_11, &hosts(2)).is_err());
    }
}
