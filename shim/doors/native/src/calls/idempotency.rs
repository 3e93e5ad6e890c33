//! The header `Idempotency-Key`: bare, as most clients send it, or a quoted string, as
//! draft-ietf-httpapi-idempotency-key-header requires.

use aft_api::header;
use axum::http::HeaderMap;

use crate::failure::{Failure, Result};

/// Returns the request ID in the headers; `None` if there is none.
pub(crate) fn request_id(headers: &HeaderMap) -> Result<Option<String>> {
    let mut values = headers.get_all(header::IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(
            "the header Idempotency-Key is given twice: a request has one ID, so send it once",
        ));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|why| {
        let position = why.valid_up_to();
        Failure::invalid_at(
            position,
            format!("the header Idempotency-Key is not UTF-8 from byte {position} on"),
        )
    })?;
    let text = text.trim();
    match text.strip_prefix('"') {
        Some(rest) => unquote(rest).map(Some),
        None => Ok(Some(text.to_owned())),
    }
}

/// Parses the rest of a structured-field string (RFC 8941, section 3.3.3) after its first quote.
fn unquote(rest: &str) -> Result<String> {
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' if rest.len() == at + 1 => return Ok(text),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                _ => return Err(malformed(at + 1, "only \\\" and \\\\ are escapes")),
            },
            '"' => return Err(malformed(at + 1, "nothing may follow the closing quote")),
            char => text.push(char),
        }
    }
    Err(malformed(rest.len(), "the closing quote is missing"))
}

fn malformed(position: usize, why: &str) -> Failure {
    Failure::invalid_at(
        position,
        format!("the header Idempotency-Key is not a valid quoted string: {why} (byte {position})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Option<String>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        request_id(&headers)
    }

    #[test]
    fn bare_and_quoted_ids_are_equal() {
        for (sent, id) in
            [("order-7", "order-7"), ("\"order-7\"", "order-7"), (r#""a\"b\\c""#, r#"a"b\c"#), ("\"\"", "")]
        {
            assert_eq!(parse(&[sent]).unwrap().as_deref(), Some(id), "{sent}");
        }
        assert_eq!(parse(&[]).unwrap(), None);
    }

    #[test]
    fn malformed_and_repeated_headers_are_rejected() {
        for sent in ["\"a", "\"a\"b", r#""a\b""#, "\"a\"; q=1"] {
            assert!(parse(&[sent]).is_err(), "{sent}");
        }
        assert!(parse(&["a", "b"]).is_err());
    }
}
