//! Plots as SVG: a panel for each store. The panels of a figure are side by side in a file of their
//! own, and one by one in the page.

use std::fmt::Write as _;

use aft_bench::svg::{Axis, escape, number};

use crate::data::{Cell, Figure, Speed, Y};
use crate::write::text;
use crate::write::view::latency;

/// The style of plots, in files of their own and in the page: the colours for light and dark mode,
/// and their use.
pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--page:#fcfcfb;--ink:#0b0b0b;--muted:#52514e;--grid:#e1e0d9;--axis:#8f8d86;
--aft:#1a5fc0;--aft2:#3f9fd8;--aft3:#7a86c8;--plain:#d1490c;--plain2:#b98500;--store:#0b8a66;--other:#b0529a}
@media(prefers-color-scheme:dark){:root{--page:#1a1a19;--ink:#fff;--muted:#c3c2b7;--grid:#2c2c2a;--axis:#77756e;
--aft:#4d94ff;--aft2:#a3d5ff;--aft3:#b9bff0;--plain:#ff7a3d;--plain2:#ffc94d;--store:#2fc298;--other:#e690cf}}
.page{fill:var(--page)}.plot text{fill:var(--muted);font:12px system-ui,sans-serif}.plot text.head{fill:var(--ink);font-weight:600}
.plot text.end{text-anchor:end}.plot text.middle{text-anchor:middle}.plot .grid{stroke:var(--grid)}.plot .axis{stroke:var(--axis)}
.plot .line,.plot .tail{fill:none;stroke:var(--way);stroke-width:2}.plot .tail{stroke-width:1.5;stroke-dasharray:5 4;opacity:.7}
.plot .dot,.plot .bar{fill:var(--way)}.plot .whisker{fill:none;stroke:var(--way);stroke-width:1.5;opacity:.7}
.aft{--way:var(--aft)}.aft2{--way:var(--aft2)}.aft3{--way:var(--aft3)}.plain{--way:var(--plain)}.plain2{--way:var(--plain2)}
.store{--way:var(--store)}.other{--way:var(--other)}
";

/// The size of a panel.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 46.0;
/// The height of a way's bar with its name above it.
const BAR_ROW: f64 = 40.0;
const BAR: f64 = 12.0;
/// The left end of the bars.
const BAR_LEFT: f64 = 16.0;
/// Half the size of a point's mark.
const DOT: f64 = 4.0;
/// The least distance between the numbers of two ticks.
const TICK_ROOM: f64 = 26.0;
/// The ratio of the last point to the first from which the axis is logarithmic. On a linear axis,
/// all points but the last ones would be crowded together.
const MULTIPLES_FROM: f64 = 20.0;
/// The number of panels in a row of a file.
const COLUMNS: usize = 3;
/// The margin around a file's panels, and the height of a line of its heading and legend.
const PAD: f64 = 16.0;
const LINE: f64 = 22.0;
/// The approximate width of a character in a legend.
const CHARACTER: f64 = 6.6;

/// The look of a way in every plot. A way has the same colour everywhere, and its marks have a
/// shape of their own for readers who cannot tell the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The class in [`STYLE`].
    pub(super) class: &'static str,
}

const AFT: [&str; 3] = ["aft", "aft2", "aft3"];
const PLAIN: [&str; 2] = ["plain", "plain2"];

/// Returns the look of each way, in the figure's order.
pub(super) fn looks(figure: &Figure) -> Vec<(&str, Look)> {
    let ways = figure.ways();
    // In a family, the way that has the family's own name gets the first colour, and the others get
    // the following ones in their order.
    let within = |family: &[&'static str], way: &str| {
        let name = family[0];
        let others = ways.iter().filter(|way| way.starts_with(name) && **way != name);
        let first = usize::from(ways.contains(&name));
        let nth = others.clone().position(|other| *other == way).map_or(0, |nth| nth + first);
        family[nth.min(family.len() - 1)]
    };
    let class = |way: &str| match way {
        way if way.starts_with("aft") => within(&AFT, way),
        way if way.starts_with("plain") => within(&PLAIN, way),
        way if way.ends_with("transactions") => "store",
        _ => "other",
    };
    ways.iter().map(|way| (*way, Look { class: class(way) })).collect()
}

impl Look {
    /// Returns the mark of a point.
    fn dot(self, x: f64, y: f64) -> String {
        let (class, r) = (self.class, DOT);
        let path = match class {
            "aft" => format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {1} 0a{r} {r} 0 1 0 -{1} 0z", x - r, 2.0 * r),
            "plain" => format!("M{:.1} {:.1}h{2}v{2}h-{2}z", x - r, y - r, 2.0 * r),
            "aft2" => format!("M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z", y - r),
            "plain2" => format!("M{x:.1} {:.1}l{r} {1}h-{1}z", y - r, 2.0 * r),
            "store" => format!("M{x:.1} {:.1}l{r} -{1}h-{1}z", y + r, 2.0 * r),
            _ => format!("M{:.1} {:.1}h3v{2}h-3z", x - 1.5, y - r - 1.0, 2.0 * r + 2.0),
        };
        format!("<path class=\"dot\" d=\"{path}\"/>")
    }

    /// Returns a piece of a line with a mark, for a legend.
    pub(super) fn key(self, x: f64, y: f64) -> String {
        let line = format!("<path class=\"line\" d=\"M{x:.1} {y:.1}h24\"/>");
        format!("<g class=\"{}\">{line}{}</g>", self.class, self.dot(x + 12.0, y))
    }
}

/// Returns the legend of the strokes in a figure's plots.
pub(super) fn strokes(figure: &Figure) -> &'static str {
    match (figure.y, figure.has_x()) {
        (Y::Latency, true) => "Solid: median; dashed: 99th percentile. Every panel has a scale of its own.",
        (Y::Latency, false) => "Bar: median; whisker: 99th percentile. Every panel has a scale of its own.",
        (Y::Throughput | Y::Dollars, _) => "Every panel has a scale of its own.",
    }
}

/// A store's plot.
#[derive(Debug)]
pub(super) struct Panel {
    title: String,
    height: f64,
    /// The drawing, relative to the panel's own corner.
    body: String,
}

impl Panel {
    /// Returns the panel as an element of a page that has [`STYLE`].
    pub(super) fn svg(&self) -> String {
        format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            self.height,
            escape(&self.title),
            self.body
        )
    }
}

/// Returns a file with all panels at `speed`; none if nothing was measured at it.
pub(super) fn file(figure: &Figure, speed: Speed) -> Option<String> {
    let stores = figure.stores();
    let panels: Vec<Panel> = stores.iter().filter_map(|store| panel(figure, store, speed)).collect();
    let columns = panels.len().min(COLUMNS);
    if columns == 0 {
        return None;
    }
    let width = 2.0 * PAD + columns as f64 * WIDTH;
    let title = format!("{}, {}", figure.title, speed.words());
    let mut body = String::new();
    // Writing to a string does not fail.
    let _ =
        write!(body, "<text class=\"head\" x=\"{PAD}\" y=\"{:.1}\">{}</text>", PAD + 10.0, escape(&title));
    // The legend: the ways that are drawn at this speed, on as many lines as they need.
    let (mut x, mut y) = (PAD, PAD + LINE);
    let drawn = |way: &str| figure.cells.iter().any(|cell| cell.speed == speed && cell.way == way);
    for (way, look) in looks(figure).into_iter().filter(|(way, _)| drawn(way)) {
        let needs = 50.0 + CHARACTER * way.chars().count() as f64;
        if x > PAD && x + needs > width {
            (x, y) = (PAD, y + LINE);
        }
        let (at, base) = (x + 30.0, y + 10.0);
        let _ = write!(
            body,
            "{}<text x=\"{at:.1}\" y=\"{base:.1}\">{}</text>",
            look.key(x, y + 6.0),
            escape(way)
        );
        x += needs;
    }
    y += LINE;
    // Each sentence has its own line: both together are wider than a file of one panel.
    for part in strokes(figure).split_inclusive(". ") {
        let _ = write!(body, "<text x=\"{PAD}\" y=\"{:.1}\">{}</text>", y + 10.0, part.trim_end());
        y += LINE;
    }
    for row in panels.chunks(columns) {
        for (nth, panel) in row.iter().enumerate() {
            let _ = write!(
                body,
                "<g transform=\"translate({} {y})\">{}</g>",
                PAD + nth as f64 * WIDTH,
                panel.body
            );
        }
        y += row.iter().map(|panel| panel.height).fold(0.0, f64::max);
    }
    let height = y + PAD;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\"><style>{STYLE}</style><rect class=\"page\" width=\"{width}\" height=\"{height}\"/>{body}</svg>\n",
        escape(&title)
    ))
}

/// Returns the panel of a store at `speed`; none if the store was not measured at it.
pub(super) fn panel(figure: &Figure, store: &str, speed: Speed) -> Option<Panel> {
    let cells = figure.part(store, speed);
    if cells.is_empty() {
        return None;
    }
    let title = format!("{store}, {}", speed.words());
    let looks = looks(figure);
    let (body, height) =
        if figure.has_x() { (lines(figure, &cells, &looks), HEIGHT) } else { bars(figure, &cells, &looks) };
    let head = format!("<text class=\"head\" x=\"{BAR_LEFT}\" y=\"18\">{}</text>", escape(&title));
    Some(Panel { title, height, body: format!("{head}{body}") })
}

/// Returns the values of a cell that are drawn: its median and 99th percentile, or its throughput,
/// or its price.
fn values(figure: &Figure, cell: &Cell) -> [Option<f64>; 2] {
    match figure.y {
        Y::Latency => [cell.seen.p50_ms, cell.seen.p99_ms].map(|value| latency(&cell.seen, value)),
        Y::Throughput => [Some(cell.seen.transactions_per_s).filter(|value| value.is_finite()), None],
        Y::Dollars => [cell.seen.dollars_per_million.filter(|value| value.is_finite()), None],
    }
}

/// Returns the name of the values, with their unit.
fn label(figure: &Figure) -> &'static str {
    match figure.y {
        Y::Latency => "latency, ms",
        Y::Throughput => "transactions/s",
        Y::Dollars => "dollars per million transactions",
    }
}

/// The positions of the points on the horizontal axis.
struct Points {
    xs: Vec<f64>,
    by_multiples: bool,
}

impl Points {
    fn new(xs: Vec<f64>) -> Points {
        let (first, last) = (xs.first().copied().unwrap_or(0.0), xs.last().copied().unwrap_or(0.0));
        Points { xs, by_multiples: first > 0.0 && last >= MULTIPLES_FROM * first }
    }

    fn at(&self, x: f64) -> f64 {
        let scaled = |x: f64| if self.by_multiples { x.ln() } else { x };
        let (first, last) =
            (self.xs.first().copied().map_or(0.0, scaled), self.xs.last().copied().map_or(0.0, scaled));
        let share = if last > first { (scaled(x) - first) / (last - first) } else { 0.5 };
        // The first and the last point keep a distance from the edges.
        LEFT + 14.0 + share * (WIDTH - LEFT - RIGHT - 28.0)
    }
}

/// Draws a line for each way over the figure's axis.
fn lines(figure: &Figure, cells: &[&Cell], looks: &[(&str, Look)]) -> String {
    let points = Points::new(figure.xs());
    let drawn = cells.iter().filter(|cell| cell.x.is_finite());
    let all = drawn.clone().flat_map(|cell| values(figure, cell)).flatten();
    let ys = Axis::over(all);
    let floor = HEIGHT - BOTTOM;
    let y = |value: f64| floor - ys.share(value) * (floor - TOP);
    let mut svg = String::new();
    for tick in ys.ticks() {
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ = write!(
            svg,
            "<path class=\"{class}\" d=\"M{LEFT} {0:.1}H{1:.1}\"/><text class=\"end\" x=\"{2:.1}\" y=\"{3:.1}\">{4}</text>",
            y(tick),
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(tick) + 4.0,
            number(tick)
        );
    }
    // Each point has a tick, but a number only where the last number leaves room for it.
    let mut free = f64::NEG_INFINITY;
    for x in &points.xs {
        let at = points.at(*x);
        let _ = write!(svg, "<path class=\"axis\" d=\"M{at:.1} {floor}v4\"/>");
        if at >= free {
            let _ = write!(
                svg,
                "<text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                floor + 18.0,
                text::x(*x)
            );
            free = at + TICK_ROOM;
        }
    }
    let _ = write!(
        svg,
        "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"middle\" transform=\"translate(14 {:.1}) \
         rotate(-90)\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escape(&figure.x),
        (TOP + floor) / 2.0,
        label(figure)
    );
    for (way, look) in looks {
        let of: Vec<&&Cell> = drawn.clone().filter(|cell| cell.way == *way).collect();
        if of.is_empty() {
            continue;
        }
        let at = |which: usize| {
            of.iter()
                .map(|cell| values(figure, cell)[which].map(|value| (points.at(cell.x), y(value))))
                .collect::<Vec<_>>()
        };
        let (middles, tails) = (at(0), at(1));
        let _ = write!(svg, "<g class=\"{}\"><title>{}</title>", look.class, escape(way));
        let _ = write!(
            svg,
            "<path class=\"tail\" d=\"{}\"/><path class=\"line\" d=\"{}\"/>",
            path(&tails),
            path(&middles)
        );
        for (x, y) in middles.iter().flatten() {
            svg.push_str(&look.dot(*x, *y));
        }
        svg.push_str("</g>");
    }
    svg
}

/// Returns a line through the points, with a gap where one is missing.
fn path(points: &[Option<(f64, f64)>]) -> String {
    let mut path = String::new();
    let mut command = 'M';
    for point in points {
        match point {
            Some((x, y)) => {
                let _ = write!(path, "{command}{x:.1} {y:.1}");
                command = 'L';
            }
            None => command = 'M',
        }
    }
    // A path must not be empty; this is the shortest one that draws nothing.
    if path.is_empty() { "M0 0".to_owned() } else { path }
}

/// Draws a bar for each way, and returns the drawing with its height.
fn bars(figure: &Figure, cells: &[&Cell], looks: &[(&str, Look)]) -> (String, f64) {
    let all = cells.iter().flat_map(|cell| values(figure, cell)).flatten();
    let axis = Axis::over(all);
    let x = |value: f64| BAR_LEFT + axis.share(value) * (WIDTH - BAR_LEFT - 2.0 * RIGHT);
    let floor = TOP + BAR_ROW * cells.len() as f64;
    let mut svg = String::new();
    for tick in axis.ticks() {
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ = write!(
            svg,
            "<path class=\"{class}\" d=\"M{0:.1} {TOP}V{floor}\"/><text class=\"middle\" x=\"{0:.1}\" y=\"{1:.1}\">{2}</text>",
            x(tick),
            floor + 16.0,
            number(tick)
        );
    }
    let middle = (BAR_LEFT + WIDTH - RIGHT) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
        floor + 34.0,
        label(figure)
    );
    // The bars are in the order of the legend.
    let of = |way: &str| cells.iter().filter(move |cell| cell.way == way).copied().collect::<Vec<_>>();
    let rows = looks.iter().flat_map(|(way, look)| of(way).into_iter().map(|cell| (cell, *look)));
    for (nth, (cell, look)) in rows.enumerate() {
        let top = TOP + BAR_ROW * nth as f64 + 4.0;
        let [middle, tail] = values(figure, cell);
        let says = match figure.y {
            Y::Latency => {
                format!("{}: {} ms, p99 {}", cell.way, text::optional(middle), text::optional(tail))
            }
            Y::Throughput | Y::Dollars => format!("{}: {}", cell.way, text::optional(middle)),
        };
        let way = escape(&cell.way);
        let _ = write!(svg, "<g class=\"{}\"><title>{way}</title>", look.class);
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", BAR_LEFT + 4.0, top + 10.0, escape(&says));
        let (from, at) = (x(0.0), top + 15.0);
        if let Some(middle) = middle {
            let wide = (x(middle) - from).max(0.0);
            let _ = write!(
                svg,
                "<rect class=\"bar\" x=\"{from:.1}\" y=\"{at:.1}\" width=\"{wide:.1}\" height=\"{BAR}\"/>"
            );
        }
        if let (Some(middle), Some(tail)) = (middle, tail) {
            let mid = at + BAR / 2.0;
            let _ = write!(
                svg,
                "<path class=\"whisker\" d=\"M{:.1} {mid:.1}H{:.1}m0 -5v10\"/>",
                x(middle),
                x(tail)
            );
        }
        svg.push_str("</g>");
    }
    (svg, floor + 42.0)
}

#[cfg(test)]
mod tests {
    use super::{file, looks, panel};
    use crate::data::{Speed, Y};
    use crate::write::sample::{self, assert_well_formed};

    #[test]
    fn files_are_well_formed_and_hold_each_series_once() {
        for figure in &sample::data().figures {
            for speed in [Speed::AsIs, Speed::Cloud] {
                let stores: Vec<&str> = figure
                    .stores()
                    .into_iter()
                    .filter(|store| !figure.part(store, speed).is_empty())
                    .collect();
                let svg = file(figure, speed);
                assert_eq!(svg.is_some(), !stores.is_empty());
                let Some(svg) = svg else { continue };
                assert_well_formed(&svg);
                assert!(
                    svg.contains(super::label(figure)) && svg.contains(&figure.x),
                    "both axes have labels"
                );
                for way in figure.ways() {
                    let has = |store: &&&str| figure.part(store, speed).iter().any(|cell| cell.way == way);
                    let series = stores.iter().filter(has).count();
                    assert_eq!(
                        svg.matches(&format!("<title>{way}</title>")).count(),
                        series,
                        "{} {way}",
                        figure.id
                    );
                    let keys = svg.matches(&format!("\">{way}</text>")).count();
                    assert_eq!(keys, usize::from(series > 0), "{} {way}", figure.id);
                }
                for store in stores {
                    assert_eq!(svg.matches(&format!(">{store}, {}</text>", speed.words())).count(), 1);
                }
            }
        }
    }

    #[test]
    fn every_point_is_drawn() {
        let data = sample::data();
        for figure in data.figures.iter().filter(|figure| figure.has_x()) {
            let svg = file(figure, Speed::AsIs).expect("it was measured");
            let cells = figure.cells.iter().filter(|cell| cell.speed == Speed::AsIs);
            let keys = figure.ways().len();
            assert_eq!(svg.matches("class=\"dot\"").count(), cells.count() + keys, "{}", figure.id);
        }
    }

    #[test]
    fn values_that_are_missing_zero_or_no_numbers_do_not_break_a_plot() {
        for odd in [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 5e-324] {
            for mut figure in sample::data().figures {
                for y in [Y::Latency, Y::Throughput, Y::Dollars] {
                    figure.y = y;
                    let mut all = figure.clone();
                    for cell in &mut all.cells {
                        (cell.seen.p50_ms, cell.seen.p99_ms, cell.seen.transactions_per_s) = (odd, odd, odd);
                    }
                    let mut one = figure.clone();
                    one.cells[1].seen = all.cells[1].seen.clone();
                    one.cells[2].x = odd;
                    one.cells[0].seen = crate::data::Seen::default();
                    for figure in [all, one] {
                        let svg = file(&figure, Speed::AsIs).expect("it was measured");
                        assert_well_formed(&svg);
                        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{odd} {}: {svg}", figure.id);
                    }
                }
            }
        }
        let mut none = sample::data().figures.remove(0);
        none.cells.clear();
        assert!(file(&none, Speed::AsIs).is_none() && panel(&none, "S3", Speed::AsIs).is_none());
    }

    #[test]
    fn a_way_has_the_same_colour_in_every_figure_and_its_own_within_one() {
        let data = sample::data();
        for figure in &data.figures {
            let looks = looks(figure);
            let classes: std::collections::BTreeSet<&str> =
                looks.iter().map(|(_, look)| look.class).collect();
            assert_eq!(classes.len(), looks.len(), "{looks:?}");
            for (way, look) in looks {
                match way {
                    "aft" => assert_eq!(look.class, "aft"),
                    "plain" => assert_eq!(look.class, "plain"),
                    "store's transactions" => assert_eq!(look.class, "store"),
                    _ => assert!(!super::STYLE.is_empty()),
                }
            }
        }
    }
}
