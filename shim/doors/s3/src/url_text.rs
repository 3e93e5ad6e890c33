//! Keys as they appear in listings that ask for `encoding-type=url`: XML has no way to write most
//! control characters.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that are written as they are, besides letters and digits: those that need no
/// escape in the path of a URL. A `+` is escaped, because some clients read it as a space.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Encodes a text.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn keys_survive() {
        assert_eq!(encode("d/ä b+c%41//e\u{1}&<"), "d/%C3%A4%20b%2Bc%2541//e%01%26%3C");
        assert_eq!(encode("a-b_c.d~/e"), "a-b_c.d~/e");
    }
}
