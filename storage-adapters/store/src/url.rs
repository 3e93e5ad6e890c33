//! Decoding of the URLs of stores.

use percent_encoding::percent_decode_str;

/// Returns `text`, a part of a URL, with its %-escapes decoded. Returns `None` if an escape is
/// malformed or the result is not UTF-8.
///
/// The library leaves a malformed escape unchanged. Here it is rejected, since it is most likely a
/// `%` in a password that should have been written `%25`.
pub fn unescaped(text: &str) -> Option<String> {
    let is_whole = |after: &str| {
        after.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_whole) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn escapes_are_decoded_and_malformed_ones_rejected() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(unescaped(text).as_deref(), expect, "{text}");
        };
        check("", Some(""));
        check("a%40%2fb%25", Some("a@/b%"));
        check("%c3%a9", Some("é"));
        for broken in ["%", "a%4", "%4g", "%+1", "%%41", "%c3", "%ff", "%4é"] {
            check(broken, None);
        }
    }
}
