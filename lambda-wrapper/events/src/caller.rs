//! The caller of an HTTP request, so that two callers with the same key never meet.
//!
//! Facts that the platform has verified count, in this order: the subject of a token, the principal
//! of a Lambda authorizer, the identity of Cognito, the ARN of an IAM caller, the client
//! certificate, the API key. If there is an authorizer of which none of these is known, all that it
//! said counts: callers are kept apart, at the price that a fact which changes between retries
//! makes another request of them. Without an authorizer the function may check the header
//! `Authorization` by itself, so a hash of it counts. A token is never read without its signature:
//! with a forged one a stranger could ask for the answer of another caller.

use serde_json::Value;
use serde_json::value::to_raw_value;

use crate::Source;
use crate::hash::Parts;
use crate::http::Request;
use crate::json::{canonical, filled};
use crate::rules::{Rules, names};

/// A caller, and a sentence on how it was found.
#[derive(Debug)]
pub(crate) struct Caller {
    /// A text that names it within the function: its kind, and its name.
    pub(crate) name: String,
    /// A sentence for people.
    pub(crate) why: String,
}

/// Facts of authorizers that differ between two requests of one caller.
const VOLATILE: &[&str] = &["integrationLatency", "iat", "exp", "nbf", "auth_time", "jti"];

/// Returns the caller of a request.
pub(crate) fn caller(rules: &Rules, source: Source, event: &Value, request: &Request<'_>) -> Caller {
    if let Some(path) = &rules.caller {
        return match path.key(Some(event)) {
            Ok(parts) => Caller {
                name: format!("set:{}", joined(&parts)),
                why: format!("The caller is what {} ({}) selects.", names::CALLER, path.as_str()),
            },
            // Not the next best: callers under different methods might share a name.
            Err(why) => Caller {
                name: "unset".to_owned(),
                why: format!("The caller is unknown: {} ({}) {why}.", names::CALLER, path.as_str()),
            },
        };
    }
    let context = event.get("requestContext").unwrap_or(&Value::Null);
    let found = match source {
        Source::RestApi => rest(context),
        Source::HttpApi | Source::FunctionUrl => http(context),
        _ => None,
    };
    found.unwrap_or_else(|| by_header(source, request))
}

fn rest(context: &Value) -> Option<Caller> {
    let authorizer = context.get("authorizer").filter(|authorizer| has_members(authorizer));
    let claims = authorizer.and_then(|authorizer| authorizer.get("claims"));
    let principal = authorizer.and_then(|authorizer| filled(authorizer, &["principalId"]));
    subject(claims)
        .or_else(|| Some(named("principal", &[principal?], "authorizer.principalId")))
        .or_else(|| {
            let id = filled(context, &["identity", "cognitoIdentityId"])?;
            Some(named("cognito", &[id], "identity.cognitoIdentityId"))
        })
        .or_else(|| Some(named("iam", &[filled(context, &["identity", "userArn"])?], "identity.userArn")))
        .or_else(|| certificate(context, &["identity", "clientCert"]))
        .or_else(|| authorizer.map(all_of))
        .or_else(|| {
            Some(named("api-key", &[filled(context, &["identity", "apiKeyId"])?], "identity.apiKeyId"))
        })
}

fn http(context: &Value) -> Option<Caller> {
    let authorizer = context.get("authorizer").filter(|authorizer| has_members(authorizer));
    let claims = authorizer.and_then(|authorizer| authorizer.get("jwt")?.get("claims"));
    let lambda = authorizer.and_then(|authorizer| authorizer.get("lambda"));
    subject(claims)
        .or_else(|| {
            let id = filled(authorizer?, &["iam", "cognitoIdentity", "identityId"])?;
            Some(named("cognito", &[id], "authorizer.iam.cognitoIdentity.identityId"))
        })
        .or_else(|| {
            Some(named("iam", &[filled(authorizer?, &["iam", "userArn"])?], "authorizer.iam.userArn"))
        })
        .or_else(|| {
            let principal = filled(lambda?, &["principalId"])?;
            Some(named("principal", &[principal], "authorizer.lambda.principalId"))
        })
        .or_else(|| subject(lambda))
        .or_else(|| certificate(context, &["authentication", "clientCert"]))
        .or_else(|| authorizer.map(all_of))
}

/// Returns the subject of verified claims, with their issuer: two issuers may use one name.
fn subject(claims: Option<&Value>) -> Option<Caller> {
    let subject = filled(claims?, &["sub"])?;
    let issuer = filled(claims?, &["iss"]).unwrap_or_default();
    Some(named("sub", &[issuer, subject], "the authorizer's claims iss and sub"))
}

fn certificate(context: &Value, path: &[&str; 2]) -> Option<Caller> {
    let certificate = context.get(path[0])?.get(path[1])?;
    let issuer = filled(certificate, &["issuerDN"])?;
    let subject = filled(certificate, &["subjectDN"])?;
    Some(named("certificate", &[issuer, subject], "the client certificate's issuer and subject"))
}

fn all_of(authorizer: &Value) -> Caller {
    let mut kept = authorizer.clone();
    drop_volatile(&mut kept);
    let mut parts = Parts::of("caller/authorizer");
    let kept = to_raw_value(&kept).expect("a tree is always JSON");
    parts.add(canonical(&kept).as_bytes());
    Caller {
        name: format!("authorizer:{}", parts.hex()),
        why: format!(
            "The caller is everything that the authorizer said, since it names none in sub or principalId: a fact \
             that changes between retries makes them other requests. {} can select what stays.",
            names::CALLER
        ),
    }
}

fn drop_volatile(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|name, _| !VOLATILE.contains(&name.as_str()));
        members.values_mut().for_each(drop_volatile);
    }
}

fn by_header(source: Source, request: &Request<'_>) -> Caller {
    if source == Source::LoadBalancer {
        // A load balancer that authenticates users sets this header itself.
        let users = request.headers(|name| name.eq_ignore_ascii_case("x-amzn-oidc-identity"));
        if let [user] = users.as_slice()
            && !user.is_empty()
        {
            return named("oidc", &[user], "the header x-amzn-oidc-identity");
        }
    }
    let tokens = request.headers(|name| name.eq_ignore_ascii_case("authorization"));
    if tokens.is_empty() {
        return Caller {
            name: "anonymous".to_owned(),
            why: format!(
                "The caller is unknown, so all such callers share their keys. If the function tells callers apart \
                 by itself, say how with {}.",
                names::CALLER
            ),
        };
    }
    let mut parts = Parts::of("caller/authorization");
    tokens.iter().for_each(|token| parts.add(token.as_bytes()));
    Caller {
        name: format!("authorization:{}", parts.hex()),
        why: format!(
            "The caller is a hash of the header Authorization: a retry with another token is another request, \
             unless {} selects what stays.",
            names::CALLER
        ),
    }
}

fn has_members(value: &Value) -> bool {
    value.as_object().is_some_and(|members| !members.is_empty())
}

fn named(kind: &str, parts: &[&str], from: &str) -> Caller {
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    Caller { name: format!("{kind}:{}", joined(&parts)), why: format!("The caller is {from}.") }
}

/// Joins parts so that no two lists give one text.
fn joined(parts: &[String]) -> String {
    parts.iter().map(|part| part.replace('%', "%25").replace('|', "%7C")).collect::<Vec<_>>().join("|")
}
