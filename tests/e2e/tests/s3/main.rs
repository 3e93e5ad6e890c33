//! Goal: ordinary S3 clients get transactions from the S3 endpoint. Method: clients that nobody
//! here wrote, as programs against real servers, with signatures checked and unchecked; MinIO
//! beside it, which must answer the same; two servers on one store.

mod bounds;
mod nodes;
mod programs;
mod rights;
mod rust_sdk;
mod tools;
mod uploads;

use aft_e2e::binary;
use aft_e2e::server::Server;

/// The arguments with which a server has an S3 endpoint at a free port.
const S3: [&str; 2] = ["--s3-listen", "127.0.0.1:0"];

/// An access key of a server with credentials.
struct Key {
    id: String,
    secret: String,
    /// The credentials file.
    file: tempfile::NamedTempFile,
}

impl Key {
    /// Makes a credentials file with one key that may read and write.
    fn make(prefix: &str) -> Key {
        Key::with_rights(prefix, "read,write")
    }

    /// Makes a credentials file with one key.
    fn with_rights(prefix: &str, rights: &str) -> Key {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let path = file.path().to_str().expect("its path is text");
        let add = ["credentials", "add", "one", "--prefix", prefix, "--allow", rights, "--access-key", path];
        let made = binary::run(&add);
        assert_eq!(made.code, Some(0), "{made:#?}");
        let word = |name: &str| {
            let line = made.stdout.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {made:#?}")).to_owned()
        };
        Key { id: word("AWS_ACCESS_KEY_ID="), secret: word("AWS_SECRET_ACCESS_KEY="), file }
    }

    /// Starts a server that checks signatures.
    fn serve(&self, store: &str) -> Server {
        self.serve_with(store, &[])
    }

    /// Starts a server that checks signatures, with further arguments.
    fn serve_with(&self, store: &str, more: &[&str]) -> Server {
        let path = self.file.path().to_str().expect("its path is text");
        Server::start_with(store, &[&S3[..], &["--credentials", path], more].concat())
    }
}
