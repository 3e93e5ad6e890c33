//! The HTML report: one self-contained file, readable in light and dark mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::demo::outcome::{Balances, EXPLANATION, Outcome, Row};
use crate::demo::plot::{Mark, Plot, Series};
use crate::demo::run::Found;
use crate::demo::timeline::{Entries, Event};
use crate::svg::escape;

/// The number of points of a latency curve.
const CURVE_POINTS: u32 = 200;

const STYLE: &str = "
:root{color-scheme:light dark;--page:#fcfcfb;--ink:#0b0b0b;--muted:#52514e;--grid:#e1e0d9;--axis:#8f8d86;
--direct:#eb6834;--shim:#2a78d6;--wrong:#c92a2a}
@media(prefers-color-scheme:dark){:root{--page:#1a1a19;--ink:#fff;--muted:#c3c2b7;--grid:#2c2c2a;--axis:#77756e;
--direct:#d95926;--shim:#3987e5;--wrong:#ff7b72}}
body{background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:780px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .25rem}p,li{color:var(--muted);overflow-wrap:anywhere}
.verdict{color:var(--ink);font-size:1.1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem 0 .25rem 1rem;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
th:first-child,td:first-child{padding-left:0;text-align:left;white-space:normal}
tbody th{padding-top:1rem;color:var(--muted);font-size:.9rem}td.wrong{color:var(--wrong);font-weight:600}
svg{width:100%;height:auto;display:block}svg text{fill:var(--muted);font-size:12px}
@media(max-width:560px){svg text{font-size:20px}}
text.end{text-anchor:end}.middle{text-anchor:middle}.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}
.line{fill:none;stroke-width:2}.line.direct{stroke:var(--direct)}.line.shim{stroke:var(--shim)}.mark{stroke:var(--muted)}
circle.direct{fill:var(--direct)}circle.shim{fill:var(--shim)}
.key{display:inline-block;width:1.2em;height:3px;vertical-align:middle;margin-right:.4em}.key+.key,.key.shim{margin-left:1em}
.key.direct{background:var(--direct)}.key.shim{background:var(--shim)}
";

const LEGEND: &str =
    "<p><span class=\"key direct\"></span>direct <span class=\"key shim\"></span>through the shim</p>";

/// Returns the report as HTML.
pub(crate) fn page(outcome: &Outcome, direct: &Found, shim: &Found) -> String {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>aft demo</title><style>{STYLE}</style></head><body>\
         <h1>Bank transfers, without and with the shim</h1><p class=\"verdict\">{}</p>",
        escape(outcome.verdict())
    );
    let (left, right) = (outcome.runs.direct.rows(), outcome.runs.shim.rows());
    html.push_str(&table(["direct", "shim"], &left, &right));
    // The second table: both isolation levels.
    let Balances { read_atomic, serializable, .. } = &outcome.balances;
    let _ = write!(
        html,
        "<h2>Balances at the two isolation levels</h2><p class=\"verdict\">{}</p>{}<p>Transfers through the shim between any two of {} \
         accounts, at the same time. Two that read the same balance may both commit at <code>read_atomic</code>, and the later one \
         overwrites the earlier one. At <code>serializable</code> one of the two is rejected with <code>conflict</code>, and retried.</p>",
        escape(outcome.balances.verdict()),
        table(["read_atomic", "serializable"], &read_atomic.rows(), &serializable.rows()),
        serializable.accounts,
    );
    // Two plots: money over time, then latencies.
    let _ = write!(html, "<h2>Money created or lost</h2>{LEGEND}{}", money(direct, shim));
    html.push_str(
        "<p>What auditors saw during the runs: the sum of the balances of all pairs, minus the correct sum; 0 is right. \
         A line ends with its run. The marks below show the faults injected into the direct run: functions killed between their writes, \
         requests delivered twice at once, and functions that came back after another attempt had done their work. The run through the \
         shim had the same faults.</p>",
    );
    let _ = write!(html, "<h2>Latency of a request</h2>{LEGEND}{}", latencies(direct, shim));
    html.push_str(
        "<p>Latency is the time from the request to its acknowledgement, over two processes and all attempts. The curve shows the share \
         of requests that were at least as fast; the slowest 1 % are left out.</p><h2>How the demo works</h2><ul>",
    );
    for line in EXPLANATION {
        let _ = write!(html, "<li>{}</li>", text(line));
    }
    let shim = &outcome.runs.shim.common;
    let _ = writeln!(
        html,
        "</ul><p>Machine: {}<br>Store of the direct run: {}<br>Store of the run through the shim: {}<br>Store of the balances: {}<br>To \
         run the same requests with the same faults again: <code>aft demo --requests {} --seed {}</code></p></body></html>",
        escape(&outcome.machine),
        escape(&outcome.runs.direct.common.store),
        escape(&shim.store),
        escape(&outcome.balances.store),
        shim.workload.requests,
        shim.seed
    );
    html
}

/// Returns `line` as markup, with the parts between backquotes as code.
fn text(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts
        .map(|(nth, part)| if nth % 2 == 0 { escape(part) } else { format!("<code>{}</code>", escape(part)) })
        .collect()
}

fn table(columns: [&str; 2], left: &[Row], right: &[Row]) -> String {
    let [one, other] = columns;
    let mut html = format!("<table><thead><tr><th></th><th>{one}</th><th>{other}</th></tr></thead>");
    let rows: Vec<(&Row, &Row)> = left.iter().zip(right).collect();
    for part in rows.chunk_by(|(one, _), (next, _)| one.part == next.part) {
        let _ = write!(
            html,
            "<tbody><tr><th colspan=\"3\" scope=\"rowgroup\">{}</th></tr>",
            part[0].0.part.as_str()
        );
        for (left, right) in part {
            let _ = write!(html, "<tr><td>{}</td>", left.what);
            for row in [left, right] {
                let (class, mark) = if row.is_wrong { (" class=\"wrong\"", "✗ ") } else { ("", "") };
                let _ = write!(html, "<td{class}>{mark}{}</td>", row.text);
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody>");
    }
    html.push_str("</table>");
    html
}

fn money(direct: &Found, shim: &Found) -> String {
    let row = |event: &Event| match event {
        Event::Killed => 0,
        Event::Twice => 1,
        Event::Late => 2,
    };
    let events = direct.timeline.events.iter();
    Plot {
        title: "money created or lost over time",
        x_label: "seconds",
        y_label: "units of money",
        // The flat line is drawn first, so that the other one does not hide it.
        series: vec![
            Series { name: "shim", points: money_off(&shim.timeline), steps: true },
            Series { name: "direct", points: money_off(&direct.timeline), steps: true },
        ],
        marks: events.map(|(at_s, event)| Mark { x: *at_s, row: row(event) }).collect(),
        mark_rows: vec!["killed", "twice", "back late"],
    }
    .svg()
}

/// Returns the surplus of all pairs together over time, as far as auditors have seen it; one point
/// per change.
fn money_off(timeline: &Entries) -> Vec<(f64, f64)> {
    let mut last_by_pair = BTreeMap::new();
    let mut total = 0;
    let mut points = vec![(0.0, 0.0)];
    for sample in &timeline.samples {
        let before = last_by_pair.insert(sample.pair, sample.money_off).unwrap_or_default();
        if before != sample.money_off {
            total += sample.money_off - before;
            points.push((sample.at_s, total as f64));
        }
    }
    points.extend(timeline.samples.last().map(|sample| (sample.at_s, total as f64)));
    points
}

fn latencies(direct: &Found, shim: &Found) -> String {
    let curve = |found: &Found| {
        let shares = (0..=CURVE_POINTS).map(|nth| 0.99 * f64::from(nth) / f64::from(CURVE_POINTS));
        shares.map(|share| (found.latencies.quantile_ms(share), 100.0 * share)).collect()
    };
    Plot {
        title: "latency distribution",
        x_label: "milliseconds",
        y_label: "% of requests",
        series: vec![
            Series { name: "direct", points: curve(direct), steps: false },
            Series { name: "shim", points: curve(shim), steps: false },
        ],
        marks: Vec::new(),
        mark_rows: Vec::new(),
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{money_off, page};
    use crate::demo::outcome::tests::{figures, outcome};
    use crate::demo::run::Found;
    use crate::demo::timeline::{Entries, Event, Sample};
    use crate::latency::Latencies;

    fn sample(at_s: f64, pair: u32, money_off: i64) -> Sample {
        Sample { at_s, pair, money_off }
    }

    #[test]
    fn money_is_added_up_over_pairs() {
        let samples = vec![sample(1.0, 0, -5), sample(2.0, 1, 7), sample(3.0, 0, -5), sample(4.0, 0, 0)];
        let points = money_off(&Entries { events: Vec::new(), samples });
        assert_eq!(points, [(0.0, 0.0), (1.0, -5.0), (2.0, 2.0), (4.0, 7.0), (4.0, 7.0)]);
        assert_eq!(money_off(&Entries::default()), [(0.0, 0.0)]);
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let found = |direct| {
            let mut latencies = Latencies::new();
            latencies.record(Duration::from_millis(10));
            let events = vec![(0.5, Event::Killed), (0.7, Event::Late)];
            let timeline = Entries { events, samples: vec![sample(1.0, 0, -5)] };
            Found { figures: figures(direct), timeline, latencies }
        };
        let html = page(&outcome(), &found(true), &found(false));
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        for foreign in ["<script", "http://", "https://", "<link", "NaN"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert_eq!(html.matches("<svg").count(), 2);
        // Faults are marked by more than a colour, commands look like commands, and the command
        // that repeats the run is shown.
        assert!(html.contains("<td class=\"wrong\">✗ 5</td><td>0</td>"), "{html}");
        assert!(html.contains("<code>aft serve</code>") && !html.contains('`'), "{html}");
        assert!(html.contains("aft demo --requests 600 --seed 7"), "{html}");
        assert!(html.contains("<td class=\"wrong\">✗ -412</td><td>0</td>"), "{html}");
        assert_eq!(html.matches("<tbody>").count(), 6);
    }
}
