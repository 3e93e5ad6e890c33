//! The service's own time, as the `Date` of its answers carried it.
//!
//! ```text
//!   sent ──► request ──► the server writes Date: …:07 ──► head of the answer ──► received
//!   └─────────────── at some moment in between its clock read [07.000 s, 08.000 s) ─────┘
//! ```
//!
//! One pair of hooks for both SDKs. They run around each attempt at a request, after its signing
//! and before the body of its answer is read, and read the time from every answer that has a head:
//! an error (412, 503) carries it as well as a success. They never make a request fail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use aft_store::{TIMES_KEPT_MAX, TimeHeard};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::date_time::Format;

/// The resolution of a `Date` header: HTTP writes whole seconds, and truncates the rest.
const SPAN_MS: u64 = 1_000;

/// The times that answers carried, until [`Times::take`] takes them. Clones share them. A clone
/// that is given to a client as its interceptor collects the times of that client's answers.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// The times heard, oldest first; at most [`TIMES_KEPT_MAX`].
    heard: Arc<Mutex<VecDeque<TimeHeard>>>,
}

/// The moment at which the attempt in flight was sent.
#[derive(Debug, Clone, Copy)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Sent>;
}

impl Times {
    /// Takes the times heard since the last call, oldest first.
    pub fn take(&self) -> Vec<TimeHeard> {
        std::mem::take(&mut *self.heard()).into()
    }

    /// Adds the time in an answer's `Date` header. An answer without one, or with one that is not a
    /// date, adds nothing.
    fn hear(&self, sent: Instant, received: Instant, answer: &HttpResponse) {
        assert!(sent <= received, "an answer comes after its request");
        let Some(at_ms) = answer.headers().get("date").and_then(parse) else { return };
        let mut heard = self.heard();
        if heard.len() == TIMES_KEPT_MAX {
            heard.pop_front();
        }
        heard.push_back(TimeHeard { sent, received, at_ms, span_ms: SPAN_MS });
        assert!(heard.len() <= TIMES_KEPT_MAX, "{} times kept", heard.len());
    }

    fn heard(&self) -> MutexGuard<'_, VecDeque<TimeHeard>> {
        self.heard.lock().expect("no holder panics")
    }
}

#[dyn_dispatch_hint]
impl Intercept for Times {
    fn name(&self) -> &'static str {
        "Times"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let received = Instant::now();
        let Sent(sent) = *bag.load::<Sent>().expect("the hook before transmission ran");
        self.hear(sent, received, context.response());
        Ok(())
    }
}

/// Parses an HTTP date into milliseconds since the epoch; `None` if it is not one, or lies before
/// the epoch.
fn parse(date: &str) -> Option<u64> {
    let date = DateTime::from_str(date.trim(), Format::HttpDate).ok()?;
    u64::try_from(date.secs()).ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answer(status: u16, date: Option<&str>) -> HttpResponse {
        let mut answer = HttpResponse::new(status.try_into().expect("a status"), SdkBody::empty());
        if let Some(date) = date {
            answer.headers_mut().insert("Date", date.to_owned());
        }
        answer
    }

    #[test]
    fn http_dates_are_parsed() {
        let check = |date: &str, expect: Option<u64>| assert_eq!(parse(date), expect, "{date:?}");
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Sat, 28 Nov 2026 18:24:07 GMT", Some(1_795_890_247_000));
        check(" Sat, 28 Nov 2026 18:24:07 GMT ", Some(1_795_890_247_000));
        for none in ["", "yesterday", "Sat, 28 Nov 2026", "1795890247", "2026-11-28T18:24:07Z"] {
            check(none, None);
        }
        check("Wed, 31 Dec 1969 23:59:59 GMT", None);
    }

    #[test]
    fn every_answer_with_a_date_adds_one_time() {
        let times = Times::default();
        let now = Instant::now();
        for status in [200, 404, 412, 503] {
            times.hear(now, now, &answer(status, Some("Thu, 01 Jan 1970 00:00:07 GMT")));
            times.hear(now, now, &answer(status, Some("soon")));
            times.hear(now, now, &answer(status, None));
        }
        assert_eq!(times.take(), [TimeHeard { sent: now, received: now, at_ms: 7_000, span_ms: 1_000 }; 4]);
    }

    #[test]
    fn times_are_kept_up_to_a_bound_and_taken_once() {
        let times = Times::default();
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..TIMES_KEPT_MAX as u64 + 6 {
            let date = format!("Thu, 01 Jan 1970 00:{:02}:{:02} GMT", second / 60, second % 60);
            times.hear(at(second), at(second + 1), &answer(200, Some(&date)));
        }
        // The six oldest were dropped.
        let heard = times.take();
        let seconds: Vec<u64> = heard.iter().map(|heard| heard.at_ms / 1_000).collect();
        assert_eq!(seconds, (6..TIMES_KEPT_MAX as u64 + 6).collect::<Vec<_>>());
        let first = TimeHeard { sent: at(6), received: at(7), at_ms: 6_000, span_ms: 1_000 };
        assert_eq!(heard[0], first);
        assert_eq!(times.take(), []);
    }
}
