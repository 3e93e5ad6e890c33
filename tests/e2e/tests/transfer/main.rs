//! Goal: objects come in and go out unchanged, an export is one snapshot, and nothing of somebody
//! else is lost on the way. Method: `aft import` and `aft export` as processes, with directories,
//! with the S3 endpoint of a server of ours as the bucket (it takes every key), and beside writers.
//! `tests/stores/tests/transfers.rs` has the same with MinIO, and with failures on the way.

mod again;
mod mirror;
mod objects;
mod origin;
mod round_trip;
mod snapshot;

use std::path::Path;

use aft_e2e::binary::{Ran, run_in};

/// The arguments with which a server has an S3 endpoint at a free port.
const S3: [&str; 2] = ["--s3-listen", "127.0.0.1:0"];

/// The credentials for an endpoint that checks none.
const ANY: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")];

/// Runs `aft` to its end, which must be a success, and returns the fields of its report.
fn report(arguments: &[&str], environment: &[(&str, &str)]) -> serde_json::Value {
    run_in(&[arguments, &["--json"]].concat(), environment).json()
}

/// Runs `aft` to its end, with credentials for an endpoint that checks none.
fn aft(arguments: &[&str]) -> Ran {
    run_in(arguments, &ANY)
}

/// Returns the text of a path.
fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of temporary files are text")
}

/// Makes a directory that goes with the test.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}
