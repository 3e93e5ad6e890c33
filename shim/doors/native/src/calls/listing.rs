//! `GET /v1/transactions/{t}/keys?prefix=&after=&limit=&delimiter=`: the keys that exist in the
//! transaction's snapshot, in order.

use aft_api::{Listed, Listing, header};
use aft_core::message::ListKeys;
use aft_desk::large;
use aft_net::browser::excerpt;
use aft_node::Page;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;

use crate::body;
use crate::caller::Caller;
use crate::calls::call;
use crate::failure::{Failure, Result};
use crate::path;
use crate::settings::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};

pub(crate) async fn list(caller: Caller, request: Request<Body>) -> Result<Response> {
    let token = call::transaction(&caller, request.uri().path())?;
    let names = ["prefix", "after", "limit", "delimiter"];
    let [prefix, after, limit, delimiter] = path::query(request.uri().query(), names)?;
    let limit = match limit {
        None => LIST_LIMIT_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIST_LIMIT_MAX) => limit,
            _ => {
                let text = excerpt(&text);
                return Err(Failure::invalid(format!(
                    "limit must be a number from 1 to {LIST_LIMIT_MAX}, not {text:?}"
                )));
            }
        },
    };
    let asked = prefix.unwrap_or_default();
    let mut delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let prefix = caller.listed(&asked)?;
    // The caller's own prefix may lie below a common prefix of the listing. Then the answer is that
    // one common prefix, if there is any key below it, so one key is listed to find out.
    let below = delimiter.as_deref().and_then(|delimiter| common_prefix(&asked, &prefix, delimiter));
    let after = after.filter(|after| !after.is_empty());
    if let Some(below) = &below {
        if after.as_ref().is_some_and(|after| after >= below) {
            return respond(&caller, &request, Listing::default());
        }
        delimiter = None;
    }
    let limit = if below.is_some() { 1 } else { limit };
    let ask = ListKeys { prefix, after, limit, delimiter };
    let listed = caller.list(token.attempt, ask).await;
    let Page { keys, prefixes, next } = listed.map_err(|refused| Failure::from(refused).of(&token))?;
    let keys = keys.into_iter().map(|listed| Listed {
        key: listed.key.as_str().to_owned(),
        size: large::size_of(&listed.meta.etag, listed.meta.size),
        version: listed.txn.map_or_else(|| header::VERSION_UNCOMMITTED.to_owned(), |txn| txn.to_string()),
    });
    let listing = match below {
        Some(below) => {
            Listing { prefixes: keys.map(|_| below.clone()).take(1).collect(), ..Listing::default() }
        }
        None => Listing { keys: keys.collect(), next, prefixes },
    };
    respond(&caller, &request, listing).map_err(|failure| failure.of(&token))
}

fn respond(caller: &Caller, request: &Request<Body>, listing: Listing) -> Result<Response> {
    let format = body::accepted(request.headers()).unwrap_or_default();
    body::respond_within(caller, StatusCode::OK, format, &listing)
}

/// Returns the common prefix that contains every key that the caller may see. There is one if its
/// allowed prefix has the delimiter after the part that it asked for.
fn common_prefix(asked: &str, allowed: &str, delimiter: &str) -> Option<String> {
    let rest = allowed.strip_prefix(asked)?;
    let end = asked.len() + rest.find(delimiter)? + delimiter.len();
    Some(allowed[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::common_prefix;

    #[test]
    fn a_prefix_of_a_credential_may_lie_below_a_common_prefix() {
        let check = |asked, allowed, expect: Option<&str>| {
            assert_eq!(common_prefix(asked, allowed, "/").as_deref(), expect, "{asked} {allowed}");
        };
        check("", "a/b/", Some("a/"));
        check("a/", "a/b/", Some("a/b/"));
        check("a/b/", "a/b/", None);
        check("", "", None);
        check("a", "ab", None);
    }
}
