//! Zips as Lambda takes them: the same bytes for the same content, on every machine and day.
//!
//! Sizes and checksums are in front of the data, where every reader looks for them, which crates
//! that write to a stream leave to a note behind it. Few entries, all in memory, no extensions.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// The content of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A program, with mode 0755.
    Program(&'a [u8]),
    /// A symbolic link to a path from its own folder.
    Link(&'a str),
}

/// The version of the format that has folders and deflate.
const VERSION: u16 = 20;
/// The system whose modes are in the attributes.
const UNIX: u16 = 3 << 8;
/// The first day that the format knows, 1 January 1980.
const DAY: u16 = 1 << 5 | 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const PROGRAM_MODE: u32 = 0o100_755;
const LINK_MODE: u32 = 0o120_777;

/// The fields that an entry has in both of its headers.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    method: u16,
    checksum: u32,
    data: Vec<u8>,
    plain_len: u32,
}

/// Returns a zip of `contents`, which have their names from the zip's root.
pub(crate) fn zip(contents: &BTreeMap<&str, Content<'_>>) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in contents {
        let entry = Entry::new(name, *content);
        let offset = size(bytes.len());
        bytes.extend(0x0403_4b50_u32.to_le_bytes());
        entry.shared(&mut bytes);
        bytes.extend(name.as_bytes());
        bytes.extend(&entry.data);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend((UNIX | VERSION).to_le_bytes());
        entry.shared(&mut directory);
        // No comment, the first disk, not known to be text.
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = u16::try_from(contents.len()).expect("a handful of entries").to_le_bytes();
    let (offset, len) = (size(bytes.len()), size(directory.len()));
    bytes.append(&mut directory);
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend(len.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

impl<'a> Entry<'a> {
    fn new(name: &'a str, content: Content<'_>) -> Entry<'a> {
        // Other names need a flag, other paths are rejected by readers.
        assert!(name.is_ascii() && !name.starts_with('/') && !name.contains(".."), "{name:?}");
        let (plain, mode, method) = match content {
            Content::Program(bytes) => (bytes, PROGRAM_MODE, DEFLATED),
            Content::Link(target) => (target.as_bytes(), LINK_MODE, STORED),
        };
        let mut checksum = Crc::new();
        checksum.update(plain);
        let data = match method {
            DEFLATED => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                let deflated = encoder.write_all(plain).and_then(|()| encoder.finish());
                deflated.expect("memory takes every byte")
            }
            _ => plain.to_vec(),
        };
        Entry { name, mode, method, checksum: checksum.sum(), data, plain_len: size(plain.len()) }
    }

    /// Adds the fields that both headers have, up to the length of extra fields.
    fn shared(&self, to: &mut Vec<u8>) {
        let name_len = u16::try_from(self.name.len()).expect("names are short");
        // No flags, and midnight.
        for field in [VERSION, 0, self.method, 0, DAY] {
            to.extend(field.to_le_bytes());
        }
        for field in [self.checksum, size(self.data.len()), self.plain_len] {
            to.extend(field.to_le_bytes());
        }
        to.extend(name_len.to_le_bytes());
        to.extend([0; 2]);
    }
}

fn size(len: usize) -> u32 {
    u32::try_from(len).expect("Lambda takes at most 250 MB")
}
