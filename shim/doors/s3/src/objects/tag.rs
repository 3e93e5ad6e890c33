//! Entity tags as S3 makes them of bytes.

use md5::{Digest as _, Md5};

use crate::checksum::md5_of;
use crate::object::hex;

/// The entity tag of bytes that pass: their MD5, or the MD5 of the MD5s of their parts with the
/// number of parts.
#[derive(Debug, Clone)]
pub struct TagSum {
    /// The sizes of the parts; empty for bytes that are put as a whole.
    parts: Vec<u64>,
    current: Md5,
    /// The bytes of the current part so far.
    bytes: u64,
    /// The MD5s of the parts that have ended.
    ended: Vec<u8>,
}

impl TagSum {
    /// Starts the tag of bytes that were uploaded in parts of these sizes; without any, as a whole.
    pub fn new(parts: &[u64]) -> TagSum {
        TagSum { parts: parts.to_vec(), current: Md5::new(), bytes: 0, ended: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while let Some(size) = self.parts.get(self.ended.len() / 16) {
            let left = usize::try_from(size - self.bytes).unwrap_or(usize::MAX);
            if bytes.len() < left {
                break;
            }
            let (of_part, rest) = bytes.split_at(left);
            self.current.update(of_part);
            self.ended.extend_from_slice(&std::mem::take(&mut self.current).finalize());
            (self.bytes, bytes) = (0, rest);
        }
        self.bytes += bytes.len() as u64;
        self.current.update(bytes);
    }

    /// Ends the bytes, and returns their tag, without quotes; `None` if they are not as long as the
    /// parts together.
    pub fn finish(mut self) -> Option<String> {
        // Parts without bytes end by themselves.
        self.update(&[]);
        if self.parts.is_empty() {
            return Some(hex(&self.current.finalize()));
        }
        let is_whole = self.bytes == 0 && self.ended.len() == 16 * self.parts.len();
        is_whole.then(|| TagSum::of_parts(&self.ended, self.parts.len()))
    }

    /// Returns the tag of parts with these MD5s, one after the other.
    pub(crate) fn of_parts(md5s: &[u8], count: usize) -> String {
        format!("{}-{count}", hex(&md5_of(md5s)))
    }
}

/// Returns the MD5 that an entity tag without quotes is; `None` if it has another form.
pub fn md5_in(etag: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    if etag.len() != 32 || !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in md5.iter_mut().zip(etag.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(md5)
}

/// Returns the number of parts that an entity tag of an upload in parts names; `None` if it has
/// another form.
pub fn parts_in(etag: &str) -> Option<u32> {
    let (md5, parts) = etag.split_once('-')?;
    md5_in(md5)?;
    parts.parse().ok().filter(|parts| (1..=10_000).contains(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[u64], pieces: &[&[u8]]) -> Option<String> {
        let mut sum = TagSum::new(parts);
        pieces.iter().for_each(|piece| sum.update(piece));
        sum.finish()
    }

    #[test]
    fn tags_are_those_of_s3() {
        assert_eq!(of(&[], &[]).as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(of(&[], &[b"hello ", b"world"]).as_deref(), Some("5eb63bbbe01eeed093cb22bb8f5acdc3"));
        let md5s: Vec<u8> = [&b"hello"[..], b" world"].iter().flat_map(|part| md5_of(part)).collect();
        let tag = format!("{}-2", hex(&md5_of(&md5s)));
        // The pieces need not be the parts.
        for pieces in [&[&b"hello world"[..]][..], &[b"hello", b" world"], &[b"hel", b"lo wor", b"ld"]] {
            assert_eq!(of(&[5, 6], pieces), Some(tag.clone()), "{pieces:?}");
        }
        for wrong in [&[5][..], &[5, 5], &[5, 7], &[6, 5, 1]] {
            assert_eq!(of(wrong, &[b"hello world"]), None, "{wrong:?}");
        }
        let empty = format!("{}-1", hex(&md5_of(&md5_of(b""))));
        assert_eq!(of(&[0], &[]), Some(empty));
    }

    #[test]
    fn tags_are_parsed() {
        let md5 = "5eb63bbbe01eeed093cb22bb8f5acdc3";
        assert_eq!(md5_in(md5).map(|md5| hex(&md5)).as_deref(), Some(md5));
        assert_eq!(parts_in(&format!("{md5}-12")), Some(12));
        for other in ["", "abc", "5eb63bbbe01eeed093cb22bb8f5acdcg", &format!("{md5}0")] {
            assert_eq!((md5_in(other), parts_in(other)), (None, None), "{other}");
        }
        for other in [format!("{md5}-"), format!("{md5}-0"), format!("{md5}-x"), format!("{md5}-10001")] {
            assert_eq!((md5_in(&other), parts_in(&other)), (None, None), "{other}");
        }
    }
}
