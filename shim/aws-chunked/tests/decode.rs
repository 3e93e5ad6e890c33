//! Goal: a framed body gives its content and its trailer, however it is cut into pieces, and
//! everything else is an error. Method: bodies as SDKs send them, and generated ones.

use aft_aws_chunked::{Decoder, Framing, FramingError};
use bytes::Bytes;
use proptest::prelude::*;

/// The content and the trailer of a body, or the reason why it is not valid.
type Decoded = Result<(Vec<u8>, Vec<(String, String)>), FramingError>;

/// Decodes a body that arrives in pieces of at most `piece_bytes`.
fn decode(framing: Framing, announced: Option<u64>, body: &[u8], piece_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new(framing, announced);
    let mut content = Vec::new();
    for piece in body.chunks(piece_bytes) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(decoded) = decoder.decode(&mut piece)? {
            assert!(!decoded.is_empty(), "pieces of content are not empty");
            content.extend_from_slice(&decoded);
        }
        assert!(piece.is_empty(), "a piece is taken as a whole");
    }
    Ok((content, decoder.finish()?))
}

const UNSIGNED: Framing = Framing { signed: false, trailer: true };
const SIGNED: Framing = Framing { signed: true, trailer: false };

fn signature() -> String {
    format!("chunk-signature={}", "ad80c730a21e5b8d04586a2213dd63b9".repeat(2))
}

#[test]
fn bodies_of_sdks_are_decoded_in_pieces_of_any_size() {
    let signature = signature();
    // A stream of the JavaScript SDK v3; a signed one; a signed one with a trailer as the Rust SDK
    // writes it; and with the blank line of the API reference.
    let javascript = "6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    let signed = format!("b;{signature}\r\nhello world\r\n0;{signature}\r\n\r\n");
    let rust = format!(
        "B;{signature}\r\nhello world\r\n0;{signature}\r\nX-Amz-Checksum-CRC32:DUoRhQ==\r\nx-amz-trailer-signature:aa\r\n\r\n"
    );
    let reference = format!(
        "b;{signature}\r\nhello world\r\n0;{signature}\r\nx-amz-checksum-crc32:DUoRhQ==\n\r\nx-amz-trailer-signature:aa\r\n\r\n"
    );
    let both = Framing { signed: true, trailer: true };
    let crc = ("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned());
    let trailer_signature = ("x-amz-trailer-signature".to_owned(), "aa".to_owned());
    for (framing, body, fields) in [
        (UNSIGNED, javascript.to_owned(), vec![crc.clone()]),
        (SIGNED, signed, vec![]),
        (both, rust, vec![crc.clone(), trailer_signature.clone()]),
        (both, reference, vec![crc, trailer_signature]),
    ] {
        for piece_bytes in 1..=body.len() {
            let decoded = decode(framing, Some(11), body.as_bytes(), piece_bytes);
            assert_eq!(decoded, Ok((b"hello world".to_vec(), fields.clone())), "{body:?} by {piece_bytes}");
        }
    }
    assert_eq!(decode(UNSIGNED, Some(0), b"0\r\n\r\n", 1), Ok((vec![], vec![])), "an empty object");
}

#[test]
fn malformed_bodies_are_rejected() {
    let signed_chunk = format!("3;{}\r\nabc\r\n0;{}\r\n\r\n", signature(), signature());
    for (framing, announced, body, why) in [
        (UNSIGNED, None, "", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nab", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc\r\n", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc\r\n0", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc\r\n0\r\n", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc\r\n0\r\na:b\r\n", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:x", FramingError::CutOff),
        (UNSIGNED, None, "3\r\nabcd\r\n0\r\n\r\n", FramingError::ChunkEnd),
        (UNSIGNED, None, "4\r\nabc\r\n0\r\n\r\n", FramingError::ChunkEnd),
        (UNSIGNED, None, "x\r\nabc\r\n0\r\n\r\n", FramingError::ChunkLine),
        (UNSIGNED, None, "+3\r\nabc\r\n0\r\n\r\n", FramingError::ChunkLine),
        (UNSIGNED, None, "\r\n", FramingError::ChunkLine),
        (UNSIGNED, None, "11111111111111111\r\n", FramingError::ChunkLine),
        (UNSIGNED, Some(4), "3\r\nabc\r\n0\r\n\r\n", FramingError::Length),
        (UNSIGNED, Some(2), "3\r\nabc\r\n0\r\n\r\n", FramingError::Length),
        (UNSIGNED, None, "ffffffffffffffff\r\nabc", FramingError::CutOff),
        (UNSIGNED, None, &signed_chunk, FramingError::ChunkLine),
        (SIGNED, None, "3\r\nabc\r\n0\r\n\r\n", FramingError::ChunkLine),
        (SIGNED, None, "3;other=1\r\nabc\r\n0\r\n\r\n", FramingError::ChunkLine),
        (UNSIGNED, None, "0\r\nno field\r\n\r\n", FramingError::Trailer),
        (UNSIGNED, None, "0\r\na b:c\r\n\r\n", FramingError::Trailer),
    ] {
        for piece_bytes in [1, 2, 1_000] {
            let decoded = decode(framing, announced, body.as_bytes(), piece_bytes);
            assert_eq!(decoded, Err(why), "{body:?} by {piece_bytes}");
        }
    }
    // What does not end is not held.
    let long_line = "0".repeat(1_000);
    assert_eq!(decode(UNSIGNED, None, long_line.as_bytes(), 7), Err(FramingError::ChunkLine));
    let long_trailer = format!("0\r\n{}", "a:b\r\n".repeat(10_000));
    assert_eq!(decode(UNSIGNED, None, long_trailer.as_bytes(), 7), Err(FramingError::TrailerTooLarge));
    let trailer = format!("0;{0}\r\na:b\r\n\r\n", signature());
    assert_eq!(decode(SIGNED, None, trailer.as_bytes(), 7), Err(FramingError::Trailer));
}

#[test]
fn headers_name_their_framing() {
    for (value, framing) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Ok(Some(SIGNED))),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Ok(Some(Framing { signed: true, trailer: true }))),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Ok(Some(UNSIGNED))),
        ("STREAMING-AWS4-HMAC-SHA256-EVENTS", Err(FramingError::Unknown)),
        ("UNSIGNED-PAYLOAD", Ok(None)),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Ok(None)),
        ("", Ok(None)),
    ] {
        assert_eq!(Framing::of_header(value), framing, "{value}");
    }
}

/// Writes `chunks` in a framing.
fn encode(framing: Framing, chunks: &[Vec<u8>], fields: &[(String, String)]) -> Vec<u8> {
    let extension = if framing.signed { format!(";{}", signature()) } else { String::new() };
    let mut body = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0{extension}\r\n").as_bytes());
    for (name, value) in fields {
        body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

proptest! {
    #[test]
    fn what_is_framed_comes_back(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        fields in prop::collection::vec(("[a-z-]{1,12}", "[!-~]{0,20}"), 0..4),
        signed in any::<bool>(),
        piece_bytes in 1_usize..60,
    ) {
        let framing = Framing { signed, trailer: true };
        let content = chunks.concat();
        let body = encode(framing, &chunks, &fields);
        let decoded = decode(framing, Some(content.len() as u64), &body, piece_bytes);
        prop_assert_eq!(decoded, Ok((content, fields)));
    }

    /// A body without its end is never complete: every framing ends with a chunk of 0 bytes.
    #[test]
    fn a_cut_body_is_not_complete(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..6),
        signed in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let framing = Framing { signed, trailer: true };
        let body = encode(framing, &chunks, &[("a".into(), "b".into())]);
        let cut = cut.index(body.len());
        let length = chunks.concat().len() as u64;
        prop_assert!(decode(framing, Some(length), &body[..cut], 1_000).is_err());
    }

    #[test]
    fn any_bytes_are_an_error_or_shorter_than_they_were(
        body in prop::collection::vec(any::<u8>(), 0..200),
        likely in prop::collection::vec(prop::sample::select(&b"0123af;\r\n:-chunk-signature="[..]), 0..200),
        signed in any::<bool>(),
        trailer in any::<bool>(),
        piece_bytes in 1_usize..60,
    ) {
        for body in [body, likely] {
            let whole = decode(Framing { signed, trailer }, None, &body, 1_000);
            let cut = decode(Framing { signed, trailer }, None, &body, piece_bytes);
            if let Ok((content, _)) = &whole {
                prop_assert!(content.len() < body.len());
            }
            prop_assert_eq!(whole, cut);
        }
    }
}
