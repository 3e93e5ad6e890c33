//! The summary in `docs/benchmarks.md`: the text between two comments. The rest of the document is
//! left alone.

use std::fmt::Write as _;

use crate::data::{Data, Figure};
use crate::levels;
use crate::others;
use crate::write::table::Table;
use crate::write::text;

const BEGIN: &str = "<!-- figures:begin -->";
const END: &str = "<!-- figures:end -->";

/// Returns the document with `summary` between its two comments.
///
/// # Errors
/// Returns a message if the two comments are not there once each, in this order.
pub(super) fn replaced(document: &str, summary: &str) -> Result<String, String> {
    let missing =
        || format!("{BEGIN} and {END}, in this order and once each, must mark where the summary goes");
    if document.matches(BEGIN).count() != 1 || document.matches(END).count() != 1 {
        return Err(missing());
    }
    let (before, rest) = document.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{summary}{END}{after}"))
}

/// Returns the summary in Markdown: one sentence a line, since people read the file as text too.
pub(super) fn of(data: &Data) -> String {
    let mut md = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        md,
        "**Machine**: {}.\n\
         **Versions**: {}.\n\
         **Run**: {}.\n\
         Every figure with its plot and table: [docs/figures/index.html](figures/index.html).\n\
         *As is*: servers on this machine, at their own speed.\n\
         *Cloud speed*: every call is delayed as in the cloud, for AFT and for the others alike.\n",
        data.run.machine,
        text::versions(&data.run),
        text::how(&data.run)
    );
    for (run, figures) in data.other_runs() {
        let titles: Vec<&str> = figures.iter().map(|figure| figure.title.as_str()).collect();
        let _ = writeln!(
            md,
            "* Another run, `{}`:\n  *{}*.\n  Machine: {}.\n  Versions: {}.\n  Run: {}.",
            run.command,
            titles.join("*,\n  *"),
            run.machine,
            text::versions(run),
            text::how(run)
        );
    }
    md.push_str(&bounds(data));
    let has_table = |figure: &&Figure| figure.id == "end-to-end" || is_own_part(figure);
    for figure in data.figures.iter().filter(has_table) {
        md.push_str(&whole(figure));
    }
    md
}

fn bounds(data: &Data) -> String {
    let mut md = String::from("\n| bound | seen | aim | | the paper's |\n|---|---|---|---|---|\n");
    for bound in data.figures.iter().flat_map(|figure| &figure.bounds) {
        let _ = writeln!(
            md,
            "| {} | {} | {} | {} | {} |",
            escape(&bound.what),
            text::number(bound.seen),
            text::aim(bound),
            if bound.holds() { "holds" } else { "**missed**" },
            text::optional(bound.paper)
        );
    }
    let _ = writeln!(md, "\n{}", text::held(data));
    md
}

/// Returns true if a figure's table is shown under its own title.
fn is_own_part(figure: &Figure) -> bool {
    others::compares(&figure.id) || levels::shows(&figure.id)
}

/// Returns a figure's description and a table of every point.
fn whole(figure: &Figure) -> String {
    let Table { rows, columns } = Table::of(figure);
    let mut md = format!("\n{}\n\n| store |", figure.about);
    if is_own_part(figure) {
        md.insert_str(0, &format!("\n**{}**\n", figure.title));
    }
    for column in &columns {
        let _ = write!(md, " {} |", escape(&column.head));
    }
    let _ = writeln!(md, "\n|---|{}", "---|".repeat(columns.len()));
    for (nth, cell) in rows.iter().enumerate() {
        let _ = write!(md, "| {}, {} |", escape(&cell.store), cell.speed.words());
        for column in &columns {
            let _ = write!(md, " {} |", escape(&column.texts[nth]));
        }
        md.push('\n');
    }
    md
}

/// Escapes the text of a table's cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, of, replaced};
    use crate::write::sample;

    #[test]
    fn only_what_is_between_the_comments_is_replaced() {
        let document = format!("# One\n\n{BEGIN}\nold\n{END}\n\ntwo | three\n");
        let once = replaced(&document, "new\n").expect("it is marked");
        assert_eq!(once, format!("# One\n\n{BEGIN}\nnew\n{END}\n\ntwo | three\n"));
        assert_eq!(replaced(&once, "new\n").as_ref(), Ok(&once), "again changes nothing");
        assert_eq!(replaced(&once, "old\n"), Ok(document), "and back");
    }

    #[test]
    fn comments_that_are_missing_or_out_of_order_are_named() {
        for document in
            [String::new(), BEGIN.into(), format!("{END} {BEGIN}"), format!("{BEGIN}{END}{BEGIN}")]
        {
            let why = replaced(&document, "new").expect_err("it is not marked");
            assert!(why.contains(BEGIN) && why.contains(END), "{why}");
        }
    }

    #[test]
    fn it_has_every_bound_and_the_end_to_end_figures() {
        let data = sample::data();
        let md = of(&data);
        let bounds = data.figures.iter().flat_map(|figure| &figure.bounds);
        for bound in bounds {
            assert_eq!(md.matches(&bound.what.replace('|', "\\|")).count(), 1, "{}", bound.what);
        }
        assert!(md.contains("**missed**") && md.contains(&data.run.machine), "{md}");
        assert!(md.contains("(figures/index.html)"), "{md}");
        // Every line of a table has as many cells as the one above it.
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let lines: Vec<&str> = md.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with('|'))) {
            assert_eq!(cells(pair[0]), cells(pair[1]), "{pair:?}");
        }
        let end_to_end = sample::figure(&data, "end-to-end");
        assert_eq!(
            lines.iter().filter(|line| line.contains(", cloud speed |")).count() * 2,
            end_to_end.cells.len()
        );
    }
}
