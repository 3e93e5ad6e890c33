//! Goal: the alerts in `infra/prometheus/alerts.yaml` are on metrics that the program has. Method:
//! every name in an expression is looked for in the code; promtool checks the syntax if it is
//! there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("infra/xtask lies two folders below the root").to_owned()
}

fn alerts() -> String {
    let file = root().join("infra/prometheus/alerts.yaml");
    std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// Returns the names of metrics in the expressions.
fn names(alerts: &str) -> BTreeSet<&str> {
    let expressions = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words =
        expressions.flat_map(|text| text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_'));
    words.filter(|word| word.starts_with("aft_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_of_an_alert_exists() {
    let files = ["shim/node/src/meters.rs", "shim/node/src/health.rs", "shim/doors/native/src/meters.rs"];
    let files = files.into_iter().chain(["shim/doors/native/src/process.rs", "shim/net/src/places.rs"]);
    let files = files.chain(["shim/doors/s3/src/mirror/mod.rs"]);
    let code: String =
        files.map(|file| std::fs::read_to_string(root().join(file)).expect("the file exists")).collect();
    let alerts = alerts();
    let names = names(&alerts);
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(code.contains(&format!("\"{name}\"")), "no code has the metric {name}");
    }
}

#[test]
fn promtool_accepts_the_alerts() {
    let file = root().join("infra/prometheus/alerts.yaml");
    // promtool comes with Prometheus, which few machines have: without it only the names are
    // checked.
    match Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(_) => println!("promtool is not installed: the syntax of {} is not checked", file.display()),
    }
}
