//! Goal: the walks in ARCHITECTURE.md, "One request through the house", are true. Method: every
//! file and function that they name exists; and a read on a cold node and a commit of two keys are
//! run with the trace of rooms on, which must pass the marked files that the tables name, in their
//! order, and no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aft_core::rooms;
use aft_store_memory::MemoryStore;

use crate::support::Server;

/// A file that a walk names, with the functions in brackets behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    path: PathBuf,
    functions: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)
        .expect("the crate lies three folders below the root")
}

/// Returns the steps of the table under a heading, row by row.
fn walk(architecture: &str, heading: &str) -> Vec<Vec<Step>> {
    let (_, section) = architecture.split_once(heading).unwrap_or_else(|| panic!("there is no {heading:?}"));
    let rows = section.lines().skip_while(|line| !line.starts_with("| 1 |"));
    let mut folder = PathBuf::from("shim");
    let mut walk = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let files = row.split('|').nth(2).expect("a row has a column of files");
        walk.push(steps(files, &mut folder));
    }
    assert!(walk.len() > 5, "{heading}: {} rows", walk.len());
    walk
}

/// Returns the steps of one cell. `folder` is that of the file before.
fn steps(cell: &str, folder: &mut PathBuf) -> Vec<Step> {
    let mut found: Vec<Step> = Vec::new();
    for name in cell.split('`').skip(1).step_by(2) {
        if name.ends_with(".rs") {
            let path = resolve(name, folder);
            *folder = path.parent().expect("a file has a folder").to_owned();
            found.push(Step { path, functions: Vec::new() });
        } else {
            let function = name.rsplit("::").next().expect("a name has an end").to_owned();
            found.last_mut().unwrap_or_else(|| panic!("{name:?} has no file")).functions.push(function);
        }
    }
    found
}

/// Returns the file of a name: from the root, or from the folder before or one above it, or the
/// only one that ends so.
fn resolve(name: &str, folder: &Path) -> PathBuf {
    let near = [Path::new("")].into_iter().chain(folder.ancestors()).map(|of| of.join(name));
    if let Some(path) = near.into_iter().find(|path| root().join(path).is_file()) {
        return path;
    }
    let mut found = Vec::new();
    for top in ["shim", "storage-adapters"] {
        find(&root().join(top), Path::new(name), &mut found);
    }
    match &found[..] {
        [path] => path.clone(),
        _ => panic!("{name:?} behind {} is {found:?}", folder.display()),
    }
}

fn find(folder: &Path, name: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.ends_with(name) {
            found.push(path.strip_prefix(root()).expect("it lies below the root").to_owned());
        }
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Returns the marked files of some rows, in the order in which they are named first.
fn marked<'a>(rows: impl Iterator<Item = &'a Vec<Step>>) -> Vec<String> {
    first_of_each(
        rows.flatten()
            .filter(|step| text(&step.path).contains("room!();"))
            .map(|step| step.path.display().to_string()),
    )
}

fn first_of_each(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

#[test]
fn files_and_functions_exist() {
    let architecture = text(Path::new("ARCHITECTURE.md"));
    for heading in ["### A read on a cold node", "### A commit of two keys"] {
        for step in walk(&architecture, heading).iter().flatten() {
            let text = text(&step.path);
            for function in &step.functions {
                let defined = [format!("fn {function}("), format!("fn {function}<")];
                let is_there = defined.iter().any(|of| text.contains(of));
                assert!(is_there, "{heading}: {} has no function {function:?}", step.path.display());
            }
        }
    }
}

/// The runtime has one thread, so that the trace, which is a thread's, has every room.
#[tokio::test]
async fn a_read_and_a_commit_pass_the_rooms_of_the_tables() {
    let architecture = text(Path::new("ARCHITECTURE.md"));
    let read = walk(&architecture, "### A read on a cold node");
    let commit = walk(&architecture, "### A commit of two keys");
    let store = MemoryStore::shared();
    let two_puts = r#"{"ops": [{"put": "a", "text": "1"}, {"put": "b", "text": "2"}]"#;
    let writer = Server::over(store.clone(), |_, _| {}).await;
    assert_eq!(writer.post("/v1/execute", &format!("{two_puts}}}")).await.status, 200);

    let cold = Server::over(store, |_, _| {}).await;
    let read_atomic = r#"{"isolation": "read_atomic"}"#;
    let begun = cold.post("/v1/transactions", read_atomic).await;
    let transaction = begun.reply().transaction.expect("an open transaction has a token");
    rooms::start();
    let answer = cold.call("GET", &format!("/v1/transactions/{transaction}/keys/a"), &[], "").await;
    let passed = first_of_each(rooms::take().into_iter().map(str::to_owned));
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"1"[..]));
    assert_eq!(passed, marked(read.iter()), "a read: what it passed, and what ARCHITECTURE.md says");

    let transaction = cold.open().await;
    let batch = format!("/v1/transactions/{transaction}/batch");
    assert_eq!(cold.post(&batch, &format!("{two_puts}}}")).await.status, 200);
    rooms::start();
    let answer = cold.post(&format!("/v1/transactions/{transaction}/commit"), "{}").await;
    let passed = first_of_each(rooms::take().into_iter().map(str::to_owned));
    assert!(answer.reply().committed, "{answer:?}");
    // Up to the caller it is the way of a read.
    let expected = marked(read[..2].iter().chain(&commit));
    assert_eq!(passed, expected, "a commit: what it passed, and what ARCHITECTURE.md says");
}
