//! `GET /v1/transactions/{t}/keys?prefix=&after=&limit=`: the keys that exist in the transaction's snapshot, in order.

use aft_core::message::{ListKeys, Reply, Verb};
use aft_wire::http::{Listed, Listing, header};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;

use crate::auth::{Caller, Load};
use crate::body;
use crate::failure::{Failure, Result};
use crate::native::call;
use crate::path;
use crate::settings::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX};

pub(crate) async fn list(caller: Caller, request: Request<Body>) -> Result<Response> {
    let token = call::transaction(&caller, request.uri().path())?;
    let [prefix, after, limit] = path::query(request.uri().query(), ["prefix", "after", "limit"])?;
    let limit = match limit {
        None => LIST_LIMIT_DEFAULT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIST_LIMIT_MAX) => limit,
            _ => {
                let text = path::excerpt(&text);
                return Err(Failure::invalid(format!(
                    "limit is a number from 1 to {LIST_LIMIT_MAX}, not {text:?}"
                )));
            }
        },
    };
    let ask = ListKeys {
        prefix: caller.listed(prefix.unwrap_or_default())?,
        after: after.filter(|after| !after.is_empty()),
        limit,
    };
    let (keys, next) = match caller.node.ask(Verb::List(token.attempt, ask)).await {
        Ok(Reply::Listed { keys, next }) => (keys, next),
        Ok(reply) => panic!("a listing was answered {reply:?}"),
        Err(refusal) => return Err(Failure::from(refusal).of(&token)),
    };
    let load = || {
        let mut load = Load::default();
        keys.iter().for_each(|listed| load.add(&listed.key, 0));
        load
    };
    caller.load(token.attempt, load).map_err(|failure| failure.of(&token))?;
    let keys = keys.into_iter().map(|listed| Listed {
        key: listed.key.as_str().to_owned(),
        size: listed.meta.size,
        version: listed.txn.map_or_else(|| header::VERSION_UNCOMMITTED.to_owned(), |txn| txn.to_string()),
    });
    let listing = Listing { keys: keys.collect(), next };
    let format = body::accepted(request.headers()).unwrap_or_default();
    body::respond_within(&caller, StatusCode::OK, format, &listing).map_err(|failure| failure.of(&token))
}
