//! The S3 protocol as the crate `s3s` carries it: signatures, XML, and the parsing of calls. Only
//! this module names that crate, so that it can be replaced.
//!
//! * `service` – the service with its parts: keys, hosts, the access check.
//! * `endpoint` – its operations, each a translation of a call to [`crate::operations`] and back.
//! * `multipart` – those of uploads in parts.
//! * `convert` – values of both sides.

mod convert;
mod endpoint;
mod multipart;
mod service;

pub(crate) use convert::failure_of_body;
pub(crate) use endpoint::trailer;
pub(crate) use service::{Service, answer_of};
