//! Numbers for people: as many digits as a measurement is good for, and a dash where there is none.

use crate::data::{Bound, Data, Run};

/// What stands for a number that is not there.
pub(super) const NONE: &str = "–";

/// Three digits or so, with commas between thousands.
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

/// With so many digits after the point.
pub(super) fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    grouped(&format!("{value:.digits$}"))
}

/// The same number, with commas between thousands.
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

/// A number, or a dash.
pub(super) fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), number)
}

/// One way against another: each ratio, or a dash where there is none at all.
pub(super) fn ratios(ratios: Option<Vec<Option<f64>>>) -> String {
    let each = |ratios: Vec<Option<f64>>| ratios.into_iter().map(optional).collect::<Vec<_>>().join(" · ");
    ratios.map_or_else(|| NONE.to_owned(), each)
}

/// A number that somebody chose, as a point on a figure's axis.
pub(super) fn x(value: f64) -> String {
    if value.is_finite() { grouped(&value.to_string()) } else { NONE.to_owned() }
}

/// So many in 10,000 of `of`.
pub(super) fn in_ten_thousand(count: u64, of: u64) -> String {
    match (count, of) {
        (_, 0) => NONE.to_owned(),
        (0, _) => "0".to_owned(),
        _ => number(count as f64 * 10_000.0 / of as f64),
    }
}

/// A length of time.
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

/// Names and versions of what took part.
pub(super) fn versions(run: &Run) -> String {
    let versions: Vec<String> =
        run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}

/// Tells when and how long a run measured, and what else the machine did.
pub(super) fn how(run: &Run) -> String {
    let load = run.load_before.map(|load| format!(", load average {load:.2} before it began"));
    let took = duration(run.took_s);
    format!("{}, seed {}, {took}{}", run.day, run.seed, load.unwrap_or_default())
}

/// What a bound asks for.
pub(super) fn aim(bound: &Bound) -> String {
    format!("{} {}", if bound.at_least { "≥" } else { "≤" }, x(bound.aim))
}

/// How many of the bounds hold.
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
