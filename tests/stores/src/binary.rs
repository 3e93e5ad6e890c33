//! The binary `aft` with the credentials of a server, and without the machine's settings for AWS.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aft_services::Server;

/// The result of a command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The text that it wrote to standard output.
    pub stdout: String,
    /// The text that it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Asserts that the command was rejected: it ended by itself with exit code 2 and without a
    /// panic, and standard error contains all of `words`.
    ///
    /// # Panics
    /// If one of these does not hold.
    pub fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// Runs `aft` to its end. `keys` are an access key and its secret.
///
/// # Panics
/// If the binary is missing.
pub fn aft(arguments: &[&str], keys: Option<(&str, &str)>) -> Ran {
    finish(command(arguments, keys))
}

/// Runs `aft` to its end with `environment` and without keys.
///
/// # Panics
/// If the binary is missing.
pub fn aft_in(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = command(arguments, None);
    command.envs(environment.iter().copied());
    finish(command)
}

/// Runs curl, and returns what it printed.
///
/// # Panics
/// If it fails.
pub fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error"])
        .args(arguments)
        .output()
        .expect("curl starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running `aft serve`, killed when it is dropped.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    /// The server's address, `http://127.0.0.1:PORT`.
    pub url: String,
    /// The address of its S3 endpoint, if it has one.
    pub s3_url: Option<String>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `aft serve` on a store, and waits until it listens.
///
/// # Panics
/// If it does not come to listen.
pub fn serve(store: &str, server: &Server) -> Serving {
    serve_with(store, server, &[])
}

/// Starts `aft serve` with an S3 endpoint and further arguments, and waits until it listens.
///
/// # Panics
/// If it does not come to listen.
pub fn serve_s3(store: &str, server: &Server, more: &[&str]) -> Serving {
    let serving = serve_with(store, server, &[&["--s3-listen", "127.0.0.1:0"], more].concat());
    assert!(serving.s3_url.is_some(), "it said nothing of an S3 endpoint");
    serving
}

fn serve_with(store: &str, server: &Server, more: &[&str]) -> Serving {
    let arguments = [&["serve", "--store", store, "--listen", "127.0.0.1:0"], more].concat();
    let mut command = command(&arguments, None);
    let child = command.envs(server.environment()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut find = |start: &str| lines.find_map(|line| line.strip_prefix(start).map(str::to_owned));
    let Some(url) = find("listening on ") else {
        let ended = child.wait().expect("it is ours");
        panic!("aft serve ended before it listened: {ended}");
    };
    let s3_url = if more.contains(&"--s3-listen") { find("listening for S3 on ") } else { None };
    Serving { child, url, s3_url }
}

fn command(arguments: &[&str], keys: Option<(&str, &str)>) -> Command {
    let mut command = Command::new(path());
    // Without the variables of the user, and those that configure the tests themselves.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("AWS_") || shown.starts_with("AFT_") {
            command.env_remove(&name);
        }
    }
    // No files and no service of the machine may provide credentials.
    command.env("AWS_CONFIG_FILE", "/nowhere").env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    if let Some((access, secret)) = keys {
        command.env("AWS_ACCESS_KEY_ID", access).env("AWS_SECRET_ACCESS_KEY", secret);
    }
    command.args(arguments);
    command
}

/// Returns the path of the binary: `AFT_BIN`, or the one that cargo put beside the test programs.
fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("AFT_BIN") {
        return path.into();
    }
    let this = std::env::current_exe().expect("a test program knows where it is");
    let path =
        this.parent().and_then(Path::parent).expect("cargo puts tests into target/PROFILE/deps").join("aft");
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build --locked --package aft`, or run everything with `cargo xtask test`",
        path.display()
    );
    path
}
