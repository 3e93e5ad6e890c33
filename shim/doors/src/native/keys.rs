//! `GET`, `HEAD`, `PUT` and `DELETE` of one key in a transaction; values are raw bodies.

use std::sync::Arc;

use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Batch, Op, Reply, Verb};
use aft_wire::durable::TransactionToken;
use aft_wire::http::{self, OpKind, Put};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::failure::{Failure, Result};
use crate::native::call;
use crate::native::content::{self, Content, Incoming};
use crate::native::opening;
use crate::native::values::Plan;
use crate::path;
use crate::router::Doors;

fn target(doors: &Doors, request: &Request<Body>) -> Result<(TransactionToken, Key)> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let token = call::transaction(doors, request.uri().path())?;
    let key = path::key(path::after(request.uri().path(), "/keys/"))?;
    Ok((token, key))
}

pub(crate) async fn read(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    let batch = Batch { ops: vec![Op::Get(key)], commit: None };
    let reads = match doors.node.ask(Verb::Run(token.attempt, batch)).await {
        Ok(Reply::Ran { reads, .. }) => reads,
        Ok(reply) => panic!("a batch was answered {reply:?}"),
        Err(refusal) => return Err(Failure::from(refusal).of(&token)),
    };
    let read = reads.into_iter().next().expect("one get has one read");
    content::respond(&doors, read, request.method(), request.headers(), None)
        .await
        .map_err(|failure| failure.of(&token))
}

pub(crate) async fn write(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    put(&doors, token.attempt, key, request).await.map_err(|failure| failure.of(&token))
}

async fn put(doors: &Doors, attempt: AttemptId, key: Key, request: Request<Body>) -> Result<Response> {
    let Incoming { content_type, content } = Incoming::start(doors, request, "a value").await?;
    match content {
        Content::Whole(whole) => {
            let put = Put { key: key.as_str().to_owned(), value: whole.bytes.clone(), content_type };
            let plan = Plan::new(vec![http::Op { kind: Some(OpKind::Put(put)) }])?;
            opening::run(doors, attempt, plan, None).await?;
        }
        Content::Large(large) => {
            let (blob, size) = content::store(doors, attempt, large).await?;
            let plan = Plan::of(content::put_large(key, blob, size, content_type)?);
            opening::run(doors, attempt, plan, None).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn delete(State(doors): State<Arc<Doors>>, request: Request<Body>) -> Result<Response> {
    let (token, key) = target(&doors, &request)?;
    let plan = Plan::of(Op::Delete(key));
    opening::run(&doors, token.attempt, plan, None).await.map_err(|failure| failure.of(&token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
