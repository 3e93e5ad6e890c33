//! Numbers for people: with as many digits as a measurement is good for, and a dash where there is
//! no number.

use crate::data::{Bound, Data, Run};

/// The text in place of a missing number.
pub(super) const NONE: &str = "–";

/// Formats a number with about three significant digits, and commas between thousands.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 0.1 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    fixed(value, digits)
}

/// Formats a number with `digits` digits after the point.
pub(super) fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    grouped(&format!("{value:.digits$}"))
}

/// Adds commas between thousands to a formatted number.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::new();
    for (nth, digit) in whole.chars().enumerate() {
        if nth > 0 && (whole.len() - nth) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// Formats a number, or returns a dash if there is none.
pub(super) fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), number)
}

/// Formats the ratios of one way to another; returns a dash if there are none.
pub(super) fn ratios(ratios: Option<Vec<Option<f64>>>) -> String {
    let each = |ratios: Vec<Option<f64>>| ratios.into_iter().map(optional).collect::<Vec<_>>().join(" · ");
    ratios.map_or_else(|| NONE.to_owned(), each)
}

/// Formats a number that was chosen, such as a point on a figure's axis, with all of its digits.
pub(super) fn x(value: f64) -> String {
    if value.is_finite() { grouped(&value.to_string()) } else { NONE.to_owned() }
}

/// Formats the rate of `count` in `of`, scaled to 10,000.
pub(super) fn in_ten_thousand(count: u64, of: u64) -> String {
    match (count, of) {
        (_, 0) => NONE.to_owned(),
        (0, _) => "0".to_owned(),
        _ => number(count as f64 * 10_000.0 / of as f64),
    }
}

/// Formats a length of time.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return NONE.to_owned();
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Returns the names and versions of the servers in a run.
pub(super) fn versions(run: &Run) -> String {
    let versions: Vec<String> =
        run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}

/// Returns the day, the seed and the duration of a run, and the load average before it.
pub(super) fn how(run: &Run) -> String {
    let load = run.load_before.map(|load| format!(", load average {load:.2} before it began"));
    let took = duration(run.took_s);
    format!("{}, seed {}, {took}{}", run.day, run.seed, load.unwrap_or_default())
}

/// Returns the aim of a bound.
pub(super) fn aim(bound: &Bound) -> String {
    format!("{} {}", if bound.at_least { "≥" } else { "≤" }, x(bound.aim))
}

/// Returns a sentence that says how many of the bounds hold.
pub(super) fn held(data: &Data) -> String {
    let bounds = || data.figures.iter().flat_map(|figure| &figure.bounds);
    format!("{} of {} hold.", bounds().filter(|bound| bound.holds()).count(), bounds().count())
}

#[cfg(test)]
mod tests {
    use super::{duration, fixed, in_ten_thousand, number, x};

    #[test]
    fn numbers_have_the_digits_that_they_are_good_for() {
        let texts = [0.0, 0.0123, 0.456, 9.876, 45.67, 345.6, 12_345.6, -1_234_567.0, f64::NAN].map(number);
        assert_eq!(texts, ["0", "0.012", "0.46", "9.88", "45.7", "346", "12,346", "-1,234,567", "–"]);
        assert_eq!((fixed(1234.5, 2), fixed(f64::INFINITY, 2)), ("1,234.50".to_owned(), "–".to_owned()));
        assert_eq!(
            [(0, 5), (1, 0), (5, 1000)].map(|(count, of)| in_ten_thousand(count, of)),
            ["0", "–", "50.0"]
        );
        assert_eq!([0.7, 10.0, 10_000.0, f64::NAN].map(x), ["0.7", "10", "10,000", "–"]);
        assert_eq!([9.6, 61.0, 4000.0].map(duration), ["10 s", "1 min 1 s", "1 h 6 min"]);
    }
}
