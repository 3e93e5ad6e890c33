//! The page: one file that loads nothing, without scripts, readable in light and dark mode and on a
//! phone.

use std::fmt::Write as _;

use aft_bench::svg::escape;

use crate::data::{Cell, Data, Figure, Run, Speed};
use crate::write::plot;
use crate::write::table::{Column, Table};
use crate::write::text;

/// The page's style, in addition to [`plot::STYLE`].
const STYLE: &str = "
body{background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.2rem;margin:3rem 0 .25rem}p,li,dd,small{color:var(--muted);overflow-wrap:anywhere}
p{max-width:46rem}a{color:var(--aft)}h2 small{font-weight:400;font-size:.9rem}code{font-size:.9em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .45rem;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
thead th{vertical-align:bottom;line-height:1.3;font-weight:600;white-space:normal}
th:first-child,td:first-child{padding-left:0;text-align:left;white-space:normal;min-width:7.5rem;position:sticky;left:0;background:var(--page)}
tbody th[colspan]{padding-top:1rem;color:var(--muted)}td.paper,th.paper{color:var(--muted)}
.points td:last-child{white-space:normal;min-width:8rem;color:var(--muted);font-size:.8rem}tr.point td{border-top:1px solid var(--axis)}.missed{color:var(--plain);font-weight:600}
.pair{display:flex;flex-wrap:wrap;gap:0 2rem;margin:.5rem 0}.pair svg{flex:1 1 300px;max-width:500px;min-width:0;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:0 1.5rem}.legend svg{width:28px;height:12px;margin-right:.4em;vertical-align:middle}
summary{cursor:pointer;margin:.5rem 0}
@media(max-width:560px){th,td{padding:.2rem .35rem}}
";

/// Returns the page in HTML.
pub(super) fn of(data: &Data) -> String {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>The paper's evaluation on one machine</title><style>{}{STYLE}</style></head><body>\n\
         <h1>The paper's evaluation on one machine</h1>",
        plot::STYLE
    );
    html.push_str(
        "<p>The measurements of the paper on AFT, which were made in the cloud, repeated with servers on one machine. Absolute times cannot be \
         compared with the paper's, but the ratios of one way to another can. Results where AFT is slower or more expensive are shown like \
         all others.</p><dl>",
    );
    for (what, value) in [
        ("Machine", escape(&data.run.machine)),
        ("Versions", escape(&text::versions(&data.run))),
        ("Day", escape(&data.run.day)),
        ("Seed", data.run.seed.to_string()),
        ("Command", format!("<code>{}</code>", escape(&data.run.command))),
        ("Took", text::duration(data.run.took_s)),
    ] {
        let _ = write!(html, "<dt>{what}</dt><dd>{value}</dd>");
    }
    if let Some(load) = data.run.load_before {
        let _ = write!(html, "<dt>Load average before</dt><dd>{load:.2}</dd>");
    }
    html.push_str(
        "</dl><p><b>As is</b>: the store is a server on this machine, at its own speed. <b>Cloud speed</b>: the same server, but every \
         call is delayed by a draw from a log-normal distribution with the cloud's published median and 99th percentile (S3 20 and 120 ms, \
         DynamoDB 5 and 20 ms, Redis 0.5 and 2 ms). AFT and what it is compared with are delayed alike.</p>\n",
    );
    html.push_str(&bounds(data));
    html.push_str("<h2>Figures</h2><ul>");
    for figure in &data.figures {
        let _ = write!(
            html,
            "<li><a href=\"#{}\">{}</a>{}</li>",
            escape(&figure.id),
            escape(&figure.title),
            paper(figure)
        );
    }
    html.push_str("</ul>\n");
    for figure in &data.figures {
        html.push_str(&section(figure));
    }
    let _ = writeln!(
        html,
        "<h2>All data</h2><p>All measurements: <a href=\"data.json\">data.json</a>. Requests are calls to the store per transaction; \
         dollars are their list price per million transactions, with a dash where the store does not charge by request.</p></body></html>"
    );
    html
}

/// Returns a note of the figure's place in the paper; empty if the paper does not have it.
fn paper(figure: &Figure) -> String {
    if figure.paper.is_empty() {
        String::new()
    } else {
        format!(" <small>the paper's {}</small>", escape(&figure.paper))
    }
}

fn bounds(data: &Data) -> String {
    let mut html = format!(
        "<h2>Bounds</h2><p>{}</p><div class=\"wide\"><table><thead><tr><th>bound</th><th>seen</th><th>aim</th><th></th>\
         <th class=\"paper\">the paper's</th></tr></thead><tbody>",
        text::held(data)
    );
    for figure in &data.figures {
        for bound in &figure.bounds {
            let verdict = if bound.holds() { "holds" } else { "<span class=\"missed\">✗ missed</span>" };
            let _ = write!(
                html,
                "<tr><td><a href=\"#{}\">{}</a></td><td>{}</td><td>{}</td><td>{verdict}</td><td class=\"paper\">{}</td></tr>",
                escape(&figure.id),
                escape(&bound.what),
                text::number(bound.seen),
                text::aim(bound),
                text::optional(bound.paper)
            );
        }
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Returns a note on the run of a figure that the run at the top did not measure.
fn run(run: &Run) -> String {
    format!(
        "<p>Measured in another run: <code>{}</code>; {}; {}; {}.</p>",
        escape(&run.command),
        escape(&run.machine),
        escape(&text::versions(run)),
        escape(&text::how(run))
    )
}

fn section(figure: &Figure) -> String {
    let mut html = format!(
        "<h2 id=\"{}\">{}{}</h2><p>{}</p>{}<p class=\"legend\">",
        escape(&figure.id),
        escape(&figure.title),
        paper(figure),
        escape(&figure.about),
        figure.run.as_ref().map(run).unwrap_or_default()
    );
    // One legend for all panels: a way looks the same in each.
    for (way, look) in plot::looks(figure) {
        let key = look.key(2.0, 6.0);
        let _ =
            write!(html, "<span><svg class=\"plot\" viewBox=\"0 0 28 12\">{key}</svg>{}</span>", escape(way));
    }
    let _ = writeln!(html, "</p><p>{}</p>", plot::strokes(figure));
    // A store's panels at both speeds are side by side, to be compared.
    for store in figure.stores() {
        html.push_str("<div class=\"pair\">");
        for speed in [Speed::AsIs, Speed::Cloud] {
            html.push_str(&plot::panel(figure, store, speed).map(|panel| panel.svg()).unwrap_or_default());
        }
        html.push_str("</div>\n");
    }
    html.push_str(&table(figure));
    html.push_str(&errors(figure));
    let _ = write!(html, "<p>The table as CSV: <a href=\"{0}.csv\">{0}.csv</a>.", escape(&figure.id));
    for speed in [Speed::AsIs, Speed::Cloud] {
        if figure.cells.iter().any(|cell| cell.speed == speed) {
            let _ = write!(
                html,
                " Plots, {0}: <a href=\"{1}-{2}.svg\">{1}-{2}.svg</a>.",
                speed.words(),
                escape(&figure.id),
                speed.slug()
            );
        }
    }
    html.push_str("</p>\n");
    html
}

/// The number of rows above which a table is folded, because the next plot would be pages away.
const OPEN_ROWS_MAX: usize = 36;

fn table(figure: &Figure) -> String {
    let Table { rows, columns } = Table::of(figure);
    let class = |column: &Column| if column.is_paper { " class=\"paper\"" } else { "" };
    let open = if rows.len() <= OPEN_ROWS_MAX { " open" } else { "" };
    let mut html = format!(
        "<details{open}><summary>Every point</summary><div class=\"wide\"><table class=\"points\"><thead><tr>"
    );
    for column in &columns {
        let _ = write!(html, "<th{}>{}</th>", class(column), escape(&column.head));
    }
    html.push_str("</tr></thead>\n");
    // A group of rows for each store and speed, and a rule where the next point begins.
    let mut before: Option<&Cell> = None;
    for (nth, cell) in rows.iter().enumerate() {
        let is_same_part =
            before.is_some_and(|before| (&before.store, before.speed) == (&cell.store, cell.speed));
        if !is_same_part {
            let _ = writeln!(
                html,
                "{}<tbody><tr><th colspan=\"{}\" scope=\"rowgroup\">{}, {}</th></tr>",
                if nth == 0 { "" } else { "</tbody>" },
                columns.len(),
                escape(&cell.store),
                cell.speed.words()
            );
        }
        let is_next_point = is_same_part && before.is_some_and(|before| before.x != cell.x);
        html.push_str(if is_next_point { "<tr class=\"point\">" } else { "<tr>" });
        for column in &columns {
            let _ = write!(html, "<td{}>{}</td>", class(column), escape(&column.texts[nth]));
        }
        html.push_str("</tr>\n");
        before = Some(cell);
    }
    html.push_str(if rows.is_empty() {
        "</table></div></details>"
    } else {
        "</tbody></table></div></details>"
    });
    html
}

/// Returns a list of the attempts that failed; empty if none did.
fn errors(figure: &Figure) -> String {
    let mut html = String::new();
    for cell in figure.cells.iter().filter(|cell| !cell.seen.errors.is_empty()) {
        let errors = cell.seen.errors.iter().map(|(code, count)| format!("{count} {}", escape(code)));
        let at = if figure.has_x() {
            format!(", {} {}", text::x(cell.x), escape(&figure.x))
        } else {
            String::new()
        };
        let _ = write!(
            html,
            "<li>{}, {}, {}{at}: {}, of {} attempts</li>",
            escape(&cell.store),
            cell.speed.words(),
            escape(&cell.way),
            errors.collect::<Vec<_>>().join(", "),
            cell.seen.attempts
        );
    }
    if html.is_empty() { html } else { format!("<p>Attempts that failed:</p><ul>{html}</ul>\n") }
}

#[cfg(test)]
mod tests {
    use aft_bench::svg::escape;

    use super::of;
    use crate::write::sample::{self, assert_well_formed};
    use crate::write::{plot, text};

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let data = sample::data();
        let html = of(&data);
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        assert_well_formed(&html);
        for foreign in ["<script", "http://", "https://", "<link", "NaN", "inf,", "url("] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        for head in [&data.run.machine, &data.run.day, &data.run.command] {
            assert!(html.contains(&escape(head)), "{head}");
        }
        for head in ["Valkey 9.0.1", "<dd>7</dd>", "45 min 12 s"] {
            assert!(html.contains(head), "{head}");
        }
    }

    #[test]
    fn it_names_every_bound_and_every_cells_numbers() {
        let data = sample::data();
        let html = of(&data);
        for bound in data.figures.iter().flat_map(|figure| &figure.bounds) {
            assert_eq!(html.matches(&format!(">{}</a>", escape(&bound.what))).count(), 1, "{}", bound.what);
        }
        assert_eq!(html.matches("✗ missed").count(), data.figures.len());
        let mut sections = html.split("<h2 id=").skip(1);
        for figure in &data.figures {
            let section = sections.next().expect("each figure has its section");
            assert!(section.contains(&escape(&figure.title)) && section.contains(&figure.about));
            let panels = section.matches("role=\"img\"").count();
            let mut seen: Vec<_> = figure.cells.iter().map(|cell| (&cell.store, cell.speed)).collect();
            seen.dedup();
            assert_eq!(panels, seen.len(), "{}", figure.id);
            for cell in &figure.cells {
                let x = if figure.has_x() { format!("<td>{}</td>", text::x(cell.x)) } else { String::new() };
                let numbers =
                    [cell.seen.transactions_per_s, cell.seen.p50_ms, cell.seen.p99_ms].map(text::number);
                let row = format!("<td>{}</td>{x}<td>{}</td>", cell.way, numbers.join("</td><td>"));
                assert!(section.contains(&row), "{row}");
            }
        }
        assert!(html.contains("3 conflict, of"), "attempts that failed are listed");
    }

    #[test]
    fn every_row_of_a_table_has_all_columns() {
        for figure in &sample::data().figures {
            let html = super::table(figure);
            let columns = html.split("</thead>").next().unwrap_or_default().matches("<th").count() - 1;
            let rows: Vec<&str> = html.split("<tr").filter(|row| row.contains("<td")).collect();
            assert_eq!(rows.len(), figure.cells.len());
            for row in rows {
                assert_eq!(row.matches("<td").count(), columns, "{row}");
            }
        }
        assert!(plot::STYLE.contains("prefers-color-scheme:dark"));
    }
}
