//! The header `Idempotency-Key`: draft-ietf-httpapi-idempotency-key-header makes its value a quoted
//! string of structured fields (RFC 9651); many clients send it without quotes.

use crate::http::Request;
use crate::rules::Rules;

/// The reason why a header is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Two different values came.
    Several,
    /// A quoted string does not end, or something follows it.
    Quotes,
}

/// Returns the key in a request's headers; `None` if there is none, or an empty one.
pub(crate) fn key(rules: &Rules, request: &Request<'_>) -> Result<Option<String>, BadHeader> {
    let mut keys: Vec<String> = Vec::new();
    for value in request.headers(|name| rules.is_key_name(name)) {
        keys.extend(values(value)?);
    }
    keys.retain(|key| !key.is_empty());
    keys.dedup();
    match keys.as_slice() {
        [] => Ok(None),
        [key, others @ ..] if others.iter().all(|other| other == key) => Ok(Some(key.clone())),
        _ => Err(BadHeader::Several),
    }
}

/// Returns the values of a header line. HTTP APIs join the lines of one name with commas.
fn values(line: &str) -> Result<Vec<String>, BadHeader> {
    let mut found = Vec::new();
    let mut rest = line.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (value, after) = unquote(quoted).ok_or(BadHeader::Quotes)?;
            found.push(value);
            let after = after.trim_start();
            // Parameters may follow the string; the draft defines none, so they are ignored.
            let after =
                if after.starts_with(';') { after.find(',').map_or("", |at| &after[at..]) } else { after };
            match after.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if after.is_empty() => return Ok(found),
                None => return Err(BadHeader::Quotes),
            }
        } else {
            let (value, next) =
                rest.split_once(',').map_or((rest, None), |(value, next)| (value, Some(next)));
            found.push(value.trim().to_owned());
            match next {
                Some(next) => rest = next.trim_start(),
                None => return Ok(found),
            }
        }
    }
}

/// Returns the string up to its closing quote, without escapes, and the text after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            // Only these two are escaped in structured fields.
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                _ => return None,
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted() {
        for (line, expect) in [
            ("abc", vec!["abc"]),
            ("  abc  ", vec!["abc"]),
            ("\"abc\"", vec!["abc"]),
            ("\"a\\\"b\\\\c\"", vec!["a\"b\\c"]),
            ("\"a,b\"", vec!["a,b"]),
            ("\"a\"; v=1", vec!["a"]),
            ("\"a\", \"b\"", vec!["a", "b"]),
            ("a,b", vec!["a", "b"]),
            ("a, \"a\"", vec!["a", "a"]),
            ("\"\"", vec![""]),
            ("", vec![""]),
            ("a\"b", vec!["a\"b"]),
            ("\"schlüssel\"", vec!["schlüssel"]),
        ] {
            assert_eq!(values(line), Ok(expect.iter().map(|text| (*text).to_owned()).collect()), "{line}");
        }
        for line in ["\"abc", "\"abc\"d", "\"a\\n\"", "\"", "\"a\\"] {
            assert_eq!(values(line), Err(BadHeader::Quotes), "{line}");
        }
    }
}
