//! `aft store show`: prints the store's description of itself, and the mark.

use std::process::ExitCode;

use aft_api::rfc3339;
use aft_core::ids::TxnId;
use aft_core::message::Isolation;
use aft_core::record::Format;
use aft_core::settings::Levels;
use aft_format::{Abilities, About, Race};
use serde_json::{Value, json};

use crate::output::{Output, note};
use crate::settings::table::Components;
use crate::store::yes_or_no;
use crate::stores::Made;
use crate::{Failed, stores};

pub(crate) async fn run(url: &str, as_json: bool) -> Result<ExitCode, Failed> {
    let Made { store, format, about } = stores::open_made(url, &Components::default()).await?;
    // Not the URL that was given, which may contain a password.
    let shown = store.url();
    let mut output = Output::default();
    match as_json {
        true => output.line(format_args!("{:#}", to_json(&shown, &format, &about))),
        false => output.write(&to_text(&shown, &format, &about)),
    }
    for difference in about.differences(&store.capabilities()) {
        note(format_args!("warning: the store is not as it was when it was made: {difference}"));
    }
    output.end().map(|()| ExitCode::SUCCESS)
}

fn to_text(url: &str, format: &Format, about: &About) -> String {
    let About { format: number, identity, abilities, race, program, made_ms, times, levels, blobs } = about;
    let Abilities { delete_if, exclusive, grace_ms, body_bytes_max, blob_part_bytes } = abilities;
    let race = match race {
        Race::NotProbed => "not probed".to_owned(),
        Race::Exclusive => "none: one process writes".to_owned(),
        Race::Passed { writers, rounds } => {
            format!("{rounds} of {writers} writers: one create won each")
        }
    };
    let times = times.map_or_else(|| "nothing is noted".to_owned(), |times| times.to_string());
    let rows = [
        ("format", number.to_string()),
        ("identity", hex(identity)),
        ("made", format!("{} by {program}", rfc3339(*made_ms))),
        ("races", race),
        ("one process only", yes_or_no(*exclusive).to_owned()),
        ("deletes by tag", yes_or_no(*delete_if).to_owned()),
        ("largest object", format!("{body_bytes_max} bytes")),
        ("parts of values", format!("{blob_part_bytes} bytes")),
        ("late calls", format!("for up to {} s", grace_ms.div_ceil(1_000))),
        ("all nodes have", times),
        ("mark", mark(format)),
        ("settled mark", moment(format.settled)),
    ];
    let levels = match exclusive {
        true => vec!["chosen by each transaction".to_owned()],
        false => levels_by_prefix(levels),
    };
    let label = |number: usize| if number == 0 { "levels" } else { "" };
    let levels = levels.into_iter().enumerate().map(|(number, text)| (label(number), text));
    let blobs = blobs.as_ref().map(|blobs| ("large values", format!("in {}", blobs.place)));
    let lines =
        rows.into_iter().chain(blobs).chain(levels).map(|(label, text)| format!("  {label:<20} {text}\n"));
    std::iter::once(format!("{url}\n")).chain(lines).collect()
}

fn mark(format: &Format) -> String {
    let seen = match format.moved_ms {
        // The mark of a new store starts there.
        Some(0) => String::new(),
        Some(ms) => format!("; it was there by {}", rfc3339(ms)),
        None => "; since when is not known yet".to_owned(),
    };
    format!("{}{seen}", moment(format.mark))
}

fn moment(mark: TxnId) -> String {
    match mark {
        TxnId::ZERO => "at the beginning: nothing was swept yet".to_owned(),
        mark => format!("{} ({mark})", rfc3339(mark.time.ms())),
    }
}

/// Returns a line for each prefix, and one for the keys without a prefix.
fn levels_by_prefix(levels: &Levels) -> Vec<String> {
    let prefixes: Vec<_> = levels.iter().filter(|(prefix, _)| !prefix.is_empty()).collect();
    let others = if prefixes.is_empty() { "all keys" } else { "all other keys" };
    let line = |(prefix, level): &(&str, Isolation)| format!("{} {prefix:?}", level.as_str());
    let last = format!("{} {others}", default_level(levels).as_str());
    prefixes.iter().map(line).chain([last]).collect()
}

/// Returns the level of the keys to which no prefix applies.
fn default_level(levels: &Levels) -> Isolation {
    levels.of("").1
}

fn to_json(url: &str, format: &Format, about: &About) -> Value {
    let About { format: number, identity, abilities, race, program, made_ms, times, levels, blobs } = about;
    let Abilities { delete_if, exclusive, grace_ms, body_bytes_max, blob_part_bytes } = abilities;
    let race = match race {
        Race::NotProbed => json!({ "verdict": "not_probed" }),
        Race::Exclusive => json!({ "verdict": "exclusive" }),
        Race::Passed { writers, rounds } => {
            json!({ "verdict": "passed", "writers": writers, "rounds": rounds })
        }
    };
    let times = times.map(|times| {
        json!({
            "timeout_max_ms": times.timeout_max_ms,
            "recheck_after_ms": times.recheck_after_ms,
            "put_limit_ms": times.put_limit_ms,
            "skew_max_ms": times.skew_max_ms,
            "grace_ms": times.grace_ms,
        })
    });
    let moment = |mark: TxnId| {
        let is_set = mark != TxnId::ZERO;
        json!({
            "transaction": is_set.then(|| mark.to_string()),
            "time": is_set.then(|| rfc3339(mark.time.ms())),
        })
    };
    let mut mark = moment(format.mark);
    mark["there_by"] = format.moved_ms.filter(|ms| *ms > 0).map(rfc3339).into();
    // Null where every transaction chooses.
    let levels = (!exclusive).then(|| {
        let prefixes = levels.iter().filter(|(prefix, _)| !prefix.is_empty());
        let prefixes: serde_json::Map<_, _> =
            prefixes.map(|(prefix, level)| (prefix.to_owned(), level.as_str().into())).collect();
        json!({ "default": default_level(levels).as_str(), "prefixes": prefixes })
    });
    json!({
        "store": url,
        "format": number,
        "identity": hex(identity),
        "program": program,
        "made_at": rfc3339(*made_ms),
        "race": race,
        "abilities": {
            "exclusive": exclusive,
            "delete_if": delete_if,
            "grace_ms": grace_ms,
            "body_bytes_max": body_bytes_max,
            "blob_part_bytes": blob_part_bytes,
        },
        "times": times,
        "mark": mark,
        "settled": moment(format.settled),
        "levels": levels,
        "blobs": blobs.as_ref().map(|blobs| blobs.place.as_str()),
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
