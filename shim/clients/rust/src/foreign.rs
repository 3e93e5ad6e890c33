//! Answers that are not of AFT: those of proxies, gateways and captive portals.
//!
//! ```text
//!   status                           the call
//!   3xx, 400, 401, 403, 404, 405,    was not passed on, and will not be: permanent
//!     407, 410, 411, 413, 414, 431,
//!     501
//!   429                              was not passed on now
//!   2xx                              may have been passed on; a read will not be answered
//!   others                           may have been passed on
//! ```

use hyper::header::{LOCATION, RETRY_AFTER, SERVER, VIA};

use crate::answer::{Fault, text};
use crate::error::Error;
use crate::transport::Answer;

/// The most characters of a foreign body that an error repeats.
const EXCERPT_LEN: usize = 200;

/// Converts an answer without a problem document.
pub(crate) fn foreign(answer: &Answer) -> Fault {
    let told = describe(answer);
    match answer.status.as_u16() {
        300..=399 | 400 | 401 | 403 | 404 | 405 | 407 | 410 | 411 | 413 | 414 | 431 | 501 => {
            Fault::Refused(Error::permanent(told))
        }
        429 => Fault::Refused(Error::turned_away(told, pause_ms(answer))),
        200..=299 => Fault::Strange(told),
        _ => Fault::NoAnswer(told),
    }
}

/// Returns what the answer says, and that it is not AFT's.
fn describe(answer: &Answer) -> String {
    let reason = answer.reason.as_deref().or(answer.status.canonical_reason()).unwrap_or_default();
    let mut told = format!("status {} {reason}", answer.status.as_u16()).trim_end().to_owned();
    for name in [LOCATION, SERVER, VIA] {
        if let Some(value) = text(answer, name.as_str()) {
            told.push_str(&format!(", {}: {}", title(name.as_str()), printable(&value)));
        }
    }
    let body = printable(&without_markup(&String::from_utf8_lossy(&answer.body)));
    if !body.is_empty() {
        told.push_str(&format!(", {body:?}"));
    }
    format!("{told}: this is not AFT's answer: a proxy's? Check the URL, and what stands before the server")
}

/// Returns a header's name as people write it.
fn title(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// Returns the text between tags, without scripts and styles.
fn without_markup(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        kept.push_str(before);
        kept.push(' ');
        let hidden = ["script", "style"]
            .into_iter()
            .find(|name| tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let after = match hidden {
            Some(name) => {
                let end = tag.to_ascii_lowercase().find(&format!("</{name}"));
                end.map_or("", |end| &tag[end..])
            }
            None => tag,
        };
        rest = after.split_once('>').map_or("", |(_, rest)| rest);
    }
    kept.push_str(rest);
    kept
}

/// Returns the first printable characters, with single spaces.
fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).take(EXCERPT_LEN).collect()
}

/// Returns the pause of the header `Retry-After` in milliseconds, if it is a number of seconds.
fn pause_ms(answer: &Answer) -> Option<u64> {
    text(answer, RETRY_AFTER.as_str())?.trim().parse::<u64>().ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: map, body: body.into(), reason: None }
    }

    #[test]
    fn every_status_of_a_proxy_has_its_kind() {
        for status in 200..600 {
            let fault = foreign(&answer(status, &[], ""));
            let harmless = fault.clone().harmless();
            let committing = fault.committing();
            match status {
                200..=299 => {
                    assert!(!harmless.is_retryable(), "{status}: {harmless:?}");
                    assert!(matches!(committing, Error::Unknown(_)), "{status}: {committing:?}");
                }
                300..=399 | 400 | 401 | 403 | 404 | 405 | 407 | 410 | 411 | 413 | 414 | 431 | 501 => {
                    assert!(!harmless.is_retryable(), "{status}: {harmless:?}");
                    assert!(matches!(committing, Error::Unavailable(_)), "{status}: {committing:?}");
                }
                429 => {
                    assert!(committing.is_retryable() && committing.is_turned_away(), "{committing:?}");
                }
                _ => {
                    assert!(harmless.is_retryable(), "{status}: {harmless:?}");
                    assert!(matches!(committing, Error::Unknown(_)), "{status}: {committing:?}");
                }
            }
        }
    }

    #[test]
    fn the_error_says_what_the_proxy_said() {
        let headers = [("location", "https://login.example/"), ("server", "nginx"), ("via", "1.1 squid")];
        let page = "<html><head><style>b { }</style><title>Moved</title></head><body>\u{7}Go\n <b>there</b>";
        let why = foreign(&answer(308, &headers, page)).harmless().to_string();
        for part in [
            "status 308 Permanent Redirect",
            "Location: https://login.example/",
            "Server: nginx",
            "Via: 1.1 squid",
            "\"Moved Go there\"",
            "this is not AFT's answer: a proxy's?",
        ] {
            assert!(why.contains(part), "{part:?} is missing in {why}");
        }
        let long = foreign(&answer(403, &[], "x".repeat(10_000).leak())).harmless().to_string();
        assert!(long.len() < 600, "{long}");
    }

    #[test]
    fn a_proxys_pause_is_kept() {
        let pause = |text| foreign(&answer(429, &[("retry-after", text)], "")).harmless().retry_after_ms();
        assert_eq!(pause("2"), Some(2_000));
        assert_eq!(pause("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
