//! Goal: the program that makes the figures runs from its first store to the last file. Method: run
//! the real program on the stores that need no server, for a fraction of the time, in a temporary
//! root.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn figures(root: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aft-figures"));
    command.args(arguments).arg("--root").arg(root);
    command.output().expect("the program starts")
}

#[test]
fn everything_is_measured_and_written() {
    let root = tempfile::tempdir().expect("a directory can be made");
    let docs = root.path().join("docs");
    std::fs::create_dir(&docs).expect("a directory can be made");
    let summary =
        "# Benchmarks\n\n<!-- figures:begin -->\nnot measured yet\n<!-- figures:end -->\n\nThe end.\n";
    std::fs::write(docs.join("benchmarks.md"), summary).expect("a file can be written");

    let ran = figures(root.path(), &["--stores", "memory,local", "--scale", "0.02", "--seed", "7"]);
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );

    let data = std::fs::read(docs.join("figures/data.json")).expect("the data is written");
    let data: Value = serde_json::from_slice(&data).expect("the data is JSON");
    assert_eq!(
        (&data["seed"], data["figures"].as_array().map(Vec::len)),
        (&Value::from(7), Some(8)),
        "{data:#}"
    );
    let mut ways = BTreeSet::new();
    for figure in data["figures"].as_array().expect("figures are a list") {
        let id = figure["id"].as_str().expect("a figure has a name");
        assert!(docs.join(format!("figures/{id}.csv")).exists(), "{id}");
        for cell in figure["cells"].as_array().expect("cells are a list") {
            assert!(cell["seen"]["transactions"].as_u64() > Some(0), "{id}: {cell:#}");
            ways.insert(cell["way"].as_str().expect("a way has a name").to_owned());
            if cell["way"].as_str().is_some_and(|way| way.starts_with("aft")) {
                let wrong =
                    ["own_write", "fractured", "double", "half"].map(|what| cell["seen"][what].as_u64());
                assert_eq!(wrong, [Some(0); 4], "{id}: {cell:#}");
            }
        }
    }
    assert!(ways.contains("plain") && ways.contains("aft"), "{ways:?}");
    let written = std::fs::read_to_string(docs.join("benchmarks.md")).expect("the summary is there");
    assert!(
        written.starts_with("# Benchmarks\n")
            && written.ends_with("\nThe end.\n")
            && !written.contains("not measured yet"),
        "{written}"
    );

    let page = std::fs::read(docs.join("figures/index.html")).expect("the page is written");
    std::fs::remove_file(docs.join("figures/index.html")).expect("it can be removed");
    assert!(figures(root.path(), &["--render"]).status.success());
    assert_eq!(std::fs::read(docs.join("figures/index.html")).expect("it is drawn again"), page);
}

#[test]
fn comparisons_that_lack_a_tool_are_left_out_with_what_to_install() {
    let root = tempfile::tempdir().expect("a directory can be made");
    // Runs the program with these environment variables and figures, and returns its standard
    // error.
    let empty = root.path().display().to_string();
    let said_of = |set: &[(&str, &str)], figures: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aft-figures"));
        command.args(["--figures", figures, "--root", &empty]).envs(set.iter().copied());
        let ran = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains("nothing was measured"), "{said}");
        assert!(!root.path().join("docs").exists(), "nothing is written");
        said
    };
    let said = said_of(&[("AFT_SKIP_SERVICES", "restate")], "restate-transfers");
    assert!(said.contains("left out restate-transfers: AFT_SKIP_SERVICES names restate"), "{said}");
    // No tool is on the search path, and no server was built before.
    let nothing = [("PATH", empty.as_str()), ("AFT_SERVICES_DIR", empty.as_str()), ("AFT_SKIP_SERVICES", "")];
    for (figures, says) in [
        ("etcd-gets", "left out etcd-puts, etcd-gets: go is not installed"),
        ("restate-transfers", "install Node >= 20 with npm"),
        ("powertools-transfers", "install python3 (3.10 or newer) and python3-venv"),
    ] {
        let said = said_of(&nothing, figures);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn mistyped_arguments_are_rejected_with_the_valid_ones() {
    for (arguments, says) in [
        (["--stores", "minio"], "memory, local, redis, dynamodb and s3"),
        (["--figures", "figure-3"], "end-to-end"),
        (["--scale", "0"], "between 0.001 and 100"),
    ] {
        let ran = figures(Path::new("."), &arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains(says), "{said}");
    }
}
