//! What every plot needs, whatever it draws: axes with round ticks, their numbers, text that markup does not misread.

/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

/// Where an axis starts and ends, and the distance of its ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// Where it starts.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// From one tick to the next.
    pub step: f64,
}

impl Axis {
    /// An axis over these values, with round ticks; 0 is always on it.
    pub fn over(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) =
            values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // What is too small to be divided makes no ticks.
        let high = if high - low < f64::MIN_POSITIVE { low + 1.0 } else { high };
        let rough = (high - low) / TICKS;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= rough);
        let step = step.unwrap_or(10.0) * magnitude;
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// The same, that ends with the greatest value instead of at a tick: no empty space after the last point.
    pub fn up_to(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let high = values.clone().fold(0.0, f64::max);
        let axis = Axis::over(values);
        if high > 0.0 { Axis { high, ..axis } } else { axis }
    }

    /// How far along the axis a value is: 0 at its start, 1 at its end.
    pub fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Where its ticks are.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        // A little more than the whole number that it may be: rounding must not cost the last tick.
        let count = ((self.high - self.low) / self.step + 1e-6).floor() as usize;
        (0..=count).map(|nth| self.low + self.step * nth as f64)
    }
}

/// A tick's number without needless digits.
pub fn number(value: f64) -> String {
    let text = if value.abs() >= 10.0 || value == value.round() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}").trim_end_matches('0').to_owned()
    };
    // A minus is as wide as a digit; a hyphen is not.
    if text == "-0" { "0".to_owned() } else { text.replace('-', "\u{2212}") }
}

/// Text as it stands in markup, between tags or between double quotes.
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
    fn markup_does_not_misread_text() {
        assert_eq!(escape("<a&\">"), "&lt;a&amp;&quot;&gt;");
    }
}
