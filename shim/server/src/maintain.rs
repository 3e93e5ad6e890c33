//! `aft maintain`: runs a node that sweeps its store and serves nobody.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aft_node::{NodeHandle, Opened, State, Stats};

use crate::commands::MaintainArguments;
use crate::output::Output;
use crate::serve::{Signals, node_settings, probe};
use crate::settings::Settings;
use crate::settings::table::Components;
use crate::stores::Made;
use crate::{Failed, logging, stores};

/// The interval at which the node's progress is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The interval at which progress is shown.
const SHOW_INTERVAL: Duration = Duration::from_secs(5);
/// The time that a stopped sweep has to leave its notes.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(arguments: MaintainArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let settings = Settings::load(arguments.config.as_deref())?;
    let mut components = Components::default();
    settings.apply(&mut components);
    let time_divisor = settings.time_divisor(arguments.test_time_divisor);
    let mut signals = Signals::new()?;
    // A scheduled job with a misspelt URL would make a store, sweep nothing, and look healthy.
    let Made { store, .. } = stores::open_made(&arguments.store, &components).await?;
    let (url, capabilities) = (store.url(), store.capabilities());
    // A sweep deletes, so the store must keep the contract here too.
    let race = probe(&store, &capabilities).await?;
    let mut node_settings = node_settings(&capabilities, &settings, time_divisor)?;
    node_settings.race = race;
    node_settings.maintain = true;
    let node = aft_node::start(store, node_settings).await.map_err(|why| why.to_string())?;
    match node.opened() {
        Opened::Unmarked(why) => return Err(why.clone()),
        // It was there before, unless somebody has removed it meanwhile.
        Opened::Marked { .. } => {}
    }
    // Output that cannot be written does not end the sweep, which has more to do than to report.
    let mut output = Output::default();
    output.line(format_args!("sweeping {url}"));
    // Without --once and --for it sweeps until it is stopped.
    let ends_when_swept = arguments.once || arguments.limit.is_some();
    tokio::select! {
        () = sweep(&node, arguments.limit, ends_when_swept, &mut output) => {}
        () = signals.next() => {}
    }
    node.drain(DRAIN).await;
    output.line(shown("removed", &node.stats()));
    output.end().map(|()| ExitCode::SUCCESS)
}

/// Shows progress until the node stops, the time `limit` is over or, if `ends_when_swept`, the
/// whole store has been swept.
async fn sweep(node: &NodeHandle, limit: Option<Duration>, ends_when_swept: bool, output: &mut Output) {
    let since = Instant::now();
    let mut last = (since, Stats::default());
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let stats = node.stats();
        let is_swept = ends_when_swept && stats.sweeps_whole > 0;
        if is_swept || limit.is_some_and(|limit| since.elapsed() >= limit) || node.ready() == State::Stopped {
            return;
        }
        let is_progress = removed(&stats) != removed(&last.1);
        if is_progress && last.0.elapsed() >= SHOW_INTERVAL {
            output.line(shown("so far", &stats));
            last = (Instant::now(), stats);
        }
    }
}

fn removed(stats: &Stats) -> [u64; 5] {
    [
        stats.entries_removed,
        stats.records_removed,
        stats.parts_removed,
        stats.entries_repaired,
        stats.sweeps_whole,
    ]
}

/// Returns a line with what a sweep has done so far.
fn shown(what: &str, stats: &Stats) -> String {
    let [entries, records, parts, repaired, sweeps] = removed(stats);
    let age = stats.mark_age_s.map_or_else(|| "unknown".to_owned(), |s| format!("{s} s"));
    let reclaimed = stats.bytes_reclaimed;
    format!(
        "{what}: {entries} superseded versions, {records} commit records, {parts} parts of large values, about {reclaimed} bytes; put {repaired} missing entries; {sweeps} whole sweeps; the mark is {age} old"
    )
}
