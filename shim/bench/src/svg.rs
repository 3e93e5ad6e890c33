//! Shared parts of plots: axes with round ticks, their labels, and escaped text.

/// The approximate number of ticks on an axis.
const TICKS: f64 = 5.0;

/// The range of an axis and the distance between its ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// The start of the axis.
    pub low: f64,
    /// The end of the axis.
    pub high: f64,
    /// The distance from one tick to the next.
    pub step: f64,
}

impl Axis {
    /// Returns an axis that covers `values` and 0, and starts and ends at a round tick.
    pub fn over(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) =
            values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // All values are 0, or too close to it to be divided into ticks.
        let high = if high - low < f64::MIN_POSITIVE { low + 1.0 } else { high };
        let rough = (high - low) / TICKS;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= rough);
        let step = step.unwrap_or(10.0) * magnitude;
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// Returns an axis like [`Axis::over`], but one that ends at the greatest value instead of at a
    /// tick, so that there is no empty space after the last point.
    pub fn up_to(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let high = values.clone().fold(0.0, f64::max);
        let axis = Axis::over(values);
        if high > 0.0 { Axis { high, ..axis } } else { axis }
    }

    /// Returns the position of `value` along the axis: 0 at its start, 1 at its end.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Returns the values at the ticks.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        // The small surplus keeps rounding errors from losing the last tick.
        let count = ((self.high - self.low) / self.step + 1e-6).floor() as usize;
        (0..=count).map(|nth| self.low + self.step * nth as f64)
    }
}

/// Formats the label of a tick without unnecessary digits.
pub fn number(value: f64) -> String {
    let text = if value.abs() >= 10.0 || value == value.round() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}").trim_end_matches('0').to_owned()
    };
    // Use a minus sign, which is as wide as a digit; a hyphen is not.
    if text == "-0" { "0".to_owned() } else { text.replace('-', "\u{2212}") }
}

/// Escapes text for markup, between tags or between double quotes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, escape, number};

    #[test]
    fn axes_have_round_ticks_and_a_zero() {
        let check = |values: &[f64], low: f64, high: f64, step: f64| {
            assert_eq!(Axis::over(values.iter().copied()), Axis { low, high, step }, "{values:?}");
        };
        check(&[], 0.0, 1.0, 0.2);
        check(&[3.0, 97.0], 0.0, 100.0, 20.0);
        check(&[-150.0, 420.0], -200.0, 600.0, 200.0);
        assert_eq!(number(0.2), "0.2");
        assert_eq!(number(-0.0), "0");
        assert_eq!(number(-500.0), "\u{2212}500");
        assert_eq!(number(1500.0), "1500");
    }

    #[test]
    fn the_axis_of_time_ends_with_the_run() {
        let axis = Axis::up_to([0.0, 3.1].into_iter());
        assert_eq!((axis.low, axis.high, axis.step), (0.0, 3.1, 1.0));
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0]);
        let whole = Axis::up_to([0.3].into_iter());
        assert_eq!(whole.ticks().count(), 4, "0, 0.1, 0.2 and 0.3");
        assert_eq!(Axis::up_to([].into_iter()), Axis { low: 0.0, high: 1.0, step: 0.2 });
    }

    #[test]
    fn text_is_escaped_for_markup() {
        assert_eq!(escape("<a&\">"), "&lt;a&amp;&quot;&gt;");
    }
}
