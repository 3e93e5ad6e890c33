//! The rules for the rooms of the core: who imports whom, and who touches which field.

use std::collections::{BTreeMap, BTreeSet};

/// Fields of the core's state that hold an owner, whose own fields are private in its own file; and
/// the settings and the identity, which never change.
const OWNERS: &[&str] = &[
    "id",
    "settings",
    "clock",
    "calls",
    "timers",
    "tasks",
    "index",
    "mark",
    "operations",
    "transactions",
    "requests",
    "checks",
    "line",
    "ended",
    "entered",
];

/// Returns the circles among the files of a crate, each with its members. `files` are paths from
/// the crate's `src` and their texts without unit tests.
pub(crate) fn of(files: &[(String, String)]) -> Vec<String> {
    let module = |path: &str| {
        let name = path.trim_end_matches(".rs").replace('/', "::");
        let name = name.strip_suffix("::mod").unwrap_or(&name);
        if name == "lib" || name == "mod" { String::new() } else { name.to_owned() }
    };
    let texts: BTreeMap<String, &str> =
        files.iter().map(|(path, text)| (module(path), text.as_str())).collect();
    let graph: BTreeMap<&str, BTreeSet<String>> =
        texts.iter().map(|(name, text)| (name.as_str(), edges(name, text, &texts))).collect();
    // Two files are in one circle if each can be reached from the other.
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|from| (*from, reachable(from, &graph))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in &reach {
        let circle: BTreeSet<_> = to.iter().filter(|to| reach[**to].contains(from)).copied().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().map(|circle| circle.into_iter().collect::<Vec<_>>().join(", ")).collect()
}

fn reachable<'a>(from: &str, graph: &'a BTreeMap<&str, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = graph[from].iter().map(String::as_str).collect();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(graph.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    seen
}

/// Returns the modules that a file names in paths from `crate`, `super` or `self`.
fn edges(name: &str, text: &str, all: &BTreeMap<String, &str>) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            // `super::super::` is found at its first part.
            if code[..at].ends_with(|of: char| of.is_alphanumeric() || of == '_' || of == ':') {
                continue;
            }
            for path in paths(&code[at..]) {
                let target = resolve(name, &path, all);
                // A file that declares modules names them; only what it uses of them would be a
                // circle.
                if target != name && !target.is_empty() {
                    found.insert(target);
                }
            }
        }
    }
    found
}

/// Returns the paths that begin a text, braces expanded.
fn paths(text: &str) -> Vec<String> {
    let mut prefix = String::new();
    let mut rest = text;
    loop {
        let word: String = rest.chars().take_while(|of| of.is_alphanumeric() || *of == '_').collect();
        rest = &rest[word.len()..];
        prefix.push_str(&word);
        match rest.strip_prefix("::") {
            Some(after) if after.starts_with('{') => {
                let inner = braced(after);
                return split(inner)
                    .into_iter()
                    .flat_map(|part| paths(part.trim()))
                    .map(|part| format!("{prefix}::{part}"))
                    .collect();
            }
            Some(after) => {
                prefix.push_str("::");
                rest = after;
            }
            None => return vec![prefix],
        }
    }
}

/// Returns the text within the braces that begin a text.
fn braced(text: &str) -> &str {
    let mut depth = 0;
    for (at, of) in text.char_indices() {
        match of {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..at];
        }
    }
    text
}

/// Splits at the commas outside of braces.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, of) in text.char_indices() {
        match of {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// Returns the module that a path in `name` leads to: the longest part of it that is a file.
fn resolve(name: &str, path: &str, all: &BTreeMap<String, &str>) -> String {
    let mut at: Vec<&str> = name.split("::").filter(|part| !part.is_empty()).collect();
    let mut parts = path.split("::").peekable();
    match parts.next() {
        Some("crate") => at.clear(),
        Some("super") => drop(at.pop()),
        _ => {}
    }
    while parts.peek() == Some(&"super") {
        parts.next();
        at.pop();
    }
    at.extend(parts.filter(|part| *part != "self"));
    while !at.is_empty() && !all.contains_key(&at.join("::")) {
        at.pop();
    }
    at.join("::")
}

/// Returns the fields of `struct State` that are raw state: not owners with private fields.
pub(crate) fn raw_fields(state: &str) -> Vec<String> {
    let body = state.split("struct State {").nth(1).and_then(|rest| rest.split("\n}").next());
    let body = body.expect("state.rs has the state");
    let fields = body.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix("pub(in crate::node) ")?.split_once(':')?;
        Some(name.to_owned())
    });
    fields.filter(|name| !OWNERS.contains(&name.as_str())).collect()
}

/// Returns true if a text reads or writes this field of the state.
pub(crate) fn touches(text: &str, field: &str) -> bool {
    ["state", "self"].iter().any(|of| {
        let access = format!("{of}.{field}");
        text.match_indices(&access).any(|(at, _)| {
            let after = text[at + access.len()..].chars().next();
            !after.is_some_and(|of| of.is_alphanumeric() || of == '_' || of == '(')
        })
    })
}

#[test]
fn circles_are_found() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let files = [
        file("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        file("a.rs", "use crate::b::{self, B};\nfn f() {}\n"),
        file("b.rs", "fn g() { super::c::h() }\n// crate::a\n"),
        file("c.rs", "use crate::{a::A};\n"),
        file("d/mod.rs", "mod e;\n"),
        file("d/e.rs", "use super::super::a::A;\n"),
    ];
    assert_eq!(of(&files), ["a, b, c"]);
    assert_eq!(of(&files[..3]), [] as [&str; 0]);
}

#[test]
fn fields_are_found() {
    let state = "struct State {\n    /// It.\n    pub(in crate::node) tells: u64,\n    pub(in crate::node) calls: Calls,\n}\n";
    assert_eq!(raw_fields(state), ["tells"]);
    assert!(touches("state.tells += 1;", "tells") && touches("(self.tells)", "tells"));
    assert!(!touches("state.tells_all", "tells") && !touches("state.tells()", "tells"));
}
