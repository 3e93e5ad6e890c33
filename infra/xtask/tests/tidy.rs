//! Goal: the rules of CONTRIBUTING.md that a program can check hold in every file. Method: read the
//! tree, measure, print the figures beside their bounds, and fail with file and line. Each rule is
//! a pure function of text, and is itself tested on text that breaks it.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/languages.rs"]
mod languages;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/tree.rs"]
mod tree;

use std::process::Command;

use crate::prose::{Comment, comments};
use crate::tree::{Source, in_git, production, root, sources};

/// Doc lines that begin with a question word, of 1,000: first lines, and later paragraphs.
const QUESTIONS_MAX: f64 = 0.0;
/// Words of comments inside functions, for 100 lines of code of the core.
const INLINE_WORDS_MIN: f64 = 40.0;
/// Assertions of 1,000 lines of code of the core.
const ASSERTIONS_MIN: f64 = 30.0;
/// Columns of a comment.
const COMMENT_COLUMNS: usize = 100;
/// Columns of a line of prose in Markdown, apart from tables, code and links.
const PROSE_COLUMNS: usize = 120;
/// Lines of a source file.
const FILE_LINES_MAX: usize = 1_000;
/// Commits, of the last 50, that must have a body: 60 %.
const BODIES_MIN: f64 = 60.0;
/// Files of the core that may touch the fields of one owner.
const OWNER_FILES_MAX: usize = 3;

fn report(name: &str, here: impl std::fmt::Display, bound: impl std::fmt::Display) {
    println!("{name:<58} {here:>8}   bound {bound}");
}

fn check(found: &[String]) {
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

#[test]
fn doc_lines_begin_with_a_verb_or_a_noun() {
    let (mut docs, mut found) = (0, Vec::new());
    for source in sources(&["rs"]) {
        for Comment { line, text, .. } in
            comments(&source.text).into_iter().filter(|comment| comment.starts_doc)
        {
            docs += 1;
            if let Some(word) = prose::question(&text) {
                found.push(format!("{}:{line}: begins with {word:?}: {text}", source.path));
            }
        }
    }
    report("doc lines that begin with a question word, of 1,000", 1_000 * found.len() / docs, QUESTIONS_MAX);
    check(&found);
}

#[test]
fn later_paragraphs_of_docs_begin_with_no_question() {
    let (mut paragraphs, mut found) = (0, Vec::new());
    for source in sources(&["rs"]) {
        for Comment { line, text, .. } in
            comments(&source.text).into_iter().filter(|comment| comment.starts_paragraph)
        {
            paragraphs += 1;
            if let Some(word) = prose::question(&text) {
                found.push(format!("{}:{line}: begins with {word:?}: {text}", source.path));
            }
        }
    }
    let share = 1_000 * found.len() / paragraphs;
    report("later paragraphs of docs with a question word, of 1,000", share, QUESTIONS_MAX);
    check(&found);
}

#[test]
fn comments_fit_into_their_columns() {
    let mut found = Vec::new();
    for source in in_git(languages::KNOWN) {
        let extension = source.path.rsplit('.').next().expect("a path has pieces");
        for (line, columns) in languages::wide(extension, &source.text, COMMENT_COLUMNS) {
            found.push(format!("{}:{line}: {columns} columns", source.path));
        }
    }
    report("comment lines over 100 columns", found.len(), 0);
    check(&found);
}

#[test]
fn markdown_is_a_sentence_a_line() {
    let mut found = Vec::new();
    for source in sources(&["md"]) {
        for (at, line) in prose::of_markdown(&source.text) {
            let is_link = line.split_whitespace().any(|word| word.contains("](") || word.contains("://"));
            if line.chars().count() > PROSE_COLUMNS && !is_link {
                found.push(format!("{}:{at}: {} columns", source.path, line.chars().count()));
            }
        }
    }
    report("lines of Markdown prose over 120 columns", found.len(), 0);
    check(&found);
}

#[test]
fn banned_words_are_absent() {
    let mut found = Vec::new();
    for source in sources(&["rs", "md", "py", "mjs", "ts", "toml", "sh"]) {
        // This test names them.
        if source.path.contains("xtask/tests/tidy") {
            continue;
        }
        for (at, line) in source.text.lines().enumerate() {
            if let Some(word) = prose::banned(line) {
                found.push(format!("{}:{}: {word:?}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    report("banned words", found.len(), 0);
    check(&found);
}

#[test]
fn files_are_short() {
    let lines = |source: &Source| source.text.lines().count();
    let all = sources(&["rs"]);
    let longest = all.iter().max_by_key(|source| lines(source)).expect("there are sources");
    report("lines of the longest source file", lines(longest), FILE_LINES_MAX);
    let long = all.iter().filter(|source| lines(source) > FILE_LINES_MAX);
    check(&long.map(|source| format!("{}: {} lines", source.path, lines(source))).collect::<Vec<_>>());
}

#[test]
fn the_core_asserts_and_explains() {
    let (mut code, mut assertions, mut words) = (0_usize, 0_usize, 0_usize);
    for source in sources(&["rs"]).iter().filter(|source| source.path.starts_with("shim/core/src/")) {
        for line in production(&source.text).lines() {
            let line_of_code = line.trim_start();
            if let Some(text) = line_of_code.strip_prefix("//") {
                let is_inline = line != line_of_code && !text.starts_with(['/', '!']);
                words += if is_inline { text.split_whitespace().count() } else { 0 };
            } else if !line_of_code.is_empty() {
                code += 1;
                let names = ["assert!(", "assert_eq!(", "assert_ne!("];
                assertions += names.iter().map(|name| line_of_code.matches(name).count()).sum::<usize>();
            }
        }
    }
    let of = |count: usize, times: f64| times * count as f64 / code as f64;
    let (assertions, words) = (of(assertions, 1_000.0), of(words, 100.0));
    report("assertions of 1,000 lines of code, core", format!("{assertions:.1}"), ASSERTIONS_MIN);
    report("words of inline comments for 100 lines of code, core", format!("{words:.1}"), INLINE_WORDS_MIN);
    assert!(assertions >= ASSERTIONS_MIN && words >= INLINE_WORDS_MIN);
}

#[test]
fn the_core_has_no_circle_of_imports() {
    let files = sources(&["rs"]).into_iter().filter_map(|source| {
        let path = source.path.strip_prefix("shim/core/src/")?.to_owned();
        Some((path, production(&source.text)))
    });
    let found = circles::of(&files.collect::<Vec<_>>());
    report("circles of imports, core", found.len(), 0);
    check(&found);
}

#[test]
fn owners_keep_their_fields() {
    let core: Vec<_> = sources(&["rs"])
        .into_iter()
        .filter(|source| source.path.starts_with("shim/core/src/node/"))
        .collect();
    let state =
        core.iter().find(|source| source.path.ends_with("base/state.rs")).expect("the state is there");
    let mut found = Vec::new();
    let mut most = 0;
    for field in circles::raw_fields(&state.text) {
        let touching: Vec<_> = core
            .iter()
            .filter(|source| circles::touches(&production(&source.text), &field))
            .map(|source| source.path.clone())
            .collect();
        most = most.max(touching.len());
        if touching.len() > OWNER_FILES_MAX {
            found.push(format!("{field}: {}", touching.join(", ")));
        }
    }
    report("files that touch one field of the core's state", most, OWNER_FILES_MAX);
    check(&found);
}

#[test]
fn decisions_have_a_date_and_a_status() {
    let index = std::fs::read_to_string(root().join("docs/decisions/README.md")).expect("there is an index");
    let mut found = Vec::new();
    for source in sources(&["md"]).iter().filter(|source| source.path.starts_with("docs/decisions/0")) {
        let name = source.path.rsplit('/').next().expect("a path has a name");
        let begins = |label: &str| source.text.lines().take(10).any(|line| line.starts_with(label));
        if !begins("* Date: 20") || !begins("* Status: ") {
            found.push(format!("{}: needs \"* Date: \" and \"* Status: \" at its head", source.path));
        }
        if !index.contains(name) {
            found.push(format!("{}: not in docs/decisions/README.md", source.path));
        }
    }
    check(&found);
}

/// Needs the history, which a download of the tree does not have.
#[test]
fn commits_have_a_body() {
    let log = Command::new("git").args(["log", "-50", "--format=%b%x00"]).current_dir(root()).output();
    let Ok(log) = log else { return };
    let text = String::from_utf8_lossy(&log.stdout).into_owned();
    let bodies: Vec<_> = text.split('\0').map(str::trim).collect();
    // The last piece follows the last commit.
    let count = bodies.len().saturating_sub(1);
    if count < 50 {
        return;
    }
    let with = bodies[..count].iter().filter(|body| !body.is_empty()).count();
    let share = 100.0 * with as f64 / count as f64;
    report("commits of the last 50 with a body, %", share, BODIES_MIN);
    assert!(share >= BODIES_MIN);
}

/// Two: the field of a component, and its row in the server's table. The table makes the rest, and
/// tests in shim/server hold README and docs/aft.toml against it.
#[test]
fn a_setting_has_two_stations() {
    let table = root().join("shim/server/src/settings/table.rs");
    let table = std::fs::read_to_string(table).expect("the table of settings is there");
    let rows = table.lines().filter(|line| line.contains(": Kind::") && line.contains("|c|")).count();
    report("stations of a setting", 2, 2);
    assert!(rows > 40, "{rows} rows: each setting has one");
}
