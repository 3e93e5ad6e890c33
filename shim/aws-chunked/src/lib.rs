//! A decoder for `aws-chunked`, the framing in which AWS SDKs send the bodies of streams: chunks
//! with their sizes, signed or not, and checksums as a trailer.
//!
//! ```text
//!   5;chunk-signature=…␍␊        a chunk: its size in hexadecimal, and its signature if signed
//!   hello␍␊
//!   0;chunk-signature=…␍␊        the last one
//!   x-amz-checksum-crc32:…␍␊     trailer fields, if the framing has any
//!   x-amz-trailer-signature:…␍␊
//!   ␍␊
//! ```
//!
//! [`Framing`] is what a request's head says, and [`Decoder`] takes the body piece by piece. It
//! checks the form and the length; it does not verify signatures, and leaves checksums to the
//! caller. It performs no I/O. Source: the S3 API reference, "Authenticating Requests: Using the
//! Authorization Header", the parts on chunked uploads and on trailing headers.

use bytes::{Buf as _, Bytes};

/// The longest line before a chunk, in bytes: a size, and a signature of 64 digits. The rest is
/// room for extensions.
const CHUNK_LINE_BYTES_MAX: usize = 512;
/// The most bytes of a trailer: a few checksums and a signature take some hundred.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// The extension of a chunk that is signed.
const SIGNATURE: &[u8] = b"chunk-signature=";

/// The framing of a body, as the header `x-amz-content-sha256` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Each chunk has a signature.
    pub signed: bool,
    /// Fields follow the last chunk.
    pub trailer: bool,
}

impl Framing {
    /// Returns the framing that a value of the header `x-amz-content-sha256` names; `None` if the
    /// body has none.
    ///
    /// # Errors
    /// Returns [`FramingError::Unknown`] for a value of the streaming kind that this crate does not
    /// know: the body must not be taken for content then.
    pub fn of_header(value: &str) -> Result<Option<Framing>, FramingError> {
        let framing = |signed, trailer| Ok(Some(Framing { signed, trailer }));
        match value {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" => {
                framing(true, false)
            }
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => framing(true, true),
            "STREAMING-UNSIGNED-PAYLOAD" => framing(false, false),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => framing(false, true),
            _ if value.starts_with("STREAMING-") => Err(FramingError::Unknown),
            _ => Ok(None),
        }
    }
}

/// The reason why a body is not valid in its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The header names a framing that does not exist.
    #[error("x-amz-content-sha256 names a kind of streaming that is not known")]
    Unknown,
    /// The line before a chunk is not `size` or `size;chunk-signature=…`.
    #[error("the line before a chunk is not a size in hexadecimal, with a signature if chunks are signed")]
    ChunkLine,
    /// The bytes after a chunk's content are not a line end.
    #[error("a chunk is not followed by a line end, so it is longer or shorter than its size")]
    ChunkEnd,
    /// A trailer field is not `name:value`, or is in a framing without trailer.
    #[error("what follows the last chunk is not a list of fields, or its framing has none")]
    Trailer,
    /// The trailer is too large.
    #[error("the fields after the last chunk have more than {TRAILER_BYTES_MAX} bytes")]
    TrailerTooLarge,
    /// The body ends before its last chunk, or within a line.
    #[error("the body ends before its last chunk does")]
    CutOff,
    /// The content is longer or shorter than announced.
    #[error("the content has another length than x-amz-decoded-content-length says")]
    Length,
}

/// The place of a decoder in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Within the line before a chunk.
    Line,
    /// Within a chunk, with this many bytes to come.
    Content(u64),
    /// After a chunk's content, with this many bytes of the line end seen.
    End(u8),
    /// After the last chunk.
    Trailer,
    /// After a blank line that follows the last chunk: the body may end here.
    Complete,
}

/// A body that is being decoded.
#[derive(Debug, Clone)]
pub struct Decoder {
    framing: Framing,
    place: Place,
    /// The bytes of the line that is being read.
    line: Vec<u8>,
    /// The bytes of all lines of the trailer so far.
    trailer_bytes: usize,
    fields: Vec<(String, String)>,
    /// The length of the content, if it was announced.
    announced: Option<u64>,
    /// The bytes of the chunks that have begun.
    length: u64,
}

impl Decoder {
    /// Makes a decoder. `announced` is the length of the content in bytes, from the header
    /// `x-amz-decoded-content-length`.
    pub fn new(framing: Framing, announced: Option<u64>) -> Decoder {
        let (line, fields) = (Vec::new(), Vec::new());
        Decoder { framing, place: Place::Line, line, trailer_bytes: 0, fields, announced, length: 0 }
    }

    /// Takes bytes from the front of `body`, and returns the next piece of content. `None` if all
    /// of `body` was taken without one. Pieces are never empty, and share the memory of `body`.
    ///
    /// # Errors
    /// Returns a [`FramingError`] if the bytes are not valid. The decoder is of no use then.
    pub fn decode(&mut self, body: &mut Bytes) -> Result<Option<Bytes>, FramingError> {
        while !body.is_empty() {
            match self.place {
                Place::Line => {
                    if self.read_line(body, CHUNK_LINE_BYTES_MAX).ok_or(FramingError::ChunkLine)? {
                        self.begin_chunk()?;
                    }
                }
                Place::Content(left) => {
                    let len = usize::try_from(left).map_or(body.len(), |left| left.min(body.len()));
                    let piece = body.split_to(len);
                    let left = left - len as u64;
                    self.place = if left == 0 { Place::End(0) } else { Place::Content(left) };
                    return Ok(Some(piece));
                }
                Place::End(seen) => {
                    if body.get_u8() != b"\r\n"[usize::from(seen)] {
                        return Err(FramingError::ChunkEnd);
                    }
                    self.place = if seen == 1 { Place::Line } else { Place::End(1) };
                }
                Place::Trailer | Place::Complete => {
                    let before = body.len();
                    let is_whole =
                        self.read_line(body, TRAILER_BYTES_MAX).ok_or(FramingError::TrailerTooLarge)?;
                    self.trailer_bytes += before - body.len();
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return Err(FramingError::TrailerTooLarge);
                    }
                    if is_whole {
                        self.end_field()?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Ends the body. Returns the fields of its trailer, with names in lower case.
    ///
    /// # Errors
    /// Returns [`FramingError::CutOff`] if the body is not complete, and [`FramingError::Length`]
    /// if the content is shorter than announced.
    pub fn finish(self) -> Result<Vec<(String, String)>, FramingError> {
        if self.place != Place::Complete || !self.line.is_empty() {
            return Err(FramingError::CutOff);
        }
        if self.announced.is_some_and(|announced| announced != self.length) {
            return Err(FramingError::Length);
        }
        Ok(self.fields)
    }

    /// Reads a line. Returns true if it is complete, in `self.line` without its end; `None` if it
    /// is longer than `bytes_max`.
    fn read_line(&mut self, body: &mut Bytes, bytes_max: usize) -> Option<bool> {
        let end = body.iter().position(|byte| *byte == b'\n');
        let taken = body.split_to(end.map_or(body.len(), |end| end + 1));
        if self.line.len() + taken.len() > bytes_max {
            return None;
        }
        self.line.extend_from_slice(&taken);
        if end.is_none() {
            return Some(false);
        }
        self.line.pop();
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Some(true)
    }

    /// Begins the chunk that the line describes.
    fn begin_chunk(&mut self) -> Result<(), FramingError> {
        let line = std::mem::take(&mut self.line);
        let (size, extension) = match line.iter().position(|byte| *byte == b';') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (&line[..], None),
        };
        let is_signed = extension.is_some_and(|extension| extension.starts_with(SIGNATURE));
        if is_signed != self.framing.signed || extension.is_some() != self.framing.signed {
            return Err(FramingError::ChunkLine);
        }
        let size = hexadecimal(size).ok_or(FramingError::ChunkLine)?;
        self.length = self.length.checked_add(size).ok_or(FramingError::Length)?;
        // Content beyond the announced length is rejected before it is handed on.
        if self.announced.is_some_and(|announced| self.length > announced) {
            return Err(FramingError::Length);
        }
        self.place = if size == 0 { Place::Trailer } else { Place::Content(size) };
        Ok(())
    }

    /// Takes the line as a field of the trailer, or as its end. Fields may follow a blank line: the
    /// API reference shows one before the signature of a trailer.
    fn end_field(&mut self) -> Result<(), FramingError> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.place = Place::Complete;
            return Ok(());
        }
        self.place = Place::Trailer;
        if !self.framing.trailer {
            return Err(FramingError::Trailer);
        }
        let text = std::str::from_utf8(&line).map_err(|_| FramingError::Trailer)?;
        let (name, value) = text.split_once(':').ok_or(FramingError::Trailer)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(FramingError::Trailer);
        }
        self.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }
}

/// Parses a size of 1 to 16 hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
