//! The builder of a client.

use std::time::Duration;

use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::Error;
use crate::settings::{Settings, WRITE_BUFFER_BYTES_LIMIT};
use crate::transport::Transport;

/// The settings of a client before it is made; each has a default.
#[derive(Debug, Clone)]
pub struct Builder {
    url: String,
    token: Option<String>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Builder {
        Builder { url: url.to_owned(), token: None, settings: Settings::default() }
    }

    /// Sets the bearer token to present to the server. There is none by default.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// Sets the timeout for opening a connection; 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets the timeout of one call, its answer included; 30 s by default.
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

    /// Sets the time after which a run, or another call, starts no new attempt; 60 s by default. It
    /// does not interrupt a function that is running.
    pub fn run_time_max(mut self, time: Duration) -> Builder {
        self.settings.run_time_max = time;
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
    /// Returns [`Error::Invalid`] if the URL is not `http://HOST[:PORT]`, or if the token cannot be
    /// sent in a header.
    pub fn build(self) -> Result<Client, Error> {
        let authority = authority(&self.url)?;
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
        let transport = Transport::new(authority, authorization, &self.settings);
        Ok(Client::from_parts(transport, self.settings))
    }
}

fn authority(url: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid(format!("{url:?} is not the URL of a server: write http://HOST:PORT, without a path"))
    };
    let uri: hyper::Uri = url.parse().map_err(|_| wrong())?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if plain && !authority.as_str().contains('@') => {
            Ok(authority.to_string())
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_a_server_without_a_path_are_taken() {
        let check = |url: &str, fine: bool| assert_eq!(Builder::new(url).build().is_ok(), fine, "{url}");
        check("http://127.0.0.1:7400", true);
        check("http://localhost:7400/", true);
        check("http://[::1]:7400", true);
        check("http://aft.internal", true);
        check("http://127.0.0.1:7400/v1", false);
        check("http://user@127.0.0.1:7400", false);
        check("https://127.0.0.1:7400", false);
        check("127.0.0.1:7400", false);
        check("", false);
        assert!(Builder::new("http://h:1").token("a\nb").build().is_err());
    }
}
