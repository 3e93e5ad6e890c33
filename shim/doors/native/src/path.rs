//! Keys, tokens and queries from a request's target. Percent-decoded text that is not UTF-8 is
//! rejected with its position, and never replaced.

use aft_api::Code;
use aft_format::TransactionToken;

use crate::failure::{Failure, Result};
use aft_net::browser::excerpt;

/// Returns the part of `path` after the first occurrence of a marker like `/keys/`, still encoded.
pub(crate) fn after<'a>(path: &'a str, marker: &str) -> &'a str {
    path.split_once(marker).map_or("", |(_, rest)| rest)
}

/// Parses the transaction's token in `/v1/transactions/{t}/…`.
pub(crate) fn transaction(path: &str) -> Result<TransactionToken> {
    let rest = path.strip_prefix("/v1/transactions/").unwrap_or_default();
    let text = rest.split('/').next().unwrap_or_default();
    text.parse().map_err(|_| {
        let detail = format!(
            "{:?} is not a transaction's token: a token has {} characters and comes from POST /v1/transactions",
            excerpt(text),
            TransactionToken::LEN
        );
        Failure::new(Code::NotFound, detail)
    })
}

/// Decodes percent-encoded text from a path, or from a query, where `+` is a space. `what` names
/// the text in messages.
pub(crate) fn decode(encoded: &str, what: &str, plus_is_space: bool) -> Result<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let digits = tail.get(..2).and_then(|digits| Some((digit(digits[0])?, digit(digits[1])?)));
                let Some((high, low)) = digits else {
                    let position = encoded.len() - tail.len() - 1;
                    return Err(Failure::invalid_at(
                        position,
                        format!(
                            "{what} has a % at byte {position} without two hexadecimal digits after it: write %25 for a %"
                        ),
                    ));
                };
                bytes.push(high << 4 | low);
                rest = &tail[2..];
            }
            b'+' if plus_is_space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    // The decoded bytes are checked as a whole: one character may be several encoded bytes. The
    // position then counts decoded bytes.
    String::from_utf8(bytes).map_err(|why| {
        let position = why.utf8_error().valid_up_to();
        Failure::invalid_at(
            position,
            format!("{what} is not UTF-8 from byte {position} on (counted after percent-decoding)"),
        )
    })
}

/// Percent-encodes all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Parses the parameters of a query, in the order of `names`. Each may be given once, and no
/// others.
pub(crate) fn query<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N]> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            let known = if N == 0 {
                "it takes no parameters".to_owned()
            } else {
                format!("it takes {}", names.join(", "))
            };
            return Err(Failure::invalid(format!(
                "the call does not take the parameter {:?}: {known}",
                excerpt(name)
            )));
        };
        if values[at].replace(decode(value, names[at], true)?).is_some() {
            return Err(Failure::invalid(format!(
                "the parameter {name:?} is given twice in the query: give it once"
            )));
        }
    }
    Ok(values)
}

/// Parses a parameter that is true or false. If it is left out, it is false.
pub(crate) fn flag(name: &str, text: Option<&str>) -> Result<bool> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(Failure::invalid(format!("{name} must be true or false, not {:?}", excerpt(other))))
        }
    }
}

#[cfg(test)]
mod tests {
    use aft_core::ids::Key;
    use aft_desk::Refused;

    use super::*;

    #[test]
    fn keys_are_decoded_or_rejected_with_the_position() {
        let key = |encoded: &str| {
            let text = decode(encoded, "the key", false)?;
            Key::parse(&text).map_err(|why| Failure::from(Refused::Key(why)))
        };
        let ok = |encoded: &str, expected: &str| assert_eq!(key(encoded).unwrap().as_str(), expected);
        ok("a/b", "a/b");
        ok("a%2Fb%2fc", "a/b/c");
        ok("%C3%A4+", "ä+");
        ok("%00", "\0");
        ok(&encode("a/b ä+%"), "a/b ä+%");
        let refused = |encoded: &str, position: Option<usize>, part: &str| {
            let problem = key(encoded).unwrap_err().problem;
            assert_eq!((problem.code, problem.position), (Code::Invalid, position), "{problem:?}");
            assert!(problem.detail.contains(part), "{problem:?}");
        };
        refused("", None, "at least one byte");
        refused("ab%", Some(2), "byte 2");
        refused("ab%4", Some(2), "%25");
        refused("a%zz", Some(1), "%25");
        refused("a%20%FFb", Some(2), "not UTF-8");
        refused(&"x".repeat(Key::BYTES_MAX + 1), None, "at most 1088 bytes; this one has 1089");
    }

    #[test]
    fn queries_take_each_known_parameter_once() {
        let values = query(Some("prefix=a+b%2F&after="), ["prefix", "after", "limit"]).unwrap();
        assert_eq!(values, [Some("a b/".to_owned()), Some(String::new()), None]);
        assert!(query(Some("x=1"), ["y"]).unwrap_err().problem.detail.contains("it takes y"));
        assert!(query(Some("y=1&y=2"), ["y"]).unwrap_err().problem.detail.contains("twice"));
        assert!(query(Some("y=%ff"), ["y"]).unwrap_err().problem.detail.contains("not UTF-8"));
    }
}
