//! A client that was built without TLS: it speaks http alone, and says so.

use std::io;

use crate::error::Error;
use crate::origin::Origin;
use crate::tls::TlsFiles;
use crate::watch::Timed;

/// No line speaks TLS.
pub(crate) type Stream = Timed;

/// The TLS of connections to one server: there is none.
pub(crate) enum Tls {}

impl Tls {
    /// Returns `None`: connections are plain.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the scheme is https, or if a file of TLS is named.
    pub(crate) fn new(files: &TlsFiles, origin: &Origin) -> Result<Option<Tls>, Error> {
        if origin.secure || *files != TlsFiles::default() {
            return Err(Error::invalid(
                "this program was built without TLS: write http:// and name no certificates, or use the one that was built with the feature `tls`",
            ));
        }
        Ok(None)
    }

    /// Agrees on TLS with the server at the other end of a line.
    pub(crate) async fn connect(&self, _line: Timed) -> io::Result<Stream> {
        match *self {}
    }
}

/// Returns the reason why the two sides did not agree on TLS: they did not try.
pub(crate) fn disagreement(_why: &io::Error) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_certificates_are_rejected_with_a_remedy() {
        let origin = |url| Origin::parse(url).unwrap();
        assert!(Tls::new(&TlsFiles::default(), &origin("http://h:1")).unwrap().is_none());
        let ca = TlsFiles { ca: Some("ca.pem".into()), ..TlsFiles::default() };
        for (files, url) in [(TlsFiles::default(), "https://h:1"), (ca, "http://h:1")] {
            let why = Tls::new(&files, &origin(url)).err().expect("it is rejected");
            assert!(why.to_string().contains("write http://"), "{why}");
        }
    }
}
