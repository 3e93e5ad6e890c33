//! Encoding of keys and names in paths and queries.

use crate::error::Error;
use crate::settings::KEY_BYTES_MAX;

/// Checks a key at once; otherwise only the commit would report a key that is not valid.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::invalid("a key has at least 1 byte; this one is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        len => Err(Error::invalid(format!("a key has at most {KEY_BYTES_MAX} bytes; this one has {len}"))),
    }
}

/// Returns the path of a key below `parent`, which is `/v1` or a transaction's path.
pub(crate) fn key(parent: &str, key: &str) -> String {
    named(parent, "keys", "key?name", key)
}

/// Returns the path of a request.
pub(crate) fn request(id: &str) -> String {
    named("/v1", "requests", "request?id", id)
}

/// Returns the path of a request's result.
pub(crate) fn result(id: &str) -> String {
    named("/v1", "results", "result?id", id)
}

/// Returns `path` with a further parameter in its query.
pub(crate) fn with(path: String, parameter: &str, value: &str) -> String {
    let before = if path.contains('?') { '&' } else { '?' };
    format!("{path}{before}{parameter}={}", encode(value))
}

/// Puts a name into the path where it stays as it is. Proxies resolve the segments `.` and `..`,
/// and join slashes, so a name with such a segment goes into the query.
fn named(parent: &str, under: &str, parameter: &str, name: &str) -> String {
    match is_plain(name) {
        true => format!("{parent}/{under}/{}", encode(name)),
        false => format!("{parent}/{parameter}={}", encode(name).replace('/', "%2F")),
    }
}

fn is_plain(name: &str) -> bool {
    name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Percent-encodes all bytes but those that are allowed in a path and in a query. `/` stays, since
/// it is an ordinary byte of keys.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_encode_alike() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
        let paths = vectors["paths"].as_array().unwrap();
        assert!(paths.len() > 10);
        for vector in paths {
            let name = vector["key"].as_str().unwrap();
            let expect = match (vector["path"].as_str(), vector["query"].as_str()) {
                (Some(path), None) => format!("/v1/keys/{path}"),
                (None, Some(query)) => format!("/v1/key?name={query}"),
                other => panic!("{vector}: {other:?}"),
            };
            assert_eq!(key("/v1", name), expect);
        }
    }

    #[test]
    fn names_that_proxies_rewrite_go_into_the_query() {
        assert_eq!(request("a//b"), "/v1/request?id=a%2F%2Fb");
        assert_eq!(request("a/b"), "/v1/requests/a/b");
        assert_eq!(result("a/../b"), "/v1/result?id=a%2F..%2Fb");
        assert_eq!(with(result("x/"), "scope", "a/b"), "/v1/result?id=x%2F&scope=a/b");
        assert_eq!(with(result("x"), "scope", "a&b"), "/v1/results/x?scope=a%26b");
        assert_eq!(key("/v1/transactions/t", "./a"), "/v1/transactions/t/key?name=.%2Fa");
        assert_eq!(key("/v1/transactions/t", "a"), "/v1/transactions/t/keys/a");
    }
}
