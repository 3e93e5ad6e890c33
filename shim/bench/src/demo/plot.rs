//! Line plots as inline SVG: no scripts, no external files. Colours come from classes that the page
//! defines for light and dark mode.

use std::fmt::Write as _;

use crate::svg::{Axis, number};

/// A line of a plot.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    /// The name of the series, which is also its class in the page's style.
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
    /// True to draw steps: a value holds until the next point.
    pub(crate) steps: bool,
}

/// A mark below the axis.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) x: f64,
    /// The row of marks, from 0.
    pub(crate) row: usize,
}

/// A plot.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) series: Vec<Series<'a>>,
    pub(crate) marks: Vec<Mark>,
    /// The names of the rows of marks.
    pub(crate) mark_rows: Vec<&'a str>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 250.0;
// The margins and rows leave space for the larger text that the page uses on narrow screens.
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 54.0;
const MARK_ROW: f64 = 22.0;
/// The length of a tick mark on the horizontal axis.
const TICK: f64 = 4.0;

impl Plot<'_> {
    /// Returns the plot as an SVG element.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let xs = Axis::up_to(points().map(|(x, _)| x).chain(self.marks.iter().map(|mark| mark.x)));
        let ys = Axis::over(points().map(|(_, y)| y));
        let x = |value: f64| LEFT + xs.share(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - ys.share(value) * (HEIGHT - BOTTOM - TOP);
        let height = HEIGHT + MARK_ROW * self.mark_rows.len() as f64;

        let mut svg = String::new();
        // Writing to a string does not fail.
        let _ =
            write!(svg, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", self.title);
        // The horizontal grid with its labels; the line at 0 is an axis.
        for tick in ys.ticks() {
            let at = y(tick);
            let class = if tick == 0.0 { "axis" } else { "grid" };
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                number(tick)
            );
        }
        // The horizontal axis with its ticks.
        let floor = HEIGHT - BOTTOM;
        // The names of both axes.
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {floor}H{:.1}\"/>", WIDTH - RIGHT);
        for tick in xs.ticks() {
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{0:.1} {floor}v{TICK}\"/><text class=\"middle\" x=\"{0:.1}\" y=\"{1:.1}\">{2}</text>",
                x(tick),
                floor + 22.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"middle\" \
             transform=\"translate(14 {:.1}) rotate(-90)\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 10.0,
            self.x_label,
            (TOP + HEIGHT - BOTTOM) / 2.0,
            self.y_label
        );
        // Rows of marks below the plot.
        for (nth, name) in self.mark_rows.iter().enumerate() {
            let at = HEIGHT + MARK_ROW * nth as f64;
            let _ = write!(
                svg,
                "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                LEFT - 8.0,
                at + 12.0
            );
            let mut path = String::new();
            for mark in self.marks.iter().filter(|mark| mark.row == nth) {
                let _ = write!(path, "M{:.1} {:.1}v10", x(mark.x), at + 2.0);
            }
            let _ = write!(svg, "<path class=\"mark\" d=\"{path}\"/>");
        }
        // The lines, each with a dot at its last point.
        for series in &self.series {
            let mut path = String::new();
            for (nth, (px, py)) in series.points.iter().enumerate() {
                let _ = match (nth, series.steps) {
                    (0, _) => write!(path, "M{:.1} {:.1}", x(*px), y(*py)),
                    (_, true) => write!(path, "H{:.1}V{:.1}", x(*px), y(*py)),
                    (_, false) => write!(path, "L{:.1} {:.1}", x(*px), y(*py)),
                };
            }
            let _ =
                write!(svg, "<path class=\"line {0}\" d=\"{path}\"><title>{0}</title></path>", series.name);
            if let Some((px, py)) = series.points.last() {
                let _ = write!(
                    svg,
                    "<circle class=\"end {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    series.name,
                    x(*px),
                    y(*py)
                );
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Plot, Series};

    #[test]
    fn the_element_is_whole_and_has_no_bad_numbers() {
        let series = vec![
            Series { name: "direct", points: vec![(0.0, 0.0), (1.0, -5.0)], steps: true },
            Series { name: "shim", points: vec![], steps: false },
        ];
        let marks = vec![Mark { x: 0.5, row: 0 }];
        let plot = Plot { title: "t", x_label: "x", y_label: "y", series, marks, mark_rows: vec!["killed"] };
        let svg = plot.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("class=\"line").count(), 2);
    }
}
