//! The protocol's service: which keys verify signatures, which hosts name buckets, and who makes a
//! call.

use std::sync::Arc;

use aft_access::Presented;
use aft_desk::Desk;
use axum::http::{Request, Response};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3Result, s3_error};

use crate::failure::Failure;
use crate::protocol::endpoint::Endpoint;
use crate::settings::Settings;

/// The protocol's service.
#[derive(Debug, Clone)]
pub(crate) struct Service(S3Service);

impl Service {
    /// Makes the service in front of `desk`.
    pub(crate) fn new(desk: &Arc<Desk>, net: &aft_net::Settings, settings: &Settings) -> Service {
        let mut builder =
            S3ServiceBuilder::new(Endpoint { net: net.clone(), region: settings.region.clone() });
        let mut config = S3Config::default();
        config.xml_max_body_size = settings.xml_bytes_max;
        // The file of a form is held in memory before it is stored.
        config.post_object_max_file_size = settings.form_file_bytes_max as u64;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        builder.set_host(Hosts { domains: settings.domains.clone() });
        if !desk.is_open() {
            builder.set_auth(Keys { desk: desk.clone() });
            builder.set_access(Callers { desk: desk.clone() });
        }
        Service(builder.build())
    }

    /// Carries out a call.
    pub(crate) async fn call(&self, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
        let request = request.map(Body::http_body_unsync);
        match self.0.call(request).await {
            Ok(response) => response.map(axum::body::Body::new),
            // An answer that cannot be written as XML or as headers.
            Err(why) => {
                let why = format!("the answer cannot be encoded: {why:?}");
                answer_of(Failure::new("InternalError", 500, why))
            }
        }
    }
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
        if let Some(credentials) = call.credentials() {
            let id = credentials.access_key.clone();
            let caller = self.desk.caller(|| Ok(Presented::AccessKey(&id))).map_err(Failure::from)?;
            call.extensions_mut().insert(caller);
            return Ok(());
        }
        // A call with a bearer token has its caller already.
        match call.extensions_mut().get::<aft_desk::Caller>() {
            Some(_) => Ok(()),
            None => Err(Failure::from(aft_access::Denied::from(aft_access::Unauthorized::Missing)).into()),
        }
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
    let is_local = name == "localhost" || name.ends_with(".localhost");
    if is_address || is_local || !name.contains('.') {
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
        ] {
            assert_eq!(bucket_in_host(host, &domains).map_err(|_| ()), bucket, "{host}");
        }
        assert!(bucket_in_host("photos.s3.example.com", &[]).is_err());
    }
}
