//! A figure's cells as CSV (RFC 4180).

use std::collections::BTreeSet;

use crate::data::Figure;

/// The columns that every figure has. A column for each kind of call to the store follows them.
const COLUMNS: [&str; 15] = [
    "store",
    "speed",
    "way",
    "x",
    "transactions",
    "attempts",
    "transactions_per_s",
    "p50_ms",
    "p99_ms",
    "own_write",
    "fractured",
    "double",
    "half",
    "dollars_per_million",
    "requests_per_transaction",
];

/// Returns the text of the file: a heading, then one line for each cell.
pub(super) fn of(figure: &Figure) -> String {
    let calls: BTreeSet<&String> = figure.cells.iter().flat_map(|cell| cell.seen.requests.keys()).collect();
    let heads = COLUMNS.map(str::to_owned).into_iter();
    let mut text = line(heads.chain(calls.iter().map(|call| format!("{call}_per_transaction"))));
    for cell in &figure.cells {
        let seen = &cell.seen;
        let fields = [
            cell.store.clone(),
            cell.speed.slug().to_owned(),
            cell.way.clone(),
            number(cell.x),
            seen.transactions.to_string(),
            seen.attempts.to_string(),
            number(seen.transactions_per_s),
            number(seen.p50_ms),
            number(seen.p99_ms),
            seen.own_write.to_string(),
            seen.fractured.to_string(),
            seen.double.to_string(),
            seen.half.to_string(),
            seen.dollars_per_million.map(number).unwrap_or_default(),
            number(seen.requests.values().sum()),
        ];
        let by_call = calls.iter().map(|call| number(seen.requests.get(*call).copied().unwrap_or_default()));
        text.push_str(&line(fields.into_iter().chain(by_call)));
    }
    text
}

/// Formats a number; empty if it is no number. Rounds like data.json, because sums of its rounded
/// numbers would show more digits.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    rounded.to_string()
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let fields: Vec<String> = fields.map(|field| quoted(&field)).collect();
    format!("{}\r\n", fields.join(","))
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, of};
    use crate::write::sample;

    /// Parses CSV as RFC 4180 describes it.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => row.push(std::mem::take(&mut field)),
                '\r' if !is_quoted => {
                    assert_eq!(chars.next(), Some('\n'));
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                char => field.push(char),
            }
        }
        assert!(row.is_empty() && field.is_empty() && !is_quoted, "the last line ends");
        rows
    }

    #[test]
    fn each_cell_is_a_line_that_reads_back() {
        for figure in &sample::data().figures {
            let rows = parse(&of(figure));
            assert_eq!(rows.len(), figure.cells.len() + 1);
            assert_eq!(rows[0][..COLUMNS.len()], COLUMNS);
            for (row, cell) in rows[1..].iter().zip(&figure.cells) {
                assert_eq!(row.len(), rows[0].len());
                let value = |name: &str| {
                    let at = rows[0].iter().position(|head| head == name).expect("it has its column");
                    row[at].parse::<f64>().ok()
                };
                assert_eq!((&row[0], row[1].as_str(), &row[2]), (&cell.store, cell.speed.slug(), &cell.way));
                assert_eq!(value("x"), Some(cell.x));
                assert_eq!(value("transactions"), Some(cell.seen.transactions as f64));
                assert_eq!(value("p50_ms"), Some(cell.seen.p50_ms));
                assert_eq!(value("half"), Some(cell.seen.half as f64));
                assert_eq!(value("dollars_per_million"), cell.seen.dollars_per_million);
                for (call, count) in &cell.seen.requests {
                    assert_eq!(value(&format!("{call}_per_transaction")), Some(*count));
                }
            }
        }
    }

    #[test]
    fn quotes_commas_and_missing_numbers_read_back() {
        let mut data = sample::data();
        let figure = &mut data.figures[0];
        let odd = "one, \"two\"\r\nthree";
        figure.cells.truncate(1);
        figure.cells[0].way = odd.to_owned();
        figure.cells[0].seen.p99_ms = f64::NAN;
        let rows = parse(&of(figure));
        assert_eq!((rows.len(), rows[1][2].as_str(), rows[1][8].as_str()), (2, odd, ""));
    }
}
