//! The server's URL, parsed once.

use hyper::Uri;

use crate::error::Error;

/// A server: its scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// True if the scheme is https.
    pub(crate) secure: bool,
    /// The host: a name, or an address without brackets.
    pub(crate) host: String,
    /// Host and port as calls carry them in the header `Host`.
    pub(crate) authority: String,
    /// The address to connect to, as the connector wants it.
    pub(crate) dial: Uri,
}

impl Origin {
    /// Parses `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the URL has another form. No message repeats a user or a
    /// password.
    pub(crate) fn parse(url: &str) -> Result<Origin, Error> {
        if url.contains('@') {
            return Err(Error::invalid(
                "the server's URL has a user or a password before its @: leave both out, and give the token by `token` (Builder::token)",
            ));
        }
        let wrong = |why: &str| {
            Error::invalid(format!(
                "{url:?} is not the URL of a server: {why}; write http://HOST:PORT or https://HOST:PORT"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("it has a path or a query"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port {
            Some("") if !authority.ends_with(':') => None,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Some(port),
                _ => return Err(wrong(&format!("its port {text:?} is not a number from 1 to 65535"))),
            },
            None => return Err(wrong("an address in brackets is followed by a port or by nothing")),
        };
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let dial =
            format!("http://{bracketed}:{port}").parse().map_err(|_| wrong("its host is not valid"))?;
        Ok(Origin { secure, host: host.to_owned(), authority: authority.to_owned(), dial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_a_server_without_a_path_are_taken() {
        let check = |url: &str, dial: &str| {
            let origin = Origin::parse(url).unwrap_or_else(|why| panic!("{url}: {why}"));
            assert_eq!(origin.dial.to_string(), dial, "{url}");
            assert_eq!(origin.secure, url.starts_with("https"), "{url}");
        };
        check("http://127.0.0.1:7400", "http://127.0.0.1:7400/");
        check("http://localhost:7400/", "http://localhost:7400/");
        check("http://[::1]:7400", "http://[::1]:7400/");
        check("https://[::1]", "http://[::1]:443/");
        check("http://aft.internal", "http://aft.internal:80/");
        check("https://aft.internal", "http://aft.internal:443/");
        check("https://aft.internal:8443/", "http://aft.internal:8443/");
        let check = |url: &str, part: &str| {
            let Err(Error::Invalid(details)) = Origin::parse(url) else { panic!("{url} is taken") };
            assert!(details.detail.contains(part), "{url}: {}", details.detail);
        };
        check("http://127.0.0.1:7400/v1", "a path or a query");
        check("http://127.0.0.1:7400?x=1", "a path or a query");
        check("ftp://127.0.0.1:7400", "neither http nor https");
        check("127.0.0.1:7400", "no scheme");
        check("", "no scheme");
        check("http://", "no host");
        check("http://:7400", "no host");
        check("http://h:abc", "port \"abc\"");
        check("http://h:99999", "port \"99999\"");
        check("http://h:+80", "port \"+80\"");
        check("http://h:0", "port \"0\"");
        check("http://h:", "port \"\"");
        check("http://::1:7400", "port");
        check("http://[::1]7400", "followed by a port");
        check("http://a b:7400", "its host is not valid");
    }

    #[test]
    fn no_message_about_a_url_repeats_a_password() {
        for url in
            ["http://user:s3cret@host", "https://user:s3cret@h:abc/x", "user:s3cret@host", "http://s3cret@"]
        {
            let why = Origin::parse(url).unwrap_err().to_string();
            assert!(!why.contains("s3cret") && why.contains("give the token by `token`"), "{why}");
        }
    }
}
