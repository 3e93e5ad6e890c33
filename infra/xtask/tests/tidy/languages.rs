//! The comments of the languages in the repository.

/// Extensions of the files whose comments are known.
pub(crate) const KNOWN: &[&str] = &["rs", "py", "mjs", "js", "ts", "go", "sh", "yaml", "toml"];

/// Returns the numbers of the lines that are comments as a whole; in Python, also docstrings. A
/// comment behind code is none of them.
pub(crate) fn comment_lines(extension: &str, text: &str) -> Vec<usize> {
    let is_comment: Vec<bool> = match extension {
        "rs" => text.lines().map(|line| line.trim_start().starts_with("//")).collect(),
        "mjs" | "js" | "ts" | "go" => script(text),
        "py" => python(text),
        "sh" | "yaml" | "toml" => text.lines().map(|line| line.trim_start().starts_with('#')).collect(),
        _ => panic!("no comments are known of .{extension}: add it to {}", file!()),
    };
    (1..).zip(is_comment).filter(|(_, is)| *is).map(|(line, _)| line).collect()
}

/// Returns the lines wider than `columns` among the comments, each with its number and its columns.
pub(crate) fn wide(extension: &str, text: &str, columns: usize) -> Vec<(usize, usize)> {
    let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
    let lines = comment_lines(extension, text).into_iter().map(|line| (line, widths[line - 1]));
    lines.filter(|(_, width)| *width > columns).collect()
}

fn script(text: &str) -> Vec<bool> {
    let mut in_block = false;
    text.lines()
        .map(|line| {
            let line = line.trim_start();
            let is_comment = in_block || line.starts_with("//") || line.starts_with("/*");
            let in_or_starts_block = in_block || line.starts_with("/*");
            in_block = in_or_starts_block && !line.contains("*/");
            is_comment
        })
        .collect()
}

fn python(text: &str) -> Vec<bool> {
    // The quotes of the open string of several lines, and whether it is a docstring.
    let mut open: Option<(&str, bool)> = None;
    text.lines()
        .map(|line| {
            let mut is_comment = open.is_some_and(|(_, is_doc)| is_doc);
            if open.is_none() && line.trim_start().starts_with('#') {
                return true;
            }
            let mut at = 0;
            while let Some((start, quotes)) = next_quotes(line, at, open.map(|(quotes, _)| quotes)) {
                open = match open {
                    Some(_) => None,
                    None => {
                        // A docstring is a statement of its own; another string follows code.
                        let is_doc = ["", "r"].contains(&line[..start].trim());
                        is_comment |= is_doc;
                        Some((quotes, is_doc))
                    }
                };
                at = start + quotes.len();
            }
            is_comment
        })
        .collect()
}

/// Returns the next quotes in a line of Python that open a string of several lines, or that close
/// the one that is open.
fn next_quotes<'a>(line: &str, from: usize, open: Option<&'a str>) -> Option<(usize, &'a str)> {
    let among: &[&'a str] = &["\"\"\"", "'''"];
    let found = among.iter().filter(|quotes| open.is_none_or(|open| open == **quotes));
    found.filter_map(|quotes| Some((from + line[from..].find(quotes)?, *quotes))).min()
}

#[test]
fn comments_of_every_language_are_found() {
    assert_eq!(comment_lines("rs", "// a\nlet b; // c\n    /// d\n"), [1, 3]);
    let script = "/** a\n  b\n */\nlet c // d\n  // e\nf('/*')\n/* g */\nh\n";
    assert_eq!(comment_lines("ts", script), [1, 2, 3, 5, 7]);
    let python = "\"\"\"a\n'''\nb\"\"\"\nc = 1  # d\n  # e\nf = \"\"\"g\nh\n\"\"\"\ni\n  r\"\"\"j\"\"\"\nk\n";
    assert_eq!(comment_lines("py", python), [1, 2, 3, 5, 10]);
    for extension in ["sh", "yaml", "toml"] {
        assert_eq!(comment_lines(extension, "# a\nb = 1 # c\n  # d\n"), [1, 3], "{extension}");
    }
}

#[test]
fn wide_comments_are_found_in_every_language() {
    for extension in KNOWN {
        let marker = if ["rs", "mjs", "js", "ts", "go"].contains(extension) { "//" } else { "#" };
        let text = format!("{marker} äöüß\n{marker} äöüßa\nx = \"a string that is longer\"\n");
        let fits = marker.len() + 5;
        assert_eq!(wide(extension, &text, fits), [(2, fits + 1)], "{extension}");
    }
    assert_eq!(wide("ts", "/**\n * 34567\n */\n", 7), [(2, 8)]);
    assert_eq!(wide("py", "\"\"\"\n345678\n\"\"\"\n", 5), [(2, 6)]);
}
