//! How a client is made.

use std::time::Duration;

use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::Error;
use crate::settings::{Settings, WRITE_BUFFER_BYTES_LIMIT};
use crate::transport::Transport;

/// Settings of a client to be; each has a default.
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

    /// The bearer token to present.
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// How long a connection may take to open (5 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long one call may take (30 s).
    pub fn call_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.call_timeout = timeout;
        self
    }

    /// How long a transaction may stay open, unless its request says otherwise (the server's default, a minute; at most 15).
    pub fn transaction_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.transaction_timeout = Some(timeout);
        self
    }

    /// The greatest number of attempts of a run or a whole transaction (10; at least one).
    pub fn attempts_max(mut self, attempts: u32) -> Builder {
        self.settings.attempts_max = attempts.max(1);
        self
    }

    /// After how long a run begins nothing new (60 s). A function that is running is not interrupted by it.
    pub fn run_time_max(mut self, time: Duration) -> Builder {
        self.settings.run_time_max = time;
        self
    }

    /// Whether each transaction sees what this client, or a clone of it, committed before it began, on whatever node (on).
    pub fn session(mut self, on: bool) -> Builder {
        self.settings.session = on;
        self
    }

    /// Bytes of small writes that wait in the client for the commit call (1 MiB, at most 4). With 0 each write is a call, and what is wrong with it
    /// is told at once.
    pub fn write_buffer_bytes_max(mut self, bytes: usize) -> Builder {
        self.settings.write_buffer_bytes_max = bytes.min(WRITE_BUFFER_BYTES_LIMIT);
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is not `http://HOST[:PORT]`, or the token is no text for a header.
    pub fn build(self) -> Result<Client, Error> {
        let authority = authority(&self.url)?;
        let authorization = match self.token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    Error::invalid("the bearer token has characters that a header cannot hold")
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
    let wrong =
        || Error::invalid(format!("{url:?} is no server: it is written http://HOST:PORT, without a path"));
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
    fn urls() {
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
