//! The manifest of an export: a header, and a line for each object, in JSON. It is written last, so
//! a place with a whole manifest holds a whole snapshot.
//!
//! While an export runs, a partial manifest stands in its place: it lists what is there, and the
//! names that the export may write, so that no file of somebody else is taken for one of ours.

use std::collections::BTreeMap;

use aft_format::{Attributes, Checksum, ChecksumAlgorithm, Pair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::names::is_safe;

/// The number of the format. A program rejects a manifest with a greater one.
const FORMAT: u32 = 1;

/// The first line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The number of the format.
    pub(crate) aft_export: u32,
    /// The store that was exported.
    pub(crate) store: String,
    /// The bucket that was exported.
    pub(crate) bucket: String,
    /// The time at which the snapshot was opened, in UTC: it has everything that was acknowledged
    /// before then.
    pub(crate) snapshot: String,
    /// The number of objects.
    pub(crate) objects: u64,
    /// The number of their bytes.
    pub(crate) bytes: u64,
    /// The program that wrote it.
    pub(crate) program: String,
}

/// The line of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) key: String,
    /// The name of the file or object, if it is not the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) size: u64,
    /// The entity tag, without quotes.
    pub(crate) etag: String,
    /// The version: its commit time, and the attempt that committed it.
    pub(crate) version: String,
    /// The time of the last change of the bytes, in milliseconds since the epoch.
    pub(crate) modified_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) website_redirect: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<Sum>,
    /// The sizes of the parts of which the entity tag is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<u64>,
    /// The entity tag of the object that was written, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored_etag: Option<String>,
    /// True in a partial manifest if the object may be written, or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pending: bool,
}

/// A checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The algorithm, as S3 names it.
    pub(crate) algorithm: String,
    /// The value in base64.
    pub(crate) value: String,
    /// The number of parts of whose checksums it is the checksum; 0 if it is that of the bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) parts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The algorithms, as S3 names them.
const ALGORITHMS: [(ChecksumAlgorithm, &str); 5] = [
    (ChecksumAlgorithm::Crc32, "CRC32"),
    (ChecksumAlgorithm::Crc32c, "CRC32C"),
    (ChecksumAlgorithm::Crc64Nvme, "CRC64NVME"),
    (ChecksumAlgorithm::Sha1, "SHA1"),
    (ChecksumAlgorithm::Sha256, "SHA256"),
];

/// Returns the checksum that a text is, as S3 writes it: base64, with the number of parts at its
/// end if it is that of their checksums. `None` if it is none.
pub(crate) fn checksum_of(algorithm: ChecksumAlgorithm, text: &str) -> Option<Checksum> {
    let (value, parts) = match text.split_once('-') {
        Some((value, parts)) => (value, parts.parse().ok()?),
        None => (text, 0),
    };
    let value = STANDARD.decode(value).ok().filter(|value| !value.is_empty())?;
    Some(Checksum { algorithm: algorithm.into(), value: value.into(), parts })
}

impl Sum {
    fn of(checksum: &Checksum) -> Option<Sum> {
        let (_, name) = ALGORITHMS.iter().find(|(known, _)| i32::from(*known) == checksum.algorithm)?;
        let value = STANDARD.encode(&checksum.value);
        Some(Sum { algorithm: (*name).to_owned(), value, parts: checksum.parts })
    }

    fn checksum(&self) -> Option<Checksum> {
        let (algorithm, _) = ALGORITHMS.iter().find(|(_, name)| *name == self.algorithm)?;
        let checksum = checksum_of(*algorithm, &self.value)?;
        Some(Checksum { parts: self.parts, ..checksum })
    }
}

impl Header {
    /// Makes the header of an export.
    pub(crate) fn new(store: &str, bucket: &str, snapshot: String, lines: &[Line]) -> Header {
        Header {
            aft_export: FORMAT,
            store: store.to_owned(),
            bucket: bucket.to_owned(),
            snapshot,
            objects: lines.len() as u64,
            bytes: lines.iter().map(|line| line.size).sum(),
            program: concat!("aft ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Line {
    /// Returns the name of the file or object.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.key)
    }

    /// Takes over the attributes of an object.
    pub(crate) fn set(&mut self, about: &Attributes) {
        let pairs = |pairs: &[Pair]| -> BTreeMap<String, String> {
            pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
        };
        self.content_type.clone_from(&about.content_type);
        self.cache_control.clone_from(&about.cache_control);
        self.content_disposition.clone_from(&about.content_disposition);
        self.content_encoding.clone_from(&about.content_encoding);
        self.content_language.clone_from(&about.content_language);
        self.expires.clone_from(&about.expires);
        self.website_redirect.clone_from(&about.website_redirect);
        self.metadata = pairs(&about.metadata);
        self.tags = pairs(&about.tags);
        self.checksum = about.checksum.as_ref().and_then(Sum::of);
    }

    /// Returns the attributes of the object.
    pub(crate) fn attributes(&self) -> Attributes {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect()
        };
        Attributes {
            content_type: self.content_type.clone(),
            cache_control: self.cache_control.clone(),
            content_disposition: self.content_disposition.clone(),
            content_encoding: self.content_encoding.clone(),
            content_language: self.content_language.clone(),
            expires: self.expires.clone(),
            website_redirect: self.website_redirect.clone(),
            metadata: pairs(&self.metadata),
            tags: pairs(&self.tags),
            checksum: self.checksum.as_ref().and_then(Sum::checksum),
            ..Attributes::default()
        }
    }

    /// Returns the line as it is written, with its end.
    pub(crate) fn to_text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a line has text keys");
        text.push('\n');
        text
    }
}

/// Returns the text of a manifest.
pub(crate) fn to_text(header: &Header, lines: &[Line]) -> String {
    let mut text = serde_json::to_string(header).expect("a header has text keys");
    text.push('\n');
    lines.iter().for_each(|line| text.push_str(&line.to_text()));
    text
}

/// Returns true if a text begins as a manifest does. Other objects may have its name.
pub(crate) fn is_manifest(text: &str) -> bool {
    text.lines().next().is_some_and(|first| serde_json::from_str::<Header>(first).is_ok())
}

/// Reads a manifest. Of several lines with one name the last one counts. A last line without its
/// end was cut off, and is left out, if the manifest is a `partial` one.
///
/// # Errors
/// Returns an error if it is no manifest, was cut off, or has another format.
pub(crate) fn read(text: &str, partial: bool) -> Result<(Header, Vec<Line>), Failed> {
    let mut whole: Vec<&str> = text.split_inclusive('\n').collect();
    if partial {
        whole.retain(|line| line.ends_with('\n'));
    }
    let Some((first, rest)) = whole.split_first() else { return Err("the manifest is empty".into()) };
    let header: Header = serde_json::from_str(first)
        .map_err(|why| format!("line 1 is not the header of a manifest of aft export: {why}"))?;
    if header.aft_export > FORMAT {
        return Err(format!(
            "the manifest has format {}, and this program reads format {FORMAT}: use the program that wrote it ({})",
            header.aft_export, header.program
        ));
    }
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for (at, text) in rest.iter().enumerate() {
        let number = at + 2;
        let line: Line = serde_json::from_str(text)
            .map_err(|why| format!("line {number} of the manifest cannot be read: {why}"))?;
        lines.insert(line.name().to_owned(), line);
    }
    let lines: Vec<Line> = lines.into_values().collect();
    if !partial && lines.len() as u64 != header.objects {
        return Err(format!(
            "the manifest has {} objects, and its header says {}: it was cut off or changed",
            lines.len(),
            header.objects
        ));
    }
    Ok((header, lines))
}

/// Checks that every name of a directory's manifest stays below the directory.
///
/// # Errors
/// Returns an error that names the first one that does not.
pub(crate) fn check_names(lines: &[Line]) -> Result<(), Failed> {
    match lines.iter().find(|line| !is_safe(line.name())) {
        Some(line) => Err(format!("the manifest names the file {:?}, which is not below it", line.name())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Line {
        let mut line = Line { key: name.to_owned(), size: 3, etag: "e".into(), ..Line::default() };
        line.set(&Attributes {
            content_type: Some("text/plain".into()),
            expires: Some("never".into()),
            metadata: vec![Pair { name: "m".into(), value: "ä\n".into() }],
            tags: vec![Pair { name: "t".into(), value: "v".into() }],
            checksum: checksum_of(ChecksumAlgorithm::Crc32, "DUoRhQ==-2"),
            ..Attributes::default()
        });
        line
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let mut lines = vec![line("a"), Line { name: Some("b%".into()), parts: vec![1, 2], ..line("b\n") }];
        let header = Header::new("local:x", "photos", "2026-01-01T00:00:00.000Z".into(), &lines);
        let text = to_text(&header, &lines);
        assert_eq!(text.lines().count(), 3);
        assert_eq!(read(&text, false), Ok((header, lines.clone())));
        let about = lines[0].attributes();
        assert_eq!(about.checksum.as_ref().map(|sum| (sum.parts, sum.value.len())), Some((2, 4)));
        let mut again = Line { key: "a".into(), size: 3, etag: "e".into(), ..Line::default() };
        again.set(&about);
        assert_eq!(again, lines[0]);
        // A manifest that was cut off is found; of a partial one all whole lines count, the last
        // one of each name.
        let cut = &text[..text.len() - 5];
        assert!(read(cut, false).is_err());
        assert!(read(&text[..text.find("\"b").unwrap()], false).is_err());
        lines.truncate(1);
        assert_eq!(read(cut, true).map(|(_, lines)| lines), Ok(lines.clone()));
        let longer = format!("{text}{}", Line { size: 9, ..line("a") }.to_text());
        assert_eq!(read(&longer, true).map(|(_, lines)| lines[0].size), Ok(9));
    }

    #[test]
    fn another_text_is_no_manifest() {
        let newer = r#"{"aft_export":2,"store":"","bucket":"","snapshot":"","objects":0,"bytes":0,"program":"aft 9"}"#;
        for (text, part) in [("", "empty"), ("hello\n", "line 1"), (newer, "aft 9")] {
            let why = read(text, false).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(is_manifest(newer) && !is_manifest("") && !is_manifest("{}\n"));
        assert!(check_names(&[line("a/b")]).is_ok());
        let why = check_names(&[line("a"), line("../etc/passwd")]).unwrap_err();
        assert!(why.contains("../etc/passwd"), "{why}");
    }
}
