//! Programs that copy files, each against a server that checks signatures: the command line of AWS,
//! and rclone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use aft_e2e::binary::{Ran, finish};
use aft_e2e::client::Client;
use aft_e2e::server::Server;
use hyper::Method;

use crate::programs::{TIME_MAX, python};
use crate::uploads::open;
use crate::{Key, S3};

/// Files with names that have to be encoded, and their sizes. The last one is above 8 MiB, from
/// which on the command line of AWS uploads in parts.
const FILES: [(&str, usize); 8] = [
    ("a%41b", 10),
    ("a b/ä/x+y.txt", 1_000),
    ("+/100%.txt", 20),
    ("…😀", 30),
    ("&<>'\"", 40),
    ("q?x=1&y#z", 50),
    ("empty", 0),
    ("large", 9 << 20),
];

/// A folder with [`FILES`] below it, for programs that read no other settings than the test's.
struct Files {
    home: tempfile::TempDir,
    address: String,
    id: String,
    secret: String,
}

impl Files {
    async fn make(server: &Server, id: &str, secret: &str) -> Files {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let files =
            Files { home, address: server.s3_url().await, id: id.to_owned(), secret: secret.to_owned() };
        for (name, bytes) in FILES {
            files.write(name, bytes);
        }
        files
    }

    /// Writes a file, whose contents depend on its name and size.
    fn write(&self, name: &str, bytes: usize) {
        let path = self.home.path().join("from").join(name);
        std::fs::create_dir_all(path.parent().expect("it lies below")).expect("a folder can be made");
        let contents: Vec<u8> = name.bytes().cycle().zip(0..bytes).map(|(a, at)| a ^ at as u8).collect();
        std::fs::write(path, contents).expect("a file can be written");
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("AWS_") || name.starts_with("RCLONE_") {
                command.env_remove(&*name);
            }
        }
        // No file and no service of the machine provides settings.
        command.env("HOME", self.home.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.current_dir(self.home.path());
        command
    }

    /// Returns the command line of AWS.
    fn aws(&self, python: &Path) -> Command {
        let mut command = self.program(&python.with_file_name("aws"));
        command.env("AWS_ENDPOINT_URL_S3", &self.address).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", &self.id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command.arg("s3");
        command
    }

    /// Lists all objects below a URL: one line each. The program may fail if there is none.
    fn ls(&self, python: &Path, url: &str) -> String {
        let ran = finish(self.aws(python).args(["ls", "--recursive", url]), TIME_MAX);
        let is_right = ran.code == Some(0) || ran.code == Some(1) && ran.stdout.is_empty();
        assert!(is_right && ran.stderr.is_empty(), "{ran:#?}");
        ran.stdout
    }

    /// Returns rclone with a remote named `aft`.
    fn rclone(&self) -> Command {
        let mut command = self.program(Path::new("rclone"));
        for (name, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("REGION", "us-east-1"),
            ("ENDPOINT", &self.address),
            ("ACCESS_KEY_ID", &self.id),
            ("SECRET_ACCESS_KEY", &self.secret),
        ] {
            command.env(format!("RCLONE_CONFIG_AFT_{name}"), value);
        }
        // The least size of a part, so that the large file becomes an upload of two.
        command.args(["--s3-upload-cutoff=5Mi", "--s3-chunk-size=5Mi"]);
        command
    }

    /// Asserts that a folder has the same files.
    fn assert_same(&self, folder: &str) {
        let root = self.home.path();
        assert_eq!(names(&root.join(folder)), names(&root.join("from")));
        for name in names(&root.join("from")) {
            let read = |folder: &str| std::fs::read(root.join(folder).join(&name)).expect("a file");
            assert!(read(folder) == read("from"), "{name} differs");
        }
    }
}

/// Returns the names of the files below a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => {
                    let name = entry.strip_prefix(folder).expect("it lies below");
                    found.push(name.to_str().expect("a name is text").to_owned());
                }
            }
        }
    }
    found.sort();
    found
}

/// Runs a program to its end, which must be a success.
fn run(command: &mut Command, arguments: &[&str]) -> Ran {
    let ran = finish(command.args(arguments), TIME_MAX);
    assert_eq!(ran.code, Some(0), "{command:?}: {ran:#?}");
    ran
}

/// Returns the number of lines that begin with a word.
fn count(text: &str, word: &str) -> usize {
    text.lines().filter(|line| line.starts_with(word)).count()
}

#[tokio::test]
async fn the_command_line_of_aws_copies_files() {
    let Some(python) = python() else { return };
    let key = Key::make("");
    let server = key.serve("memory:");
    let files = Files::make(&server, &key.id, &key.secret).await;
    let since = Instant::now();
    let aws = |arguments: &[&str]| run(&mut files.aws(&python), arguments).stdout;
    aws(&["mb", "s3://tools"]);
    // Below and above 8 MiB.
    aws(&["cp", "from/a%41b", "s3://tools/one/a b+%41/ä"]);
    assert_eq!(aws(&["cp", "s3://tools/one/a b+%41/ä", "-"]).len(), 10);
    aws(&["cp", "from/large", "s3://tools/one/large"]);
    let sync = ["sync", "--no-progress", "from", "s3://tools/tree"];
    assert_eq!(count(&aws(&sync), "upload:"), FILES.len());
    assert_eq!(aws(&sync), "", "everything is there");
    files.write("large", (9 << 20) + 1);
    assert_eq!(count(&aws(&sync), "upload:"), 1, "the size of one file is another");
    aws(&["sync", "--no-progress", "s3://tools/tree", "back"]);
    files.assert_same("back");
    // Copies and moves within the server, which are copies of parts above 8 MiB.
    aws(&["cp", "--no-progress", "--recursive", "s3://tools/tree", "s3://tools/copy"]);
    aws(&["mv", "--no-progress", "s3://tools/one/large", "s3://tools/copy/large"]);
    let listed = aws(&["ls", "s3://tools"]);
    let listed: Vec<&str> = listed.lines().map(str::trim).collect();
    assert_eq!(listed, ["PRE copy/", "PRE one/", "PRE tree/"]);
    let listed = files.ls(&python, "s3://tools/copy/");
    for (name, _) in FILES {
        assert!(listed.lines().any(|line| line.ends_with(&format!(" copy/{name}"))), "{name} in {listed}");
    }
    // Everybody can read with a presigned URL.
    let url = aws(&["presign", "s3://tools/one/a b+%41/ä"]);
    let path = url.trim().strip_prefix(&files.address).expect("a URL of the endpoint");
    let address = files.address.strip_prefix("http://").expect("an address").parse().expect("an address");
    let client = Client::new(address);
    let read = client.raw(Method::GET, path, &[], "").await.expect("the server answers");
    assert_eq!((read.status().as_u16(), read.body().len()), (200, 10));
    let stripped = path.split_once('?').expect("it has a signature").0;
    let refused = client.raw(Method::GET, stripped, &[], "").await.expect("the server answers");
    assert_eq!(refused.status(), 403);
    aws(&["rm", "s3://tools/one/a b+%41/ä"]);
    assert_eq!(files.ls(&python, "s3://tools/one/"), "", "the large file was moved away");
    aws(&["rm", "--recursive", "s3://tools"]);
    aws(&["rb", "s3://tools"]);
    println!("aws s3: {:.1} s", since.elapsed().as_secs_f64());
}

/// A program needs no change to take part in a transaction: inside a function, the SDK sends the
/// function's tracing context, whose field `Txn` names the transaction.
#[tokio::test]
async fn the_command_line_of_aws_takes_part_in_a_transaction() {
    let Some(python) = python() else { return };
    // The program may take long on a machine that is shared.
    let patient = [("AFT_NODE__TIMEOUT_DEFAULT_MS", "300000")];
    let server = Server::start_in("memory:", &[&S3[..], &["--bucket", "tools"]].concat(), &patient);
    let files = Files::make(&server, "any", "any").await;
    // Each call has a connection of its own: the server closes idle ones meanwhile.
    let client = || Client::new(server.address());
    let outside = || files.ls(&python, "s3://tools");
    let commit = async |token: &str| {
        let path = format!("/v1/transactions/{token}/commit");
        let json = [("content-type", "application/json")];
        let answer = client().raw(Method::POST, &path, &json, "{}").await.expect("the server answers");
        assert_eq!(answer.status(), 200, "{answer:?}");
    };
    for (arguments, lines) in [
        (&["sync", "--no-progress", "from", "s3://tools/tree"][..], FILES.len()),
        (&["rm", "--recursive", "s3://tools/tree"], 0),
    ] {
        // To complete an upload in parts needs this level.
        let token = open(&client(), "serializable").await;
        let before = outside();
        let context = format!("Root=1-5759e988-bd862e3fe1be46a994272793;Txn={token}");
        let mut inside = files.aws(&python);
        inside.env("AWS_LAMBDA_FUNCTION_NAME", "f").env("_X_AMZN_TRACE_ID", context);
        assert_eq!(run(&mut inside, arguments).stdout.lines().count(), FILES.len(), "{arguments:?}");
        let seen = outside();
        assert_eq!(seen, before, "{arguments:?} is not committed");
        commit(&token).await;
        let seen = outside();
        assert_eq!(seen.lines().count(), lines, "{arguments:?}");
    }
}

/// Both versions of signatures: rclone signs with version 4 unless it is told otherwise.
#[tokio::test]
async fn rclone_copies_files() {
    if python().is_none() {
        return;
    }
    let key = Key::make("");
    let server = key.serve("memory:");
    let files = Files::make(&server, &key.id, &key.secret).await;
    for version in ["false", "true"] {
        let since = Instant::now();
        let rclone = |arguments: &[&str]| {
            run(files.rclone().env("RCLONE_CONFIG_AFT_V2_AUTH", version).arg("-v"), arguments)
        };
        rclone(&["mkdir", "aft:tools"]);
        rclone(&["sync", "from", "aft:tools/tree"]);
        rclone(&["check", "--download", "from", "aft:tools/tree"]);
        let again = rclone(&["sync", "from", "aft:tools/tree"]);
        assert!(again.stderr.contains("There was nothing to transfer"), "{again:#?}");
        let listed = rclone(&["lsf", "--recursive", "--files-only", "aft:tools/tree"]).stdout;
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, names(&files.home.path().join("from")));
        // Copies within the server; then the way back.
        rclone(&["copy", "aft:tools/tree", "aft:tools/copy"]);
        rclone(&["moveto", "aft:tools/copy/a b/ä/x+y.txt", "aft:tools/copy/moved ä"]);
        rclone(&["moveto", "aft:tools/copy/moved ä", "aft:tools/copy/a b/ä/x+y.txt"]);
        let back = format!("back of {version}");
        rclone(&["copy", "aft:tools/copy", &back]);
        files.assert_same(&back);
        // A file that differs is found.
        rclone(&["deletefile", "aft:tools/tree/empty"]);
        let differs = finish(files.rclone().args(["check", "from", "aft:tools/tree"]), TIME_MAX);
        assert_eq!(differs.code, Some(1), "{differs:#?}");
        rclone(&["purge", "aft:tools"]);
        let version = if version == "true" { 2 } else { 4 };
        println!("rclone with version {version}: {:.1} s", since.elapsed().as_secs_f64());
    }
}

/// The command line of AWS asks before it sends a file, also an empty one, whose answer is the
/// final one at once. On the same connection it then took the status of the next answer for known,
/// lost its headers, and failed to upload a part for want of an entity tag.
#[tokio::test]
async fn a_connection_ends_after_the_answer_to_an_empty_body_that_was_announced() {
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "tools"]].concat());
    let url = server.s3_url().await;
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(TIME_MAX)).expect("a time-out can be set");
    let head =
        "PUT /tools/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers, and ends the connection");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}
