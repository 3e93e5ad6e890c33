//! The table of settings as text: for `aft serve --help`, for `aft settings`, and for README.

use crate::commands::HELP_COLUMNS;
use crate::settings::size;
use crate::settings::table::{Components, Row, SECTIONS, Section};
#[cfg(test)]
use crate::settings::table::{MEMORY, row};
use crate::settings::value::{Kind, for_people};

/// The width of a line of the file.
const COLUMNS: usize = 100;

/// Returns the part of `aft serve --help` that lists every setting.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for Section { name, about, rows } in SECTIONS {
        let mut indented = |entry: &str, spaces: usize| {
            for line in wrapped(entry, HELP_COLUMNS - spaces) {
                text.push_str(&format!("{:spaces$}{line}\n", ""));
            }
        };
        indented(&format!("[{name}] {about}"), 2);
        for of in *rows {
            indented(&format!("{} (default: {})", of.name, default_for_people(of)), 4);
        }
    }
    text
}

/// Returns an annotated settings file: every setting, commented out, at its default.
pub(crate) fn file() -> String {
    let mut text = String::from(
        "# Every setting of `aft serve`, at its default; `aft settings` prints this file.\n\
         # A setting comes from a flag, else from the environment (AFT_SECTION__NAME, as in\n\
         # AFT_NODE__INDEX_BYTES_MAX), else from this file, which is ./aft.toml or --config FILE.\n\
         # A size is a number of bytes, or has a unit: 67108864, \"64 MiB\" and \"64MiB\" are the same,\n\
         # and \"64 MB\" is 64000000.\n",
    );
    let mut defaults = Components::default();
    for Section { name, about, rows } in SECTIONS {
        text.push_str(&format!("\n# {about}\n[{name}]\n"));
        for of in *rows {
            let default = match of.unset {
                Some(words) => format!("Default: {words}."),
                None if of.kind.unit().is_empty() => String::new(),
                None if is_size(of.kind) => "In bytes or with a unit.".to_owned(),
                None => format!("In {}.", of.kind.unit()),
            };
            for line in wrapped(&format!("{} {default}", of.about), COLUMNS - 2) {
                text.push_str(&format!("# {line}\n"));
            }
            let value = (of.field)(&mut defaults).show().unwrap_or_else(|| "…".to_owned());
            let with_unit = value.parse().ok().filter(|_| is_size(of.kind)).and_then(size::show);
            let value = match with_unit {
                Some(size) => format!("\"{size}\""),
                None if of.kind.is_quoted() => format!("\"{value}\""),
                None => value,
            };
            text.push_str(&format!("#{} = {value}\n", of.name));
        }
    }
    text
}

/// Returns README's table of the settings that bound memory.
#[cfg(test)]
fn memory_table() -> String {
    let mut text = String::from("| setting | default | what it bounds |\n|---|---|---|\n");
    for (section, name) in MEMORY {
        let of = row(section, name).expect("the settings of memory are in the table");
        text.push_str(&format!("| `[{section}] {name}` | {} | {} |\n", default_for_people(of), of.about));
    }
    text
}

fn is_size(kind: Kind) -> bool {
    matches!(kind, Kind::Bytes | Kind::BytesOrNone)
}

fn default_for_people(of: &Row) -> String {
    match of.unset {
        Some(words) => words.to_owned(),
        None => {
            let shown = (of.field)(&mut Components::default()).show().expect("it has a default");
            for_people(of.kind, &shown)
        }
    }
}

/// Breaks text into lines of at most `columns` characters.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// Returns the text of a file of this repository.
    fn repository(path: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let path = root.expect("the crate lies two folders below the root").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    #[test]
    fn the_annotated_file_in_docs_is_the_table() {
        let hint =
            "docs/aft.toml differs from the table of settings: cargo run -p aft -- settings > docs/aft.toml";
        // Not `assert_eq!`, which would print both files.
        assert!(repository("docs/aft.toml") == file(), "{hint}");
    }

    #[test]
    fn the_table_in_readme_is_the_table_of_settings() {
        let table = memory_table();
        let hint = "README.md, Memory, differs from the table of settings; put this there";
        assert!(repository("README.md").contains(&table), "{hint}:\n{table}");
    }

    #[test]
    fn the_annotated_file_sets_every_default() {
        let text: String = file()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(entry) if !entry.starts_with(' ') && !entry.contains('…') => format!("{entry}\n"),
                _ if line.starts_with('[') => format!("{line}\n"),
                _ => "\n".to_owned(),
            })
            .collect();
        let settings = Settings::merge(&text, "aft.toml", std::iter::empty()).unwrap();
        let mut components = Components::default();
        settings.apply(&mut components);
        assert_eq!(format!("{components:?}"), format!("{:?}", Components::default()));
        let rows: usize = SECTIONS.iter().map(|section| section.rows.len()).sum();
        let unset = SECTIONS.iter().flat_map(|section| section.rows).filter(|of| of.unset.is_some());
        assert_eq!(settings.len(), rows - unset.count(), "every setting with a default is there");
    }
}
