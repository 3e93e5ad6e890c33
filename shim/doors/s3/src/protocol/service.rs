//! The protocol's service: which keys verify signatures, which hosts name buckets, and who makes a
//! call.

use std::sync::Arc;

use aft_access::{Presented, Unauthorized};
use aft_desk::Desk;
use axum::http::{Extensions, HeaderMap, Method, Request, Response, Uri, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::failure::Failure;
use crate::prepare::Bounds;
use crate::protocol::endpoint::Endpoint;
use crate::settings::Settings;
use crate::{form, signed, unchecked};

/// The protocol's service: one for calls whose signature has to be checked, and one for all calls
/// after that.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    desk: Arc<Desk>,
    signed: Option<S3Service>,
    plain: Plain,
}

/// The service for calls that have their caller, and no signature.
#[derive(Debug, Clone)]
struct Plain {
    service: S3Service,
    bounds: Bounds,
}

impl Service {
    /// Makes the service in front of `desk`.
    pub(crate) fn new(desk: &Arc<Desk>, net: &aft_net::Settings, settings: &Settings) -> Service {
        let mut config = S3Config::default();
        config.xml_max_body_size = settings.xml_bytes_max;
        // The file of a form is held in memory before it is stored.
        config.post_object_max_file_size = settings.form_file_bytes_max as u64;
        let config = Arc::new(StaticConfigProvider::new(Arc::new(config)));
        let builder = || {
            let mut builder =
                S3ServiceBuilder::new(Endpoint { net: net.clone(), region: settings.region.clone() });
            builder.set_config(config.clone());
            builder.set_host(Hosts { domains: settings.domains.clone() });
            builder
        };
        let bounds = Bounds { xml_bytes_max: settings.xml_bytes_max, body_timeout: net.body_timeout };
        let plain = Plain { service: builder().build(), bounds };
        let signed = (!desk.is_open()).then(|| {
            let mut builder = builder();
            builder.set_auth(Keys { desk: desk.clone() });
            // Forms are carried out by this service itself.
            builder.set_access(Callers { desk: desk.clone() });
            builder.set_route(Checked { desk: desk.clone(), plain: plain.clone() });
            builder.build()
        });
        Service { desk: desk.clone(), signed, plain }
    }

    /// Carries out a call that has its caller, and no signature.
    pub(crate) async fn call(&self, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
        match self.prepare_form(request, true).await {
            Ok(request) => self.plain.call(request).await,
            Err(failure) => answer_of(failure),
        }
    }

    /// Checks the signature of a call, and carries it out.
    pub(crate) async fn call_signed(&self, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
        let service = self.signed.as_ref().expect("signatures are checked where there are credentials");
        if let Err(failure) = signed::check(&request, |key| self.desk.secret_of(key).is_some()) {
            return answer_of(failure);
        }
        match self.prepare_form(request, false).await {
            Ok(request) => run(service, request).await,
            Err(failure) => answer_of(failure),
        }
    }

    async fn prepare_form(
        &self,
        request: Request<axum::body::Body>,
        unchecked: bool,
    ) -> Result<Request<axum::body::Body>, Failure> {
        let server = self.desk.server();
        let share = move |bytes| Ok(server.share(bytes)?);
        form::prepare(request, unchecked, self.plain.bounds.body_timeout, share).await
    }
}

impl Plain {
    async fn call(&self, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
        match self.bounds.prepare(request).await {
            Ok(request) => run(&self.service, request).await,
            Err(failure) => answer_of(failure),
        }
    }
}

/// Runs a service.
async fn run(service: &S3Service, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    match service.call(request.map(Body::http_body_unsync)).await {
        Ok(response) => response.map(axum::body::Body::new),
        // An answer that cannot be written as XML or as headers.
        Err(why) => {
            let why = format!("the answer cannot be encoded: {why:?}");
            answer_of(Failure::new("InternalError", 500, why))
        }
    }
}

/// The way of a call from the check of its signature to the service without one. Between them its
/// head may change, which a signature would not allow.
struct Checked {
    desk: Arc<Desk>,
    plain: Plain,
}

#[async_trait::async_trait]
impl S3Route for Checked {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        // The fields of a form are parsed while its signature is checked.
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        let is_form = kind.is_some_and(|kind| kind.starts_with(b"multipart/form-data"));
        !(is_form && method == Method::POST)
    }

    async fn check_access(&self, call: &mut S3Request<Body>) -> S3Result<()> {
        let id = call.credentials.as_ref().map(|credentials| credentials.access_key.as_str());
        let caller = caller_of(&self.desk, id)?;
        call.extensions.insert(caller);
        Ok(())
    }

    async fn call(&self, call: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let mut request = Request::new(axum::body::Body::new(call.input));
        *request.method_mut() = call.method;
        *request.uri_mut() = call.uri;
        *request.headers_mut() = call.headers;
        *request.extensions_mut() = call.extensions;
        if let Some(trailer) = call.trailing_headers {
            request.extensions_mut().insert(trailer);
        }
        let response = self.plain.call(unchecked::checked(request)).await;
        let (head, body) = response.into_parts();
        let mut response = S3Response::with_headers(Body::http_body_unsync(body), head.headers);
        response.status = Some(head.status);
        response.extensions = head.extensions;
        Ok(response)
    }
}

/// Returns the caller with an access key whose signature was verified.
fn caller_of(desk: &Arc<Desk>, access_key: Option<&str>) -> Result<aft_desk::Caller, Failure> {
    let presented = || access_key.map(Presented::AccessKey).ok_or(Unauthorized::Missing);
    Ok(desk.caller(presented)?)
}

/// Returns the answer to a call that failed before it reached the service.
pub(crate) fn answer_of(failure: Failure) -> Response<axum::body::Body> {
    let answer = S3Error::from(failure).to_http_response().expect("an error is written as XML");
    answer.map(axum::body::Body::new)
}

/// The secrets of access keys.
struct Keys {
    desk: Arc<Desk>,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.desk.secret_of(access_key);
        let secret = secret
            .ok_or_else(|| s3_error!(InvalidAccessKeyId, "the access key is not one of this server's"))?;
        Ok(SecretKey::from(secret.expose()))
    }
}

/// The access check: finds the caller of a call whose signature was verified.
struct Callers {
    desk: Arc<Desk>,
}

#[async_trait::async_trait]
impl S3Access for Callers {
    async fn check(&self, call: &mut S3AccessContext<'_>) -> S3Result<()> {
        let id = call.credentials().map(|credentials| credentials.access_key.clone());
        let caller = caller_of(&self.desk, id.as_deref())?;
        call.extensions_mut().insert(caller);
        Ok(())
    }
}

/// The hosts that calls may name.
struct Hosts {
    domains: Vec<String>,
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        match bucket_in_host(host, &self.domains) {
            Ok(Some(bucket)) => Ok(VirtualHost::new(host).with_bucket(bucket)),
            Ok(None) => Ok(VirtualHost::new(host)),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Returns the bucket that a host names; `None` if the bucket is in the path.
fn bucket_in_host<'a>(host: &'a str, domains: &[String]) -> Result<Option<&'a str>, Failure> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    for domain in domains {
        if name.eq_ignore_ascii_case(domain) {
            return Ok(None);
        }
        let Some(at) = name.len().checked_sub(domain.len()) else { continue };
        if let (Some(front), Some(end)) = (name.get(..at), name.get(at..))
            && end.eq_ignore_ascii_case(domain)
            && let Some(bucket) = front.strip_suffix('.')
        {
            return Ok(Some(bucket));
        }
    }
    // An address, or a bare name of a machine, cannot contain a bucket. Any other name may, and to
    // read its path as a bucket would write to the wrong place.
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_address = address.parse::<std::net::IpAddr>().is_ok();
    if is_address || !name.contains('.') {
        return Ok(None);
    }
    let shown = aft_net::browser::excerpt(host);
    Err(Failure::invalid_request(format!(
        "the call names the host {shown:?}, which may contain a bucket: configure the domain with --s3-domain, \
         or use path-style addressing with an address or a bare host"
    )))
}

#[cfg(test)]
mod tests {
    use super::bucket_in_host;

    #[test]
    fn hosts_name_buckets_below_a_domain_only() {
        let domains = ["s3.example.com".to_owned(), "other.example".to_owned()];
        for (host, bucket) in [
            ("127.0.0.1:7401", Ok(None)),
            ("[::1]:7401", Ok(None)),
            ("localhost", Ok(None)),
            ("minio:9000", Ok(None)),
            ("s3.example.com", Ok(None)),
            ("S3.Example.com:7401", Ok(None)),
            ("photos.s3.example.com:7401", Ok(Some("photos"))),
            ("a.b.other.example.", Ok(Some("a.b"))),
            ("photoss3.example.com", Err(())),
            ("photos.s3.amazonaws.com", Err(())),
            ("photos.localhost", Err(())),
        ] {
            assert_eq!(bucket_in_host(host, &domains).map_err(|_| ()), bucket, "{host}");
        }
        assert!(bucket_in_host("photos.s3.example.com", &[]).is_err());
    }
}
