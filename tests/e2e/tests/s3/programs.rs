//! Programs in Python, JavaScript and Go, and raw sockets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aft_e2e::binary::finish;
use aft_e2e::server::{Server, local};
use aft_services::{Home, Service};

use crate::{Key, S3};

/// The time limit of a program, on a machine that is shared.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(300);

/// The programs with SDKs of AWS: two of this folder, and one that was built from it.
const SDKS: [&str; 3] = ["clients.py", "clients.mjs", "go-clients"];

fn folder() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3_clients")
}

/// Returns the Python that has boto3; `None` if the test is to be skipped.
pub(crate) fn python() -> Option<PathBuf> {
    if Service::S3Clients.skipped() {
        return None;
    }
    Some(Service::S3Clients.program(&Home::from_environment()).unwrap_or_else(|why| panic!("{why}")))
}

/// Runs a program to its end, which must be a success.
fn run(command: &mut Command, server: &Server) {
    let ran = finish(command, TIME_MAX);
    println!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(0), "{command:?} failed; see its output above\n{}", server.log());
}

/// Returns a command for a program of this folder, with the addresses of a server.
async fn program(python: &std::path::Path, name: &str, server: &Server) -> Command {
    let mut command = match name.rsplit_once('.') {
        Some((_, "mjs")) => Command::new("node"),
        Some(_) => Command::new(python),
        None => Command::new(python.with_file_name(name)),
    };
    if name.contains('.') {
        command.arg(folder().join(name));
    }
    command.arg(server.s3_url().await).env("PYTHONDONTWRITEBYTECODE", "1");
    // The packages of npm lie beside the virtual environment's programs.
    command.current_dir(python.ancestors().nth(2).expect("bin/python lies in an environment"));
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    command
}

#[tokio::test]
async fn the_sdks_of_aws_need_no_change() {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let server = Server::start_with(&local(directory.path()), &S3);
    for name in SDKS {
        let mut command = program(&python, name, &server).await;
        run(command.arg(format!("http://{}", server.address())), &server);
    }
}

#[tokio::test]
async fn signatures_are_checked() {
    let Some(python) = python() else { return };
    let key = Key::make("");
    let server = key.serve("memory:");
    for name in SDKS {
        let mut command = program(&python, name, &server).await;
        command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
        run(&mut command, &server);
    }
}

/// Libraries that take objects for files, with signatures.
#[tokio::test]
async fn objects_are_files_to_libraries() {
    let Some(python) = python() else { return };
    let key = Key::make("");
    let server = key.serve_with("memory:", &["--bucket", "files"]);
    let environment = python.ancestors().nth(2).expect("bin/python lies in an environment");
    // s3fs needs another botocore than the others, so it has a folder of its own.
    for (path, checks) in [("", &["smart_open", "pyarrow", "duckdb"][..]), ("s3fs", &["s3fs"])] {
        let mut command = program(&python, "files.py", &server).await;
        command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
        if !path.is_empty() {
            command.env("PYTHONPATH", environment.join(path));
        }
        run(command.arg("files").args(checks), &server);
    }
}

#[tokio::test]
async fn what_no_client_sends_is_rejected() {
    let Some(python) = python() else { return };
    // Its further arguments are parts of names of cases: there are none.
    let open = Server::start_with("memory:", &S3);
    run(&mut program(&python, "raw.py", &open).await, &open);
    let key = Key::make("");
    let server = key.serve("memory:");
    let mut command = program(&python, "raw.py", &server).await;
    command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
    run(&mut command, &server);
}

/// Sends the same random operations to MinIO and to the endpoint.
#[tokio::test]
async fn the_endpoint_answers_as_minio_does() {
    let Some(python) = python() else { return };
    let Some(minio) = Service::Minio.start_or_skip() else { return };
    let server = Server::start_with("memory:", &S3);
    for seed in ["1", "2", "3"] {
        let mut command = differential(&python, &server, &minio, seed).await;
        run(&mut command, &server);
    }
}

/// The same for a bucket that reads through to one on MinIO, in which other operations were first.
#[tokio::test]
async fn a_bucket_with_an_origin_answers_as_minio_does() {
    let Some(python) = python() else { return };
    let Some(minio) = Service::Minio.start_or_skip() else { return };
    let Some(origin) = Service::Minio.start_or_skip() else { return };
    let at = format!("http://127.0.0.1:{}", origin.port());
    for (seed, mirror) in [("4", "off"), ("5", "on")] {
        let bucket = format!("through-{seed}-plain");
        origin.create_bucket(&bucket).expect("it takes a bucket");
        let flag = format!("{bucket}=s3://{bucket}?endpoint={at}&region=us-east-1&mirror={mirror}");
        let more = [&S3[..], &["--bucket", &flag]].concat();
        let server = Server::start_in("memory:", &more, &origin.environment());
        let mut command = differential(&python, &server, &minio, seed).await;
        command.args(["--origin", &at, "--run", &format!("through-{seed}")]);
        run(&mut command, &server);
    }
}

/// Returns the command that compares a server with MinIO.
async fn differential(python: &Path, server: &Server, minio: &aft_services::Server, seed: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(folder().join("differential.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    let theirs = format!("http://127.0.0.1:{}", minio.port());
    command.args(["--ours", &server.s3_url().await, "--theirs", &theirs]);
    command.args(["--seed", seed, "--operations", "300"]);
    for (name, value) in minio.environment() {
        match name {
            "AWS_ACCESS_KEY_ID" => command.args(["--their-key", value]),
            "AWS_SECRET_ACCESS_KEY" => command.args(["--their-secret", value]),
            _ => &mut command,
        };
    }
    command
}
