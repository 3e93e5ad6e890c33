//! Progress of a run on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// The interval at which a bar is drawn: often enough to see that it moves, and too seldom to cost
/// the load anything.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);

/// The state of a run, as a bar shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The part that is done, in the unit of the bar's length.
    pub(crate) done: u64,
    /// The figures so far.
    pub(crate) text: String,
}

/// A bar on standard error, which is drawn until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    drawing: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows a bar named `what`, of this length, that asks `state` for its state. Shows nothing if
    /// `is_shown` is false or standard error is not a terminal.
    pub(crate) fn show(
        is_shown: bool,
        what: String,
        length: u64,
        state: impl Fn() -> State + Send + 'static,
    ) -> Progress {
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{prefix:>22} {wide_bar} {msg} {elapsed}");
        let style = style.expect("the template is a constant that parses");
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style).with_prefix(what);
        if bar.is_hidden() {
            return Progress { bar, drawing: None };
        }
        let drawn = bar.clone();
        let drawing = tokio::spawn(async move {
            loop {
                let State { done, text } = state();
                drawn.set_message(text);
                drawn.set_position(done.min(length));
                tokio::time::sleep(DRAW_INTERVAL).await;
            }
        });
        Progress { bar, drawing: Some(drawing) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(drawing) = &self.drawing {
            drawing.abort();
        }
        self.bar.finish_and_clear();
    }
}
