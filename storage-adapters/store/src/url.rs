//! What the URLs of stores have in common.

use percent_encoding::percent_decode_str;

/// A part of a URL with its %-escapes resolved; `None` if one is broken, or if the bytes are no UTF-8. The library lets a broken one stand for itself; here it is
/// most likely a `%` of a password that was not written `%25`.
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
    fn escapes_are_resolved_or_refused() {
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
