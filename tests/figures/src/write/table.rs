//! A figure's cells as a table, for the page and for the summary.

use crate::data::{Cell, Figure, Speed};
use crate::write::text::{self, NONE};
use crate::write::view::Counts;

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) head: String,
    /// True if the column has the paper's numbers.
    pub(super) is_paper: bool,
    /// The texts, one for each row.
    pub(super) texts: Vec<String>,
}

/// A figure's rows and columns.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// The cells, by store, speed and point.
    pub(super) rows: Vec<&'a Cell>,
    pub(super) columns: Vec<Column>,
}

impl<'a> Table<'a> {
    /// Makes the table of a figure. It has only the columns for which the figure has something to
    /// show; a column of the paper's numbers follows the column that it is compared with.
    pub(super) fn of(figure: &'a Figure) -> Table<'a> {
        let speeds =
            |store| [Speed::AsIs, Speed::Cloud].into_iter().flat_map(move |speed| figure.part(store, speed));
        let mut table =
            Table { rows: figure.stores().into_iter().flat_map(speeds).collect(), columns: Vec::new() };
        table.ours("way", |cell| cell.way.clone());
        if figure.has_x() {
            table.ours(&figure.x, |cell| text::x(cell.x));
        }
        table.ours("txn/s", |cell| text::number(cell.seen.transactions_per_s));
        table.papers(|cell| {
            text::optional(
                figure.published(&cell.store, &cell.way, cell.x).and_then(|of| of.transactions_per_s),
            )
        });
        table.ours("p50 ms", |cell| text::number(cell.seen.p50_ms));
        table.ours("p99 ms", |cell| text::number(cell.seen.p99_ms));
        for baseline in figure.baselines() {
            let head = format!("this / {baseline}, {}", figure.compares());
            table.ours(&head, |cell| text::ratios(figure.ratios(cell, baseline)));
            table.papers(|cell| text::ratios(figure.published_ratios(cell, baseline)));
        }
        let in_ten_thousand = |count, cell: &Cell| text::in_ten_thousand(count, cell.seen.transactions);
        if figure.counts() == Counts::Effects {
            table.ours("happened twice in 10,000", |cell| in_ten_thousand(cell.seen.double, cell));
            table.ours("half done in 10,000", |cell| in_ten_thousand(cell.seen.half, cell));
        }
        if figure.counts() == Counts::Anomalies {
            let published = |cell: &Cell| figure.published(&cell.store, &cell.way, cell.x);
            let count = |count: Option<u64>| count.map_or_else(|| NONE.to_owned(), |count| count.to_string());
            table.ours("own-write in 10,000", |cell| in_ten_thousand(cell.seen.own_write, cell));
            table.papers(|cell| count(published(cell).and_then(|of| of.own_write)));
            table.ours("fractured in 10,000", |cell| in_ten_thousand(cell.seen.fractured, cell));
            table.papers(|cell| count(published(cell).and_then(|of| of.fractured)));
        }
        if !figure.counts_requests() {
            table.ours("attempts", |cell| {
                let attempts = cell.seen.attempts as f64 / cell.seen.transactions as f64;
                text::fixed(attempts, 3)
            });
            return table;
        }
        table.ours("requests", |cell| text::number(cell.seen.requests.values().sum()));
        table.ours("$ per million", |cell| {
            // A store without prices reports 0.
            cell.seen
                .dollars_per_million
                .filter(|dollars| *dollars > 0.0)
                .map_or_else(|| NONE.to_owned(), |dollars| text::fixed(dollars, 2))
        });
        table.ours("by call", |cell| {
            let calls = cell.seen.requests.iter().filter(|(_, count)| **count != 0.0);
            calls
                .map(|(call, count)| format!("{} {call}", text::number(*count)))
                .collect::<Vec<_>>()
                .join(", ")
        });
        table
    }

    fn ours(&mut self, head: &str, text: impl Fn(&Cell) -> String) {
        let texts = self.rows.iter().map(|cell| text(cell)).collect();
        self.columns.push(Column { head: head.to_owned(), is_paper: false, texts });
    }

    /// Adds a column of the paper's numbers after the last one, if the paper has any for the
    /// figure.
    fn papers(&mut self, text: impl Fn(&Cell) -> String) {
        let texts: Vec<String> = self.rows.iter().map(|cell| text(cell)).collect();
        if texts.iter().any(|text| text != NONE) {
            self.columns.push(Column { head: "the paper's".to_owned(), is_paper: true, texts });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::write::sample;

    #[test]
    fn every_column_has_all_rows_and_the_paper_has_columns_only_where_it_has_numbers() {
        let data = sample::data();
        for figure in &data.figures {
            let table = Table::of(figure);
            assert_eq!(table.rows.len(), figure.cells.len());
            assert!(table.columns.iter().all(|column| column.texts.len() == table.rows.len()));
            let papers = table.columns.iter().filter(|column| column.is_paper).count();
            assert_eq!(papers, if figure.id == "end-to-end" { 3 } else { 0 }, "{}", figure.id);
        }
        let table = Table::of(sample::figure(&data, "end-to-end"));
        let at = table
            .rows
            .iter()
            .position(|cell| cell.store == "DynamoDB" && cell.way == "aft")
            .expect("it is there");
        let row: Vec<&str> = table.columns.iter().map(|column| column.texts[at].as_str()).collect();
        assert_eq!(row[0], "aft");
        // The paper's ratio and anomalies are shown beside ours, but none of its times.
        assert_eq!((row[5], row[7], row[8], row[9]), ("1.15 · 1.17", "0", "0", "0"), "{row:?}");
        assert_eq!(row[row.len() - 3..], ["4.38", "21.93", "1.00 create, 0.41 list, 2.97 put"], "{row:?}");
    }
}
