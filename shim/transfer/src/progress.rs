//! Progress of a transfer on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The interval at which the bar is drawn while nothing ends.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);

/// A bar that counts objects and bytes until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    bytes: std::sync::atomic::AtomicU64,
}

impl Progress {
    /// Shows a bar named `what`. Shows nothing if standard error is not a terminal.
    pub(crate) fn show(what: &'static str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{prefix:>10} {wide_bar} {pos} of {len} objects, {msg} {elapsed}");
        let bar = bar.with_style(style.expect("the template is a constant that parses")).with_prefix(what);
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAW_INTERVAL);
        }
        Progress { bar, bytes: std::sync::atomic::AtomicU64::new(0) }
    }

    /// Adds objects to the number that is to be reached.
    pub(crate) fn expect(&self, objects: usize) {
        self.bar.inc_length(objects as u64);
    }

    /// Counts an object that is done.
    pub(crate) fn done(&self, bytes: u64) {
        let all = self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        self.bar.set_message(HumanBytes(all).to_string());
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
