//! An invocation, as the Runtime API hands it out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aft_lambda_events as events;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
pub(super) const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const TENANT_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-tenant-id");

/// The longest time of a function, which counts where Lambda gives no deadline.
const TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// An invocation.
#[derive(Debug)]
pub struct Invocation {
    /// The headers that came with the event.
    pub headers: HeaderMap,
    /// The event.
    pub event: Bytes,
}

impl Invocation {
    /// Puts together the head and the body of an answer to a call for the next event. The content
    /// type is always there: one runtime client crashes without.
    pub fn new(mut headers: HeaderMap, event: Bytes) -> Invocation {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        Invocation { headers, event }
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns Lambda's ID of the invocation, by which its response is posted.
    pub fn request_id(&self) -> &str {
        self.text(&REQUEST_ID).unwrap_or_default()
    }

    /// Returns the nonce that newer versions of Lambda want back with the response.
    pub fn invocation_id(&self) -> Option<&HeaderValue> {
        self.headers.get(INVOCATION_ID)
    }

    /// Returns the trace ID.
    pub fn trace_id(&self) -> Option<&str> {
        self.text(&TRACE_ID)
    }

    /// Returns the rest of the invocation's time; zero if there is none.
    pub fn time_left(&self, now: SystemTime) -> Duration {
        let deadline = self.text(&DEADLINE_MS).and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        deadline.map_or(TIME_MAX, |deadline| deadline.saturating_sub(now).min(TIME_MAX))
    }

    /// Returns an invocation for one record of the event: the same, but for its event and for the
    /// nonce, by which the responses to two records are not mistaken for each other.
    pub fn of_record(&self, event: Bytes) -> Invocation {
        let mut headers = self.headers.clone();
        if let Some(nonce) = headers.get_mut(INVOCATION_ID) {
            let fresh = HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()));
            *nonce = fresh.expect("digits are a header's value");
        }
        Invocation { headers, event }
    }

    /// Identifies the request that the invocation belongs to.
    ///
    /// # Errors
    /// Returns the reason why the rules reject the event.
    pub fn identify(&self, rules: &events::Rules) -> Result<events::Identity, events::Rejected> {
        events::identify(rules, &self.parts())
    }

    /// Splits the event into its records; `None` if they do not run one by one.
    pub fn split(&self, rules: &events::Rules) -> Option<events::Batch> {
        events::Batch::split(rules, &self.parts())
    }

    fn parts(&self) -> events::Invocation<'_> {
        events::Invocation {
            event: &self.event,
            aws_request_id: self.request_id(),
            function_arn: self.text(&FUNCTION_ARN).unwrap_or_default(),
            tenant_id: self.text(&TENANT_ID),
            client_context: self.text(&CLIENT_CONTEXT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_bounds_the_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let left = |deadline: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(DEADLINE_MS, HeaderValue::from_static(deadline));
            Invocation::new(headers, Bytes::new()).time_left(now)
        };
        assert_eq!(left("1003000"), Duration::from_secs(3));
        assert_eq!(left("999999"), Duration::ZERO, "it has passed");
        assert_eq!(left("99999999999"), TIME_MAX);
        assert_eq!(left("soon"), TIME_MAX);
    }
}
