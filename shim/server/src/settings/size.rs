//! Sizes with a unit: `64 MiB` is 64 × 2^20 bytes, `64 MB` is 64 × 10^6.

/// The units and their sizes, in the spelling of IEC 80000-13 and of the SI.
const UNITS: [(&str, u128); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Returns a size in bytes: a whole number, which may be followed by a unit, in any case and with
/// or without a space between them. `None` if it is something else. Far more than any memory is
/// still a number, so that a message can say that it is too large.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // A sign, a fraction or an exponent is no digit, and so would begin the unit.
    let number: u128 = number.parse().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, size) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    Some(number.saturating_mul(*size))
}

/// Returns a size in bytes with the largest binary unit that leaves a whole number; `None` if that
/// is a byte.
pub(crate) fn show(bytes: u64) -> Option<String> {
    let bytes = u128::from(bytes);
    let binary = UNITS[1..5].iter().rev();
    let (unit, size) = binary.into_iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))?;
    Some(format!("{} {unit}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("67108864", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("64 MB", 64_000_000),
            ("16 KiB", 16 << 10),
            ("16 kB", 16_000),
            ("16 KB", 16_000),
            ("1 GiB", 1 << 30),
            ("2 TB", 2_000_000_000_000),
            ("7 B", 7),
            ("18446744073709551616", 1 << 64),
            ("16777216 TiB", 1 << 64),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            " ",
            "MiB",
            "-1",
            "+1",
            "1.5 GiB",
            "1e9",
            "64 M",
            "64 Mi",
            "64  MiB",
            "64 MiB ",
            " 64 MiB",
            "64 megabytes",
            "1_000",
            "6٤",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_shown_size_is_read_back() {
        for bytes in [1 << 10, 3 << 10, 16 << 10, 64 << 20, 5 << 30, 3 << 40, 64_512_000] {
            let shown = show(bytes).expect("a multiple of 1 KiB has a unit");
            assert_eq!(parse(&shown), Some(u128::from(bytes)), "{shown}");
        }
        assert_eq!(show(64 << 20).as_deref(), Some("64 MiB"));
        assert!([0, 1, 1_023, 1_536].into_iter().all(|bytes| show(bytes).is_none()));
    }
}
