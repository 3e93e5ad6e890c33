//! A minimal client of etcd: unary calls of gRPC over a connection of HTTP/2. The messages are
//! written by hand, as far as two puts and two gets need them. The field numbers are those of
//! etcd's `api/etcdserverpb/rpc.proto`; fields that are left out have their defaults.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{CONTENT_TYPE, TE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

/// The time that an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// The length of the prefix of a message: a byte that says whether it is compressed, and four bytes
/// with its length.
const PREFIX_LEN: usize = 5;

/// A read of the keys from `key` up to `range_end`, or of one key if `range_end` is empty. It is
/// linearizable, which is etcd's default.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Op {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestOp {
    #[prost(oneof = "Op", tags = "1, 2")]
    pub(crate) op: Option<Op>,
}

/// A transaction without conditions: etcd then runs the operations in `success`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    pub(crate) success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    /// The store's revision, which grows by one with every transaction that writes.
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub(crate) range: Option<RangeResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(crate) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) responses: Vec<ResponseOp>,
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// Returns an error if nothing listens there, or if the server does not speak HTTP/2.
    pub(crate) async fn open(host: &str) -> Result<Connection, String> {
        let stream = TcpStream::connect(host).await.map_err(|why| format!("cannot reach {host}: {why}"))?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|why| why.to_string())?;
        // If the connection ends, the calls report it.
        tokio::spawn(connection);
        Ok(Connection { sender, host: host.to_owned() })
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// Returns an error if etcd rejected it, if the connection broke, or if no answer came in time.
    pub(crate) async fn txn(&mut self, ops: Vec<Op>) -> Result<TxnResponse, String> {
        let success = ops.into_iter().map(|op| RequestOp { op: Some(op) }).collect();
        let answer: TxnResponse = self.call("/etcdserverpb.KV/Txn", &TxnRequest { success }).await?;
        if answer.succeeded { Ok(answer) } else { Err("not succeeded".to_owned()) }
    }

    /// Reads keys.
    ///
    /// # Errors
    /// Returns an error if etcd rejected it, if the connection broke, or if no answer came in time.
    pub(crate) async fn range(&mut self, range: RangeRequest) -> Result<RangeResponse, String> {
        self.call("/etcdserverpb.KV/Range", &range).await
    }

    async fn call<A: Message + Default>(&mut self, path: &str, message: &impl Message) -> Result<A, String> {
        let request = Request::builder()
            .method("POST")
            .uri(format!("http://{}{path}", self.host))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(framed(message)))
            .map_err(|why| why.to_string())?;
        let answer = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?))
        };
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, answer).await;
        let (head, body) = answer
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|why| format!("connection broke: {why}"))?;
        // The status is in the trailers, but a call that fails at once has it in the head.
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = status.or_else(|| head.headers.get("grpc-status"));
        match status.map(|status| status.as_bytes()) {
            Some(b"0") => unframed(body.to_bytes()),
            other => Err(format!("gRPC status {:?}", other.map(String::from_utf8_lossy))),
        }
    }
}

fn framed(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + len);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(len).expect("a message of a few hundred bytes"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

fn unframed<A: Message + Default>(mut bytes: Bytes) -> Result<A, String> {
    if bytes.len() < PREFIX_LEN || bytes[0] != 0 {
        return Err("an answer that is not an uncompressed message".to_owned());
    }
    let prefix = bytes.split_to(PREFIX_LEN);
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if bytes.len() != len as usize {
        return Err("an answer whose length is not the one in its prefix".to_owned());
    }
    A::decode(bytes).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_read_back() {
        let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v") };
        let request = TxnRequest { success: vec![RequestOp { op: Some(Op::Put(put)) }] };
        let bytes = framed(&request);
        // The field numbers that etcd reads: success = 2, request_put = 2, key = 1, value = 2.
        assert_eq!(&bytes[..], b"\0\0\0\0\x0a\x12\x08\x12\x06\x0a\x01k\x12\x01v");
        assert_eq!(unframed::<TxnRequest>(bytes.clone()), Ok(request));
        for broken in [bytes.slice(..4), bytes.slice(..9), Bytes::from_static(b"\x01\0\0\0\0")] {
            assert!(unframed::<TxnRequest>(broken).is_err());
        }
    }
}
