//! The builder of a client.

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::Error;
use crate::origin::Origin;
use crate::settings::{Settings, WRITE_BUFFER_BYTES_LIMIT};
use crate::tls::{Tls, TlsFiles};
use crate::transport::Transport;

/// The settings of a client before it is made; each has a default.
#[derive(Debug, Clone)]
pub struct Builder {
    url: String,
    token: Option<String>,
    tls: TlsFiles,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Builder {
        Builder { url: url.to_owned(), token: None, tls: TlsFiles::default(), settings: Settings::default() }
    }

    /// Sets the bearer token to present to the server. There is none by default.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// Sets the file of the authorities, in PEM, that may sign the server's certificate. They are
    /// trusted instead of the system's. A server's own certificate may stand in the file, too.
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Builder {
        self.tls.ca = Some(path.into());
        self
    }

    /// Sets the file of the client's certificate, in PEM, followed by the intermediate ones. It
    /// needs [`Builder::key`].
    pub fn certificate(mut self, path: impl Into<PathBuf>) -> Builder {
        self.tls.certificate = Some(path.into());
        self
    }

    /// Sets the file of the private key of the client's certificate, in PEM.
    pub fn key(mut self, path: impl Into<PathBuf>) -> Builder {
        self.tls.key = Some(path.into());
        self
    }

    /// Sets the files for TLS all at once.
    pub fn tls(mut self, files: TlsFiles) -> Builder {
        self.tls = files;
        self
    }

    /// Sets the timeout for opening a connection, with its TLS handshake; 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets the longest silence of a call: the time without a byte in either direction after which
    /// it has failed; 30 s by default, and at most 24 days. A large value on a slow line takes as
    /// long as it needs.
    pub fn call_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.call_timeout = timeout;
        self
    }

    /// Sets the deadline of transactions, from their opening, unless the request sets its own. By
    /// default the server chooses it: a minute unless the server is set otherwise. The server also
    /// limits it, by default to 15 minutes.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.transaction_timeout = Some(timeout);
        self
    }

    /// Sets the most attempts of a run or a whole transaction; 10 by default, and at least one.
    pub fn attempts_max(mut self, attempts: u32) -> Builder {
        self.settings.attempts_max = attempts.max(1);
        self
    }

    /// Sets the time that the client has for a run, or for another call: it starts no new attempt
    /// after it, and its calls and pauses end by then. It does not interrupt a function that is
    /// running. 60 s by default, and at most 24 days;
    /// [`Request::run_time_max`](crate::Request::run_time_max) and [`Client::with_run_time_max`]
    /// set another one.
    pub fn run_time_max(mut self, time: Duration) -> Builder {
        self.settings.run_time_max = time;
        self
    }

    /// Switches repeats on or off; they are on by default. Without them a call, a run or a commit
    /// that fails is not tried again, as it suits a command that a person repeats.
    pub fn repeats(mut self, on: bool) -> Builder {
        self.settings.repeats = on;
        self
    }

    /// Switches the session on or off; it is on by default. With it, each transaction sees the
    /// commits that this client, or a clone of it, made before the transaction began, on any node.
    pub fn session(mut self, on: bool) -> Builder {
        self.settings.session = on;
        self
    }

    /// Sets the most bytes of small writes that are buffered in the client until the commit; 1 MiB
    /// by default, and at most 4 MiB. With 0 each write is a call of its own, and its errors are
    /// returned at once.
    pub fn write_buffer_bytes_max(mut self, bytes: usize) -> Builder {
        self.settings.write_buffer_bytes_max = bytes.min(WRITE_BUFFER_BYTES_LIMIT);
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the URL is neither `http://HOST[:PORT]` nor
    /// `https://HOST[:PORT]`, if the token cannot be sent in a header, or if a file cannot be used:
    /// the message names its option.
    pub fn build(self) -> Result<Client, Error> {
        let origin = Origin::parse(&self.url)?;
        let tls = Tls::new(&self.tls, &origin)?;
        let authorization = match self.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    Error::invalid("the bearer token contains characters that a header cannot hold: remove line breaks from it")
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let transport = Transport::new(origin, tls, authorization, &self.settings);
        Ok(Client::from_parts(transport, self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_rejected_by_name() {
        let files = tempfile::tempdir().unwrap();
        let empty = files.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let none = files.path().join("none.pem");
        let check = |builder: Builder, parts: &[&str]| {
            let Err(Error::Invalid(details)) = builder.build() else { panic!("it was taken: {parts:?}") };
            for part in parts {
                assert!(details.detail.contains(part), "{part:?} is missing in {}", details.detail);
            }
        };
        let builder = || Builder::new("https://h:1");
        check(builder().ca(&none), &["`ca`", "none.pem"]);
        check(builder().ca(&empty), &["`ca`", "empty.pem", "no certificate"]);
        check(builder().certificate(&empty), &["`certificate`", "`key`"]);
        check(builder().key(&empty), &["`key`", "`certificate`"]);
        check(builder().certificate(&none).key(&empty), &["`certificate`", "none.pem"]);
        check(Builder::new("http://h:1").ca(&none), &["`ca`", "none.pem"]);
        check(Builder::new("http://h:1").token("a\nb"), &["bearer token", "line breaks"]);
        check(Builder::new("http://h:1/v1"), &["a path or a query"]);
    }
}
