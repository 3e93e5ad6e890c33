//! Goal: `aft functions serve` runs the functions of a file until a signal. Method: a function in
//! Python, an invocation over HTTP, SIGTERM, and a look at the output; and files that are wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aft_e2e::binary::{command, is_skipped, run, wait};

/// The tiny runtime of the local Lambda's own tests.
const RUNTIME: &str = "../../lambda-wrapper/host/tests/programs/runtime.py";
/// The time that an end may take: far above what it takes.
const END_MAX: Duration = Duration::from_secs(60);

#[test]
fn functions_run_until_a_signal() {
    if is_skipped("python") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("functions.toml");
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNTIME);
    // Not the wrapper that some machines have for python3, which needs more variables than PATH.
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = String::from_utf8(python.expect("python3 is installed").stdout).expect("a path");
    let text = format!(
        "[[function]]\nname = 'echo'\ncommand = ['{}', '{}']\ntimeout = 60\n",
        python.trim(),
        runtime.display()
    );
    std::fs::write(&file, text).expect("a file can be written");
    let file = file.display().to_string();
    let mut server = command(&["functions", "serve", &file, "--listen", "127.0.0.1:0"])
        .spawn()
        .expect("the program starts");
    let mut output = BufReader::new(server.stdout.take().expect("piped"));
    let mut said = String::new();
    let address = loop {
        let start = said.len();
        let count = output.read_line(&mut said).expect("it speaks UTF-8");
        assert_ne!(count, 0, "it ended: {said}");
        if let Some(address) = said[start..].strip_prefix("listening for invocations on http://") {
            break address.trim().to_owned();
        }
    };
    assert!(said.starts_with("function echo: "), "one line for each function: {said}");

    let body = r#"{"print": "a line of the function"}"#;
    let mut stream = TcpStream::connect(&address).expect("it listens");
    write!(
        stream,
        "POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""event": {"print": "a line of the function"}"#), "{answer}");

    let sent = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
    let ended = wait(&mut server, END_MAX).expect("it ends");
    output.read_to_string(&mut said).expect("it speaks UTF-8");
    assert!(ended.success(), "{ended}: {said}");
    let line = said.lines().find(|line| line.ends_with(" runtime] a line of the function"));
    assert!(line.is_some_and(|line| line.starts_with("[echo ")), "{said}");
    assert!(said.contains("START RequestId: "), "{said}");
}

#[test]
fn wrong_files_are_named_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("functions.toml").display().to_string();
    let refused = |words: &[&str]| run(&["functions", "serve", &file]).assert_refused(words);
    refused(&["functions.toml: it cannot be read", "give the path"]);
    std::fs::write(&file, "[[function]]\nname = 'f'\ncommand = ['true']\nmemory = 1\n")
        .expect("a file can be written");
    refused(&["functions.toml: line 4: unknown field `memory`", "correct or remove it"]);
    std::fs::write(&file, "[[function]]\nname = 'f'\ncommand = ['true']\n").expect("a file can be written");
    run(&["functions", "serve", &file, "--listen", "0.0.0.0:0"])
        .assert_refused(&["0.0.0.0:0", "listen on 127.0.0.1"]);
}
