//! Writes the measurements to `docs/figures/`, and their summary into `docs/benchmarks.md`.
//!
//! * `view` – a figure's stores, ways and points, and the ratios between ways.
//! * `table` – a figure's cells in rows and columns.
//! * `text` – numbers for people.
//! * `csv`, `plot`, `page`, `summary` – one kind of file each.

mod csv;
mod page;
mod plot;
#[cfg(test)]
mod sample;
mod summary;
mod table;
mod text;
mod view;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::chapters;
use crate::data::{Data, Speed};

/// The folder of all files but the summary, in the repository.
const FOLDER: &str = "docs/figures";
/// The file in [`FOLDER`] that holds the measurements.
const DATA: &str = "data.json";
/// The document that has the summary, in the repository.
const SUMMARY: &str = "docs/benchmarks.md";

/// Writes the measurements and everything that is made from them. `root` is the repository's root.
/// Figures of earlier runs that this run did not measure stay, each with its own run.
///
/// # Errors
/// Returns an error if a file cannot be read or written, if an earlier data.json is damaged, or if
/// the document has no place for the summary.
pub(crate) fn all(data: &Data, root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join(FOLDER))?;
    let path = root.join(FOLDER).join(DATA);
    let data = match fs::read(&path) {
        Ok(earlier) => {
            let earlier: Data = serde_json::from_slice(&earlier).map_err(|why| {
                let text = format!("{}: {why}; remove the file to start without it", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            data.clone().with_earlier(earlier, chapters::ids())
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => data.clone(),
        Err(why) => return Err(why),
    };
    let mut json = serde_json::to_string_pretty(&data)?;
    json.push('\n');
    fs::write(path, json)?;
    // Made from the file, not from `data`, so that `--render` later writes the same files.
    again(root)
}

/// Reads the measurements, and writes everything that is made from them again.
///
/// # Errors
/// Returns an error if a file cannot be read or written, or if the document has no place for the
/// summary; in the latter case nothing was written.
pub(crate) fn again(root: &Path) -> io::Result<()> {
    let folder = root.join(FOLDER);
    let data: Data = serde_json::from_slice(&fs::read(folder.join(DATA))?)?;
    // The step that can fail for another reason than the disk comes first, so that such a failure
    // leaves all files unchanged.
    let summary = summary::replaced(&fs::read_to_string(root.join(SUMMARY))?, &summary::of(&data))
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{SUMMARY}: {why}")))?;
    let mut written = BTreeSet::new();
    let mut write = |name: String, text: String| {
        fs::write(folder.join(&name), text)?;
        written.insert(name);
        Ok::<(), io::Error>(())
    };
    for figure in &data.figures {
        write(format!("{}.csv", figure.id), csv::of(figure))?;
        for speed in [Speed::AsIs, Speed::Cloud] {
            if let Some(svg) = plot::file(figure, speed) {
                write(format!("{}-{}.svg", figure.id, speed.slug()), svg)?;
            }
        }
    }
    write("index.html".to_owned(), page::of(&data))?;
    remove_others(&folder, &written)?;
    fs::write(root.join(SUMMARY), summary)
}

/// Removes the plots and tables that are not in `written`: those of figures that no longer exist.
fn remove_others(folder: &Path, written: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|extension| extension == "csv" || extension == "svg");
        let is_new = path.file_name().is_some_and(|name| written.contains(&*name.to_string_lossy()));
        if is_ours && !is_new {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{DATA, FOLDER, SUMMARY, again, all, sample};
    use crate::data::{Data, Seen};

    const DOCUMENT: &str =
        "# Benchmarks\n\n<!-- figures:begin -->\nNot measured yet.\n<!-- figures:end -->\n\nmore\n";

    /// Returns the names and texts of all files in a folder.
    fn files(root: &Path) -> Vec<(String, String)> {
        let entries =
            fs::read_dir(root).expect("it is there").map(|entry| entry.expect("it can be read").path());
        let mut files: Vec<_> = entries
            .filter(|path| path.is_file())
            .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("it is text")))
            .collect();
        files.sort();
        files
    }

    /// Makes a repository that has only the document.
    fn repository(document: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("there is room");
        fs::create_dir_all(root.path().join("docs")).expect("there is room");
        fs::write(root.path().join(SUMMARY), document).expect("there is room");
        root
    }

    #[test]
    fn everything_is_written_and_the_same_again() {
        let root = repository(DOCUMENT);
        let data = sample::data();
        all(&data, root.path()).expect("it can be written");
        let folder = root.path().join(FOLDER);
        let written = || (files(&folder), files(&root.path().join("docs")));
        let first = written();
        // data.json and the page; a CSV for each figure; a plot for each speed (two figures have
        // only one speed).
        assert_eq!(first.0.len(), 2 + 3 * data.figures.len() - 2);
        let read: Data = serde_json::from_str(&fs::read_to_string(folder.join(DATA)).expect("it is there"))
            .expect("it is what was written");
        assert!(read == data, "{read:#?}");
        for write in [|data: &Data, root: &Path| all(data, root), |_: &Data, root: &Path| again(root)] {
            write(&data, root.path()).expect("it can be written");
            assert_eq!(written(), first);
        }
        let document = fs::read_to_string(root.path().join(SUMMARY)).expect("it is there");
        assert!(document.starts_with("# Benchmarks\n\n<!-- figures:begin -->\n"), "{document}");
        assert!(
            document.ends_with("<!-- figures:end -->\n\nmore\n") && !document.contains("Not measured"),
            "{document}"
        );
    }

    #[test]
    fn a_run_of_some_figures_keeps_the_others_each_with_its_run() {
        let root = repository(DOCUMENT);
        let first = sample::data();
        all(&first, root.path()).expect("it can be written");
        let folder = root.path().join(FOLDER);
        let read = || -> Data {
            let json = fs::read(folder.join(DATA)).expect("it is there");
            serde_json::from_slice(&json).expect("it is what was written")
        };
        let mut second = sample::data();
        (second.run.day, second.run.command) = ("2026-12-24".to_owned(), "cargo xtask some".to_owned());
        second.figures.retain(|figure| figure.id == "clients");
        second.figures[0].cells.truncate(1);
        all(&second, root.path()).expect("it can be written");
        let both = read();
        assert_eq!(both.run, first.run, "most figures are of the first run");
        assert_eq!(both.figures.len(), first.figures.len());
        for (figure, of_first) in both.figures.iter().zip(&first.figures) {
            match figure.id.as_str() {
                "clients" => assert_eq!((&figure.run, figure.cells.len()), (&Some(second.run.clone()), 1)),
                _ => assert_eq!(figure, of_first),
            }
        }
        let document = fs::read_to_string(root.path().join(SUMMARY)).expect("it is there");
        let page = fs::read_to_string(folder.join("index.html")).expect("it is there");
        for text in [&document, &page] {
            assert!(text.contains("2026-11-30") && text.contains("2026-12-24"), "{text}");
            assert_eq!(text.matches("cargo xtask some").count(), 1, "{text}");
        }
        // A run of everything replaces everything, and a figure that no longer exists is removed
        // with its files.
        let mut gone = first.clone();
        gone.figures[0].id = "gone".to_owned();
        gone.figures.truncate(1);
        let json = serde_json::to_string(&gone).expect("it can be written");
        fs::write(folder.join(DATA), json).expect("there is room");
        fs::write(folder.join("gone.csv"), "x").expect("there is room");
        all(&first, root.path()).expect("it can be written");
        assert_eq!(read(), first);
        assert!(!folder.join("gone.csv").exists());
    }

    #[test]
    fn long_numbers_and_values_that_are_no_numbers_read_back() {
        let mut data = sample::data();
        let seen = &mut data.figures[0].cells[0].seen;
        *seen = Seen {
            p50_ms: f64::NAN,
            p99_ms: f64::INFINITY,
            transactions_per_s: 1.0 / 3.0,
            ..Seen::default()
        };
        seen.dollars_per_million = Some(2e9 / 3.0);
        seen.requests.insert("get".to_owned(), f64::NAN);
        data.figures[0].bounds[0].seen = f64::NAN;
        let once = serde_json::to_string(&data).expect("it can be written");
        let read: Data = serde_json::from_str(&once).expect("it can be read");
        assert_eq!(serde_json::to_string(&read).expect("it can be written"), once);
        let seen = &read.figures[0].cells[0].seen;
        assert_eq!((seen.transactions_per_s, seen.dollars_per_million), (0.333333, Some(666_667_000.0)));
        assert!(seen.p50_ms.is_nan() && seen.p99_ms.is_nan() && seen.requests["get"].is_nan());
        assert!(!read.figures[0].bounds[0].holds(), "a bound without a measured value does not hold");
        all(&data, repository(DOCUMENT).path()).expect("it can be written");
    }

    #[test]
    fn a_document_without_the_comments_is_left_alone() {
        let root = repository("# Benchmarks\n");
        let why = all(&sample::data(), root.path()).expect_err("it has no place").to_string();
        assert!(why.contains(SUMMARY) && why.contains("<!-- figures:begin -->"), "{why}");
        assert_eq!(fs::read_to_string(root.path().join(SUMMARY)).expect("it is there"), "# Benchmarks\n");
    }
}
