//! The two encodings of requests and replies.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::operation::{OPS_LEN_MAX, too_many_ops};

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`; bytes are base64 text.
    #[default]
    Json,
    /// `application/x-protobuf`.
    Protobuf,
}

/// A body that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Malformed {
    /// The problem and its place, for people.
    pub detail: String,
    /// The offset of the byte at which the problem was noticed, from 0.
    pub position: usize,
}

impl Format {
    /// Returns the content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Protobuf => "application/x-protobuf",
        }
    }

    /// Returns the format of a content type; `None` for any other type. Parameters are ignored.
    pub fn of_content_type(text: &str) -> Option<Format> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        [Format::Json, Format::Protobuf]
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(format.content_type()))
            .or_else(|| essence.eq_ignore_ascii_case("application/protobuf").then_some(Format::Protobuf))
    }

    /// Encodes a message.
    pub fn encode<T: prost::Message + Serialize>(self, message: &T) -> Bytes {
        match self {
            Format::Protobuf => message.encode_to_vec().into(),
            Format::Json => serde_json::to_vec(message)
                .expect("messages have text keys and valid enumerations, and a vector takes any length")
                .into(),
        }
    }

    /// Decodes a reply. In protobuf, values are slices of `body`, not copies.
    ///
    /// # Errors
    /// Returns [`Malformed`], with the position, if `body` is not an encoded `T`. In JSON it also
    /// names the field whose value does not fit.
    pub fn decode<T: prost::Message + Default + DeserializeOwned>(
        self,
        body: &Bytes,
    ) -> Result<T, Malformed> {
        match self {
            Format::Json => serde_json::from_slice(body).map_err(|why| {
                let position = position_of(body, why.line(), why.column());
                let why = why.to_string();
                let field = field_of::<T>(body, &why).map(|field| format!("`{field}`: "));
                Malformed { detail: field.unwrap_or_default() + &why, position }
            }),
            Format::Protobuf => {
                let mut rest = body.clone();
                T::decode(&mut rest).map_err(|why| {
                    let position = body.len() - rest.len();
                    Malformed { detail: format!("{why}, at byte {position}"), position }
                })
            }
        }
    }

    /// Decodes a request. An empty body is a request with every field left out.
    ///
    /// # Errors
    /// Returns [`Malformed`], with the position, if `body` is not an encoded `T`, or if it has more
    /// than [`OPS_LEN_MAX`] operations, which are counted before they take memory.
    pub fn decode_request<T: RequestBody>(self, body: &Bytes) -> Result<T, Malformed> {
        if body.is_empty() {
            return Ok(T::default());
        }
        if self == Format::Json {
            check_object(body)?;
        }
        if self == Format::Protobuf
            && let Some(tag) = T::OPS_TAG
        {
            let (count, position) = count_fields(body, tag);
            if count > OPS_LEN_MAX {
                return Err(Malformed { detail: too_many_ops(count), position });
            }
        }
        self.decode(body)
    }
}

/// A message that a client sends.
pub trait RequestBody: prost::Message + Default + DeserializeOwned {
    /// The protobuf number of its field of operations; `None` if it has none.
    const OPS_TAG: Option<u32>;
}

impl RequestBody for crate::Begin {
    const OPS_TAG: Option<u32> = Some(10);
}

impl RequestBody for crate::Batch {
    const OPS_TAG: Option<u32> = Some(1);
}

impl RequestBody for crate::Commit {
    const OPS_TAG: Option<u32> = None;
}

/// Rejects every JSON text but an object. serde would also read a struct from a list of its fields,
/// so an empty list would be an empty call.
fn check_object(text: &[u8]) -> Result<(), Malformed> {
    let Some(position) = text.iter().position(|byte| !b" \t\r\n".contains(byte)) else { return Ok(()) };
    let kind = match text[position] {
        b'{' => return Ok(()),
        b'[' => "a list",
        b'"' => "a string",
        b'-' | b'0'..=b'9' => "a number",
        b't' | b'f' | b'n' => "true, false or null",
        _ => "text that is not JSON",
    };
    let detail =
        format!("expected an object, {{\"name\": value, ...}}, but at byte {position} there is {kind}");
    Err(Malformed { detail, position })
}

/// Counts the occurrences of a field in a protobuf message; returns the count and the offset of the
/// last one. It stops at anything malformed, which the decoder will report.
fn count_fields(message: &[u8], tag: u32) -> (usize, usize) {
    let (mut count, mut position) = (0, 0);
    let mut rest = message;
    loop {
        let start = message.len() - rest.len();
        let Some(key) = varint(&mut rest) else { return (count, position) };
        // The number of bytes to skip depends on the field's wire type; groups (3 and 4) are not
        // supported.
        let skip = match key & 7 {
            0 => varint(&mut rest).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut rest),
            5 => Some(4),
            _ => None,
        };
        let Some(skip) = skip.and_then(|skip| usize::try_from(skip).ok()) else { return (count, position) };
        let Some(after) = rest.get(skip..) else { return (count, position) };
        rest = after;
        if key >> 3 == u64::from(tag) {
            (count, position) = (count + 1, start);
        }
    }
}

/// Takes a varint from the start of `rest`; `None` if it is not complete, or too long.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    const BYTES_MAX: usize = 10;
    let mut value = 0;
    for at in 0..BYTES_MAX.min(rest.len()) {
        value |= u64::from(rest[at] & 0x7f).checked_shl(7 * at as u32).unwrap_or_default();
        if rest[at] < 0x80 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}

/// Returns the path of the field at which decoding failed with `why`, like `ops[0].value`; `None`
/// for the body as a whole. It decodes again, because noting the path would slow down every body,
/// and few fail.
fn field_of<T: DeserializeOwned>(body: &[u8], why: &str) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    let mut segments: Vec<_> = error.path().iter().collect();
    // The message has the name of an unknown field, and the list of the known ones.
    if let Some(Segment::Map { key }) = segments.last()
        && why.starts_with(&format!("unknown field `{key}`"))
    {
        segments.pop();
    }
    let mut path = String::new();
    for segment in segments {
        let separator = if path.is_empty() { "" } else { "." };
        path += &match segment {
            Segment::Seq { index } => format!("[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => format!("{separator}{key}"),
            Segment::Unknown => break,
        };
    }
    (!path.is_empty()).then_some(path)
}

/// Converts a line and column of `serde_json` to a byte offset. Lines count from 1; columns are
/// bytes, and 0 is the place before a line's first byte.
fn position_of(body: &[u8], line: usize, column: usize) -> usize {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(nth) => {
            let newline = body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(nth);
            newline.map_or(0, |(at, _)| at + 1)
        }
    };
    (line_start + column.saturating_sub(1)).min(body.len())
}
