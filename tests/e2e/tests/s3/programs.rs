//! Programs in Python and JavaScript, and raw sockets.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aft_e2e::binary::finish;
use aft_e2e::server::{Server, local};
use aft_services::{Home, Service};

use crate::{Key, S3};

/// The time limit of a program, on a machine that is shared.
const TIME_MAX: Duration = Duration::from_secs(300);

fn folder() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3_clients")
}

/// Returns the Python that has boto3; `None` if the test is to be skipped.
fn python() -> Option<PathBuf> {
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
    let mut command = match name.ends_with(".mjs") {
        true => Command::new("node"),
        false => Command::new(python),
    };
    command.arg(folder().join(name)).arg(server.s3_url().await).env("PYTHONDONTWRITEBYTECODE", "1");
    // The packages of npm lie beside the virtual environment's programs.
    command.current_dir(python.ancestors().nth(2).expect("bin/python lies in an environment"));
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    command
}

#[tokio::test]
async fn boto3_and_the_javascript_sdk_need_no_change() {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let server = Server::start_with(&local(directory.path()), &S3);
    for name in ["clients.py", "clients.mjs"] {
        let mut command = program(&python, name, &server).await;
        run(command.arg(format!("http://{}", server.address())), &server);
    }
}

#[tokio::test]
async fn signatures_are_checked() {
    let Some(python) = python() else { return };
    let key = Key::make("");
    let server = key.serve("memory:");
    for name in ["clients.py", "clients.mjs"] {
        let mut command = program(&python, name, &server).await;
        command.env("AWS_ACCESS_KEY_ID", &key.id).env("AWS_SECRET_ACCESS_KEY", &key.secret);
        run(&mut command, &server);
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
    let theirs = format!("http://127.0.0.1:{}", minio.port());
    for seed in ["1", "2", "3"] {
        let mut command = Command::new(&python);
        command.arg(folder().join("differential.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["--ours", &server.s3_url().await, "--theirs", &theirs]);
        command.args(["--seed", seed, "--operations", "300"]);
        for (name, value) in minio.environment() {
            match name {
                "AWS_ACCESS_KEY_ID" => command.args(["--their-key", value]),
                "AWS_SECRET_ACCESS_KEY" => command.args(["--their-secret", value]),
                _ => &mut command,
            };
        }
        run(&mut command, &server);
    }
}
