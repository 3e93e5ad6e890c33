//! `GET`, `HEAD`, `PUT` and `DELETE` of one key in a transaction; values are raw bodies.

use aft_access::Right;
use aft_api::{self as api, OpIf, OpKind, Put};
use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Batch, Op};
use aft_format::TransactionToken;
use aft_node::Ran;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use crate::failure::{Failure, Result};
use crate::native::call;
use crate::native::conditional;
use crate::native::content::{self, Content, Incoming};
use crate::native::opening::{self, Asked};
use crate::native::values::Plan;
use crate::path;

fn target(caller: &Caller, request: &Request<Body>, right: Right) -> Result<(TransactionToken, Key)> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let token = call::transaction(caller, request.uri().path())?;
    let key = caller.key_in_path(path::after(request.uri().path(), "/keys/"), right)?;
    Ok((token, key))
}

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&caller, &request, Right::Read)?;
    let plan = Plan::of(Op::Get(key));
    caller.load(token.attempt, || plan.load()).map_err(|failure| failure.of(&token))?;
    let batch = Batch { ops: plan.ops, commit: None };
    let reads = match caller.node.run(token.attempt, batch).await {
        Ok(Ran::Open { reads }) => reads,
        Ok(ran) => panic!("a read was answered {ran:?}"),
        Err(refusal) => return Err(Failure::from(refusal).of(&token)),
    };
    let read = reads.into_iter().next().expect("one get has one read");
    content::respond(&caller, read, request.method(), request.headers(), None)
        .await
        .map_err(|failure| failure.of(&token))
}

pub(crate) async fn write(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&caller, &request, Right::Write)?;
    let condition = conditional::of_headers(request.headers())?;
    put(&caller, token.attempt, key, condition, request).await.map_err(|failure| failure.of(&token))
}

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
            let plan = Plan::new(caller, vec![api::Op { condition, ..api::Op::of(OpKind::Put(put)) }])?;
            opening::run(caller, attempt, plan, None, Asked::Within).await?;
        }
        Content::Large(large) => {
            let check = conditional::check(caller, &key, condition.as_ref())?;
            let stored = content::store(caller, attempt, *large).await?;
            let mut plan = Plan::of(content::put_large(key, &stored, content_type)?);
            plan.ops.splice(0..0, check);
            opening::run(caller, attempt, plan, None, Asked::Within).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn delete(caller: Caller, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&caller, &request, Right::Write)?;
    let condition = conditional::of_headers(request.headers())?;
    let op = api::Op { condition, ..api::Op::delete(key.as_str()) };
    let plan = Plan::new(&caller, vec![op]).map_err(|failure| failure.of(&token))?;
    opening::run(&caller, token.attempt, plan, None, Asked::Within)
        .await
        .map_err(|failure| failure.of(&token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
