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
    use super::encode;

    #[test]
    fn all_clients_encode_alike() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
        let paths = vectors["paths"].as_array().unwrap();
        assert!(paths.len() > 10);
        for vector in paths {
            assert_eq!(Some(encode(vector["key"].as_str().unwrap()).as_str()), vector["path"].as_str());
        }
    }
}
