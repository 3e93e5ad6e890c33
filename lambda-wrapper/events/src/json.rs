//! An event as JSON, twice: as a tree to look into, and as the text that was sent. The text keeps
//! what a tree of `serde_json` loses: the digits of numbers, and records as they were written.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The longest JSON that is brought into its canonical form, in bytes. Each level of nesting is
/// read once more, so a caller could make the largest event cost seconds. Retries of large bodies
/// send the same bytes.
const CANONICAL_BYTES_MAX: usize = 1 << 20;

/// The members of an object, each as it was written. Of members with one name the last one counts,
/// as in the JSON parsers of Python and JavaScript.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The JSON of an event.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// The tree.
    pub(crate) tree: Value,
    /// The text.
    pub(crate) raw: &'a RawValue,
}

impl<'a> Document<'a> {
    /// Parses an event; `None` if it is not JSON, nests deeper than 127 levels, or has a number
    /// that no 64-bit float comes near. Such an event is opaque: only its bytes count.
    pub(crate) fn parse(event: &'a [u8]) -> Option<Document<'a>> {
        // The tree first: it bounds the depth, which the text alone does not.
        let tree = serde_json::from_slice(event).ok()?;
        let raw = serde_json::from_slice(event).ok()?;
        Some(Document { tree, raw })
    }
}

/// Returns the members of an object; `None` if the value is none.
pub(crate) fn fields(raw: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// Returns the elements of a list; `None` if the value is none.
pub(crate) fn elements(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// Returns a string of the tree, by the names of the members that lead to it.
pub(crate) fn text<'a>(tree: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(tree, |at, name| at.get(*name))?.as_str()
}

/// Returns a string that is not empty.
pub(crate) fn filled<'a>(tree: &'a Value, path: &[&str]) -> Option<&'a str> {
    text(tree, path).filter(|text| !text.trim().is_empty())
}

/// Returns true if every path leads to a string.
pub(crate) fn has_texts(tree: &Value, paths: &[&[&str]]) -> bool {
    paths.iter().all(|path| text(tree, path).is_some())
}

/// Returns true if the string at `path` is an ARN of `service`.
pub(crate) fn is_arn(tree: &Value, path: &[&str], service: &str) -> bool {
    text(tree, path).is_some_and(|text| arn_of(text, service))
}

/// Returns true if a text is an ARN of `service`, in any partition.
pub(crate) fn arn_of(text: &str, service: &str) -> bool {
    let mut pieces = text.splitn(6, ':');
    pieces.next() == Some("arn") && pieces.nth(1) == Some(service) && pieces.nth(2).is_some()
}

/// Writes JSON in its canonical form: members sorted by name, no spaces, strings escaped in one
/// way, and numbers by their value (`1.0`, `1` and `10e-1` are one). Longer JSON than
/// [`CANONICAL_BYTES_MAX`] stays as it was written.
pub(crate) fn canonical(raw: &RawValue) -> String {
    if raw.get().len() > CANONICAL_BYTES_MAX {
        return raw.get().to_owned();
    }
    let mut out = String::with_capacity(raw.get().len());
    write(raw, &mut out);
    out
}

fn write(raw: &RawValue, out: &mut String) {
    let text = raw.get();
    // The first byte tells the kind; serde_json has validated the rest.
    match text.as_bytes().first() {
        Some(b'{') => {
            let fields = fields(raw).expect("a valid object, within the depth of its tree");
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Some(b'[') => {
            let elements = elements(raw).expect("a valid list, within the depth of its tree");
            out.push('[');
            for (at, value) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(value, out);
            }
            out.push(']');
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(text).expect("a valid string of a parsed tree");
            string(&text, out);
        }
        Some(b'-' | b'0'..=b'9') => out.push_str(&number(text)),
        _ => out.push_str(text),
    }
}

fn string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

/// Writes a number as its digits without leading or trailing zeros, and a power of ten. The
/// arithmetic is on the text: no digit is lost, however many there are.
fn number(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // An exponent of more than 18 digits is beyond any use: two spellings of it stay two values.
    let Ok(exponent) = exponent.parse::<i64>() else { return text.to_owned() };
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        return "0".to_owned();
    }
    let dropped = (digits.len() - short.len()) as i64;
    let power = exponent.checked_sub(fraction.len() as i64).and_then(|power| power.checked_add(dropped));
    match power {
        Some(0) => format!("{sign}{short}"),
        Some(power) => format!("{sign}{short}e{power}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        canonical(Document::parse(text.as_bytes()).unwrap().raw)
    }

    #[test]
    fn equal_values_have_one_form() {
        for (one, other) in [
            (r#"{"b":1,"a":[1, 2]}"#, r#" { "a" : [1,2], "b" : 1 } "#),
            (r#""\u0041\/""#, r#""A/""#),
            ("1.0", "1"),
            ("10e-1", "1"),
            ("0.10", "1e-1"),
            ("-0", "0"),
            ("1200", "12E2"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(of(one), of(other), "{one} and {other}");
        }
    }

    #[test]
    fn long_json_counts_as_it_is_written() {
        let long = |space: &str| format!("[\"{}\",{space}1]", "x".repeat(CANONICAL_BYTES_MAX));
        assert_ne!(of(&long("")), of(&long(" ")));
        assert_eq!(of(&long(" ")), long(" "));
    }

    #[test]
    fn different_values_have_different_forms() {
        let all = [
            "1",
            "-1",
            "10",
            "0.1",
            "\"1\"",
            "null",
            "\"null\"",
            "true",
            "[]",
            "{}",
            "[1]",
            "[[1]]",
            "[1,1]",
            // Equal as floats.
            "12345678901234567890123",
            "12345678901234567890124",
            "0.1000000000000000055511151231257827",
            "1e300",
            "1e301",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"b":1}"#,
            r#"["a:1"]"#,
            r#""""#,
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(of(one), of(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_opaque() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "{", "{\"a\":}", "nul", "1e999", &deep, "\"\\ud800\"", "{} {}"] {
            assert!(Document::parse(text.as_bytes()).is_none(), "{:.20}", text);
        }
        assert!(Document::parse(b"\"\xff\"").is_none());
        let shallow = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(of(&shallow), shallow);
    }

    #[test]
    fn arns_are_told_by_their_service() {
        assert!(arn_of("arn:aws-cn:sqs:cn-north-1:1:q", "sqs"));
        for text in ["arn:aws:sqs", "arn:aws:sns:eu-west-1:1:q", "sqs", "", "arn:aws:sqs:eu-west-1:1"] {
            assert!(!arn_of(text, "sqs"), "{text}");
        }
    }
}
