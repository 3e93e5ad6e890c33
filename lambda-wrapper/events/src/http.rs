//! An HTTP request inside an event, in the four forms in which they come.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Source;
use crate::json::{self, text};

/// An HTTP request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    event: &'a Value,
    /// The method.
    pub(crate) method: &'a str,
    /// The path, with the values of its parameters.
    pub(crate) path: &'a str,
}

impl<'a> Request<'a> {
    /// Returns the request of an event of `source`; `None` if that is not HTTP.
    pub(crate) fn of(source: Source, event: &'a Value) -> Option<Request<'a>> {
        let (method, path) = match source {
            Source::RestApi | Source::LoadBalancer => (text(event, &["httpMethod"]), text(event, &["path"])),
            Source::HttpApi | Source::FunctionUrl => {
                (text(event, &["requestContext", "http", "method"]), text(event, &["rawPath"]))
            }
            _ => return None,
        };
        let known = "recognition has seen the method and the path";
        Some(Request { event, method: method.expect(known), path: path.expect(known) })
    }

    /// Returns the values of all headers whose name `is` the one wanted, each once.
    pub(crate) fn headers(&self, is: impl Fn(&str) -> bool) -> Vec<&'a str> {
        let mut found: Vec<&str> = Vec::new();
        for member in ["headers", "multiValueHeaders"] {
            let headers = self.event.get(member).and_then(Value::as_object).into_iter().flatten();
            for (_, value) in headers.filter(|(name, _)| is(name)) {
                let one = std::slice::from_ref(value);
                let values = value.as_array().map_or(one, Vec::as_slice);
                found.extend(values.iter().filter_map(Value::as_str));
            }
        }
        let mut seen = BTreeSet::new();
        found.retain(|value| seen.insert(*value));
        found
    }

    /// Returns the query in one form for each way to write it: names in order, values as they came.
    pub(crate) fn query(&self) -> String {
        if let Some(raw) = text(self.event, &["rawQueryString"]) {
            return raw.to_owned();
        }
        let of = |member: &str| self.event.get(member).and_then(Value::as_object);
        // The member with single values keeps only the last of several.
        let named = of("multiValueQueryStringParameters").or_else(|| of("queryStringParameters"));
        let mut query = String::new();
        let named: BTreeMap<_, _> = named.into_iter().flatten().collect();
        for (name, value) in named {
            let one = std::slice::from_ref(value);
            for value in value.as_array().map_or(one, Vec::as_slice) {
                let value = value.as_str().unwrap_or_default();
                query.push_str(&format!("{}:{name}={}:{value}&", name.len(), value.len()));
            }
        }
        query
    }

    /// Returns the body: its JSON in canonical form, or else its bytes. A body that is absent is an
    /// empty one.
    pub(crate) fn body(&self) -> Vec<u8> {
        let written = text(self.event, &["body"]).unwrap_or_default();
        let is_encoded = self.event.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false);
        // A body that claims to be base64 and is not counts as it is written.
        let bytes = match STANDARD.decode(written) {
            Ok(decoded) if is_encoded => Cow::Owned(decoded),
            _ => Cow::Borrowed(written.as_bytes()),
        };
        match json::Document::parse(&bytes) {
            Some(document) => json::canonical(document.raw).into_bytes(),
            None => bytes.into_owned(),
        }
    }
}
