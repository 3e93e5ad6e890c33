//! Large results: `PUT /v1/transactions/{t}/result` stores one before the commit, and
//! `GET /v1/results/{id}` reads it for as long as the request is kept.

use aft_access::Right;
use aft_api::{Code, header};
use aft_core::ids::Key;
use aft_core::message::{Op, Refusal};
use aft_core::record::LargeResult;
use aft_desk::large::{self, Arriving, Stored, store};
use aft_desk::{Asked, Plan};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::body::{self, Large};
use crate::caller::Caller;
use crate::calls::call::{self, header_value};
use crate::calls::conditional;
use crate::calls::content::{self, Content, Incoming};
use crate::calls::requests;
use crate::failure::{Failure, Result};
use crate::path;

pub(crate) async fn write(caller: Caller, request: Request<Body>) -> Result<Response> {
    path::query(request.uri().query(), []).map(|[]| ())?;
    let token = call::transaction(&caller, request.uri().path())?;
    caller.need(Right::Write)?;
    if conditional::of_headers(request.headers())?.is_some() {
        return Err(Failure::invalid(
            "a result cannot have a condition: send the condition with an operation of the transaction",
        ));
    }
    let result = async {
        let large = match Incoming::start(&caller, request, "a result").await?.content {
            Content::Whole(whole) => Large::of(whole, &caller),
            Content::Large(large) => large,
        };
        let Stored { blob, size, .. } = store(&caller, token.attempt, Arriving::new(large)).await?;
        let plan = Plan::of(Op::Result(LargeResult { blob, size }));
        caller.run(token.attempt, plan, None, &Asked::Within).await?;
        Ok(())
    };
    result.await.map_err(|failure: Failure| failure.of(&token))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn read(caller: Caller, request: Request<Body>) -> Result<Response> {
    let record = requests::find(&caller, request.uri(), "/v1/results/").await?;
    let mut response = match (&record.result, record.large_result) {
        (Some(bytes), _) => {
            let share = caller.share(bytes.len())?;
            caller.charge(bytes.len());
            body::large(bytes.clone(), share)
        }
        (None, Some(LargeResult { blob, size })) => {
            // The parts are kept with the record, not with a version of a key. If they are gone,
            // the result is no longer kept.
            let gone = |failure: Failure| match failure.problem.code {
                Code::SnapshotGone => Failure::from(Refusal::ResultGone),
                _ => failure,
            };
            let of = Key::parse("result").expect("a key has a byte");
            content::stream(&caller, &of, &large::Content::of_blob(blob, size), 0..size, None)
                .await
                .map_err(gone)?
        }
        (None, None) => return Err(Failure::new(Code::Absent, "the request committed without a result")),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::VERSION, header_value(&record.txn.to_string()));
    Ok(response)
}
