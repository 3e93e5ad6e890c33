//! Names in a query: `/v1/key?name=a/../b` for `/v1/keys/a/../b`.
//!
//! Proxies resolve `.` and `..` in paths, and join slashes, so that a call would reach another
//! name. They leave queries alone. A call that has the name in its query is rewritten here, before
//! it is routed: its handler finds the name in the path.

use axum::http::uri::{PathAndQuery, Uri};

/// The paths that take a name in the query: the path, the parameter, and the path that the name
/// follows.
const PATHS: [(&str, &str, &str); 3] = [
    ("/v1/key", "name", "/v1/keys/"),
    ("/v1/request", "id", "/v1/requests/"),
    ("/v1/result", "id", "/v1/results/"),
];
/// The end of the path of a key in a transaction, its parameter, and the end that the name follows.
const IN_TRANSACTION: (&str, &str, &str) = ("/key", "name", "/keys/");

/// Returns the target with the name in its path, if `uri` has one in its query.
pub(crate) fn in_path(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let (before, parameter) = match PATHS.iter().find(|(alone, ..)| *alone == path) {
        Some(&(_, parameter, before)) => (before.to_owned(), parameter),
        None => {
            let (end, parameter, with_name) = IN_TRANSACTION;
            let transaction = path.strip_suffix(end)?;
            let token = transaction.strip_prefix("/v1/transactions/")?;
            if token.is_empty() || token.contains('/') {
                return None;
            }
            (format!("{transaction}{with_name}"), parameter)
        }
    };
    let mut name = None;
    let mut others = Vec::new();
    for pair in uri.query().unwrap_or_default().split('&') {
        match pair.split_once('=') {
            // A name that is given twice stays in the query, and is rejected there.
            Some((key, value)) if key == parameter && name.is_none() => name = Some(value),
            _ => others.push(pair),
        }
    }
    // A `+` in a query is a space; a `?` is allowed there, but not in a path.
    let name = name.unwrap_or_default().replace('+', "%20").replace('?', "%3F");
    let query = others.join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{before}{name}{mark}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_query_goes_to_the_path() {
        let check = |target: &str, expect: Option<&str>| {
            let uri = target.parse().expect("tests name targets");
            assert_eq!(in_path(&uri).map(|uri| uri.to_string()).as_deref(), expect, "{target}");
        };
        check("/v1/key?name=a%2F..%2Fb", Some("/v1/keys/a%2F..%2Fb"));
        check("/v1/key?name=a/../b&fresh=true", Some("/v1/keys/a/../b?fresh=true"));
        check("/v1/key?fresh=true&name=a+b?", Some("/v1/keys/a%20b%3F?fresh=true"));
        check("/v1/key?name=a&name=b", Some("/v1/keys/a?name=b"));
        check("/v1/key", Some("/v1/keys/"));
        check("/v1/transactions/T/key?name=%2Fa", Some("/v1/transactions/T/keys/%2Fa"));
        check("/v1/request?id=a//b&scope=s", Some("/v1/requests/a//b?scope=s"));
        check("/v1/result?id=..", Some("/v1/results/.."));
        check("http://h:1/v1/key?name=a", Some("http://h:1/v1/keys/a"));
        for other in
            ["/v1/keys/a?name=b", "/v1/transactions//key?name=a", "/v1/transactions/T/x/key?name=a", "/"]
        {
            check(other, None);
        }
    }
}
