//! The rules for prose.

/// First words of a doc's first line, or of a later paragraph, that make a riddle of it.
const QUESTIONS: &[&str] =
    &["What", "Who", "Whoever", "Whom", "Whose", "Whether", "Which", "Of", "How", "Why", "Where", "When"];

/// Words and phrases for which the field has usual ones.
const BANNED: &[&str] =
    &["lest", "anew", "whoever", "of one's own", "be patient", "keeps company", "nought", "save for"];

/// A line of a comment.
pub(crate) struct Comment {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// It is the first line of a doc comment.
    pub(crate) starts_doc: bool,
    /// It is the first line of a later paragraph of a doc comment.
    pub(crate) starts_paragraph: bool,
}

/// Returns the comment lines of a source file.
pub(crate) fn comments(text: &str) -> Vec<Comment> {
    let mut found = Vec::new();
    let mut before = "";
    // Of the doc comment: the line before is empty or a heading; the line is in a block of code.
    let (mut after_gap, mut in_code) = (false, false);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let marker =
            ["///", "//!", "//"].into_iter().find(|marker| line.starts_with(marker)).unwrap_or_default();
        let text = line[marker.len()..].trim().to_owned();
        let starts_doc = marker != "//" && !marker.is_empty() && marker != before;
        if starts_doc {
            (after_gap, in_code) = (false, false);
        }
        let starts_paragraph = marker != "//" && !starts_doc && after_gap && !in_code && !text.is_empty();
        in_code ^= text.starts_with("```");
        after_gap = text.is_empty() || text.starts_with('#');
        if !marker.is_empty() {
            found.push(Comment { line: at + 1, text, starts_doc, starts_paragraph });
        }
        before = marker;
    }
    found
}

/// Returns the question word with which a doc line begins, in emphasis too.
pub(crate) fn question(text: &str) -> Option<&'static str> {
    let first =
        text.trim_start_matches(['*', '_']).split(|of: char| !of.is_alphanumeric() && of != '\'').next()?;
    QUESTIONS.iter().find(|word| **word == first).copied()
}

/// Returns a banned word in a line.
pub(crate) fn banned(line: &str) -> Option<&'static str> {
    let line = line.to_lowercase();
    BANNED.iter().copied().find(|word| {
        line.match_indices(word).any(|(at, _)| {
            let is_letter = |of: Option<char>| of.is_some_and(char::is_alphanumeric);
            !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
        })
    })
}

/// Returns the lines of prose in Markdown with their numbers: no tables, no code, no comments.
pub(crate) fn of_markdown(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !start.starts_with(['|', '<']) && !line.starts_with("    ") {
            found.push((at + 1, line));
        }
    }
    found
}

#[test]
fn doc_lines_are_found_and_judged() {
    let text =
        "//! What it is.\n//! Whether.\n\n/// Returns it.\n/// Who?\nfn f() {}\n// Whose.\n    /// Of it.\n";
    let firsts: Vec<_> = comments(text).into_iter().filter(|comment| comment.starts_doc).collect();
    let judged: Vec<_> = firsts.iter().map(|comment| (comment.line, question(&comment.text))).collect();
    assert_eq!(judged, [(1, Some("What")), (4, None), (8, Some("Of"))]);
    assert_eq!(question("Whatever"), None);
    assert_eq!(question("Where it is shared, it waits."), Some("Where"));
    assert_eq!(question("**When** it ends."), Some("When"));
    assert_eq!(question("* When it ends."), None, "an item of a list");
    assert_eq!(question("# What it is not"), None, "a heading");
}

#[test]
fn later_paragraphs_are_found_and_judged() {
    let text = [
        "//! A store.",
        "//! Where it is.",
        "//!",
        "//! Why it waits.",
        "//! Who.",
        "//!",
        "//! # Which",
        "//! How.",
        "//!",
        "//! ```",
        "//!",
        "//! How",
        "//! ```",
        "//!",
        "//! It ends.",
        "",
        "/// Returns it.",
        "///",
        "/// *When* it ends.",
        "fn f() {}",
        "// One.",
        "//",
        "// Which.",
    ];
    let text = text.join("\n");
    let found: Vec<_> = comments(&text).into_iter().filter(|comment| comment.starts_paragraph).collect();
    let judged: Vec<_> = found.iter().map(|comment| (comment.line, question(&comment.text))).collect();
    assert_eq!(
        judged,
        [(4, Some("Why")), (7, None), (8, Some("How")), (10, None), (15, None), (19, Some("When"))]
    );
}

#[test]
fn banned_words_are_found() {
    assert_eq!(banned("Wait, lest it breaks"), Some("lest"));
    assert_eq!(banned("the celestial"), None);
    assert_eq!(banned("one of one's own"), Some("of one's own"));
    assert_eq!(banned("// Whoever asks"), Some("whoever"));
}

#[test]
fn prose_of_markdown_has_no_tables_and_no_code() {
    let text = "one\n| a | b |\n```\ncode\n```\ntwo\n<!-- comment -->\n    indented code\n";
    assert_eq!(of_markdown(text), [(1, "one"), (6, "two")]);
}
