//! The credential that a call presents: a bearer token in its head, or the certificate of its
//! connection.

use aft_access::{Presented, Unauthorized};
use aft_net::Peer;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The start of the header's value; the case of its letters does not matter.
const SCHEME: &str = "bearer ";

/// Returns the credential in a call's head; else the certificate of its connection.
pub(crate) fn presented<'a>(
    headers: &'a HeaderMap,
    peer: Option<&'a Peer>,
) -> Result<Presented<'a>, Unauthorized> {
    Ok(match (token(headers)?, peer) {
        (Some(token), _) => Presented::Token(token),
        (None, Some(Peer(names))) => Presented::Certificate(names),
        (None, None) => Presented::Nothing,
    })
}

/// Returns the bearer token in the headers.
fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.as_bytes();
    let split = value.split_at_checked(SCHEME.len());
    match split {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && values.next().is_none() =>
        {
            Ok(Some(token.trim_ascii()))
        }
        _ => Err(Unauthorized::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_is_taken() {
        let check = |values: &[&str], expect: Result<Option<&str>, ()>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let found = token(&headers).map(|token| token.map(|token| std::str::from_utf8(token).unwrap()));
            assert_eq!(found.map_err(|_| ()), expect, "{values:?}");
        };
        check(&[], Ok(None));
        check(&["Bearer abc"], Ok(Some("abc")));
        check(&["bEARER  abc "], Ok(Some("abc")));
        check(&["Bearer "], Ok(Some("")));
        for wrong in ["", "Bearer", "Basic abc", "abc", "Bearerabcdef"] {
            check(&[wrong], Err(()));
        }
        check(&["Bearer abc", "Bearer abc"], Err(()));
    }
}
