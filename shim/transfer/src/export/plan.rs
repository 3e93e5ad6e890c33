//! The plan of an export: the names of its objects, which of them are there already, and which are
//! gone. It is made of a listing and of the manifest before, without any bytes.

use std::collections::{BTreeMap, BTreeSet};

use aft_door_s3::objects::Entry;

use crate::manifest::Line;

/// The names and tasks of an export.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The lines of objects that need not be written.
    pub(super) kept: Vec<Line>,
    /// The objects to write, with their names.
    pub(super) writes: Vec<(Entry, String)>,
    /// The names of ours that have no object any more.
    pub(super) gone: Vec<String>,
}

impl Plan {
    /// Makes a plan. `known` are the lines of the manifest before, by their names. `is_there` says
    /// of one whether the file is still what the manifest says.
    pub(super) fn new(
        entries: Vec<Entry>,
        names: Vec<String>,
        known: &BTreeMap<String, Line>,
        mut is_there: impl FnMut(&Line) -> bool,
    ) -> Plan {
        assert_eq!(entries.len(), names.len(), "each object has a name");
        let mut plan = Plan::default();
        let taken: BTreeSet<&String> = names.iter().collect();
        assert_eq!(taken.len(), names.len(), "no two objects have one name");
        plan.gone = known.keys().filter(|name| !taken.contains(name)).cloned().collect();
        for (entry, name) in entries.into_iter().zip(names) {
            match known.get(&name) {
                Some(line) if is_current(line, &entry) && is_there(line) => plan.kept.push(line.clone()),
                _ => plan.writes.push((entry, name)),
            }
        }
        plan
    }

    /// Returns the lines of a partial manifest: what is there, and every name that may be written.
    pub(super) fn partial(&self, known: &BTreeMap<String, Line>) -> Vec<Line> {
        let gone = self.gone.iter().filter_map(|name| known.get(name));
        let pending = self.writes.iter().map(|(entry, name)| Line {
            key: entry.key.clone(),
            name: Some(name.clone()).filter(|name| *name != entry.key),
            size: entry.size,
            etag: entry.etag.clone(),
            version: entry.version.to_string(),
            pending: true,
            ..Line::default()
        });
        self.kept.iter().chain(gone).cloned().chain(pending).collect()
    }
}

/// Returns true if a line is about this version of the object.
fn is_current(line: &Line, entry: &Entry) -> bool {
    !line.pending && line.key == entry.key && line.version == entry.version.to_string()
}

#[cfg(test)]
mod tests {
    use aft_core::ids::{AttemptId, Hlc, TxnId};

    use super::*;

    fn at(ms: u64) -> TxnId {
        TxnId { time: Hlc(ms << 16), attempt: AttemptId([0; 16]) }
    }

    fn entry(key: &str, time: u64) -> Entry {
        Entry { key: key.into(), size: 1, etag: "e".into(), version: at(time) }
    }

    fn line(key: &str, time: u64) -> Line {
        Line { key: key.into(), size: 1, version: at(time).to_string(), ..Line::default() }
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let known = [
            line("same", 1),
            line("newer", 1),
            line("touched", 1),
            line("gone", 1),
            Line { pending: true, ..line("pending", 1) },
        ];
        let known: BTreeMap<String, Line> = known.into_iter().map(|line| (line.key.clone(), line)).collect();
        let entries = vec![
            entry("fresh", 1),
            entry("newer", 2),
            entry("pending", 1),
            entry("same", 1),
            entry("touched", 1),
        ];
        let names = entries.iter().map(|entry| entry.key.clone()).collect();
        let plan = Plan::new(entries, names, &known, |line| line.key != "touched");
        let written: Vec<&str> = plan.writes.iter().map(|(entry, _)| entry.key.as_str()).collect();
        assert_eq!(written, ["fresh", "newer", "pending", "touched"]);
        assert_eq!(plan.kept, [line("same", 1)]);
        assert_eq!(plan.gone, ["gone"]);
        // All names are ours from here on, so that nobody else's file is taken for one.
        let partial = plan.partial(&known);
        let names: Vec<(&str, bool)> = partial.iter().map(|line| (line.name(), line.pending)).collect();
        assert_eq!(
            names,
            [
                ("same", false),
                ("gone", false),
                ("fresh", true),
                ("newer", true),
                ("pending", true),
                ("touched", true)
            ]
        );
    }
}
