//! Bodies that processes and callers send.

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

/// The longest response that is buffered: 6 MiB, and 100 bytes of grace, as in Lambda.
pub(crate) const BUFFERED_MAX: u64 = (6 << 20) + 100;
/// The longest response that is streamed, as in Lambda.
pub(crate) const STREAMED_MAX: u64 = 200 << 20;
/// The bytes of a body that are read and dropped after its limit, so that a client which sends
/// first and reads later gets its answer.
const DROPPED_MAX: u64 = 64 << 20;

/// A body that was read.
#[derive(Debug)]
pub(crate) enum Read {
    Whole {
        bytes: Bytes,
        /// The trailers of a chunked body.
        trailers: HeaderMap,
    },
    /// It has more bytes than allowed: as many as these, or more.
    TooLarge(u64),
    /// It broke off.
    Truncated,
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read(mut body: Body, max: u64) -> Read {
    let (mut kept, mut trailers) = (BytesMut::new(), HeaderMap::new());
    let mut count: u64 = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Truncated };
        match frame.into_data() {
            Ok(data) => {
                count += data.len() as u64;
                if count <= max {
                    kept.extend_from_slice(&data);
                } else {
                    kept = BytesMut::new();
                }
                if count > max + DROPPED_MAX {
                    return Read::TooLarge(count);
                }
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    if count > max {
        return Read::TooLarge(count);
    }
    assert_eq!(kept.len() as u64, count, "every byte is kept");
    Read::Whole { bytes: kept.freeze(), trailers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded() {
        let whole = read(Body::from("12345"), 5).await;
        assert!(matches!(whole, Read::Whole { bytes, .. } if bytes == "12345"));
        assert!(matches!(read(Body::from("123456"), 5).await, Read::TooLarge(6)));
    }
}
