//! `GET`, `HEAD`, `PUT` and `DELETE` of one key in a transaction; values are raw bodies.

use aft_access::Right;
use aft_api::{self as api, OpIf, OpKind, Put};
use aft_core::ids::{AttemptId, Key};
use aft_desk::Asked;
use aft_desk::large::{Arriving, store};
use aft_format::TransactionToken;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::caller::Caller;
use crate::calls::call;
use crate::calls::conditional;
use crate::calls::content::{self, Content, Incoming};
use crate::calls::values::{self, attributes};
use crate::failure::{Failure, Result};
use crate::path;

/// Parses the transaction and the key of a call, and checks that the caller may use the key.
fn target(caller: &Caller, request: &Request<Body>, right: Right) -> Result<(TransactionToken, Key)> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let token = call::transaction(caller, request.uri().path())?;
    let key = caller.key_in_path(path::after(request.uri().path(), "/keys/"), right)?;
    Ok((token, key))
}

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    aft_core::room!();
    let (token, key) = target(&caller, &request, Right::Read)?;
    let read = caller.read(token.attempt, key).await;
    let read = read.map_err(|refused| Failure::from(refused).of(&token))?;
    content::respond(&caller, read, request.method(), request.headers(), None)
        .await
        .map_err(|failure| failure.of(&token))
}

pub(crate) async fn write(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&caller, &request, Right::Write)?;
    let condition = conditional::of_headers(request.headers())?;
    put(&caller, token.attempt, key, condition, request).await.map_err(|failure| failure.of(&token))
}

/// Writes the request's body to a key: a small value as an operation, a large one part by part.
async fn put(
    caller: &Caller,
    attempt: AttemptId,
    key: Key,
    condition: Option<OpIf>,
    request: Request<Body>,
) -> Result<Response> {
    let Incoming { content_type, content } = Incoming::start(caller, request, "a value").await?;
    match content {
        Content::Whole(whole) => {
            let put = Put { key: key.as_str().to_owned(), value: whole.bytes.clone(), content_type };
            let plan = values::plan(caller, vec![api::Op { condition, ..api::Op::of(OpKind::Put(put)) }])?;
            caller.run(attempt, plan, None, &Asked::Within).await?;
        }
        Content::Large(large) => {
            let check = conditional::check(caller, &key, condition.as_ref())?;
            let attributes = attributes(content_type)?;
            let stored = store(caller, attempt, Arriving::new(large)).await?;
            let plan = check.into_iter().chain([stored.put(key, Bytes::new(), attributes)]).collect();
            caller.run(attempt, plan, None, &Asked::Within).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn delete(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&caller, &request, Right::Write)?;
    let condition = conditional::of_headers(request.headers())?;
    let op = api::Op { condition, ..api::Op::delete(key.as_str()) };
    let plan = values::plan(&caller, vec![op]).map_err(|failure| failure.of(&token))?;
    let ran = caller.run(token.attempt, plan, None, &Asked::Within).await;
    ran.map_err(|refused| Failure::from(refused).of(&token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
