//! Tags of objects. To change them is to write a version with the same bytes.

use aft_core::message::Op;
use aft_core::record::Value;
use aft_format::{Attributes, Pair};

use crate::call::Call;
use crate::conditions::{Conditions, Tag};
use crate::failure::{Failure, Result};
use crate::object::inline;
use crate::operations::now_ms;
use crate::operations::write::{Target, Written};

/// The most tags of an object, and the longest names and values of them in characters, as S3 has
/// them.
const TAGS_MAX: usize = 10;
const NAME_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Checks tags, and puts them in order.
pub(crate) fn checked(mut tags: Vec<Pair>) -> Result<Vec<Pair>> {
    let invalid = |why: &str| Err(Failure::new("InvalidTag", 400, why));
    if tags.len() > TAGS_MAX {
        return invalid("an object has at most 10 tags");
    }
    for Pair { name, value } in &tags {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || value.chars().count() > VALUE_CHARS_MAX
        {
            return invalid("a tag has a name of 1 to 128 characters, and a value of at most 256");
        }
    }
    let is_allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c);
    if !tags.iter().all(|Pair { name, value }| name.chars().chain(value.chars()).all(is_allowed)) {
        return invalid("a tag consists of letters, digits, spaces and + - = . _ : / @");
    }
    tags.sort();
    if tags.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return invalid("an object has each tag once");
    }
    Ok(tags)
}

/// Parses the header `x-amz-tagging`: pairs as in a query.
pub(crate) fn of_header(text: &str) -> Result<Vec<Pair>> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| {
            Failure::invalid_argument(
                "the header x-amz-tagging is not made of pairs like name=value&name=value",
            )
        })
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok(Pair { name: decode(name)?, value: decode(value)? })
    });
    checked(pairs.collect::<Result<_>>()?)
}

impl Call {
    /// Replaces the tags of an object.
    pub(crate) async fn set_tags(&self, bucket: &str, key: &str, tags: Vec<Pair>) -> Result<()> {
        let object = self.find(bucket, key).await?;
        let modified_ms = Some(object.modified_ms(now_ms()));
        // Only the version that was found gets the tags: what came after it is not undone.
        let tag = Tag::Version(object.version);
        let conditions = match self.within.is_some() || !self.caller.node().is_checked(&object.key) {
            true => Conditions::default(),
            false => Conditions { if_match: Some(tag), ..Conditions::default() },
        };
        let target = Target { bucket: bucket.to_owned(), key: key.to_owned(), conditions };
        let about = |before: &Attributes| Attributes {
            tags: tags.clone(),
            modified_ms,
            source_etag: None,
            ..before.clone()
        };
        if object.about.upload.is_some() {
            // The same manifest under the same key keeps the parts where they are.
            let to = target.checked(self)?;
            let manifest = self.caller.node().read_value(&object.key, &object.value).await?;
            let value = Value {
                etag: object.value.etag.clone(),
                attributes: about(&object.about).to_bytes(),
                ..inline(manifest)
            };
            self.write(&target, &to, Written::default(), || vec![Op::Put(to.clone(), value.clone())]).await?;
            return Ok(());
        }
        self.copy((bucket, key, &Conditions::default()), &target, about, None).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_a_header_are_parsed() {
        let pair = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
        assert_eq!(of_header("b=2&a=1"), Ok(vec![pair("a", "1"), pair("b", "2")]));
        assert_eq!(of_header("a+b=%C3%A4%2F&c"), Ok(vec![pair("a b", "ä/"), pair("c", "")]));
        assert_eq!(of_header(""), Ok(vec![]));
        let many: String = (0..11).map(|n| format!("{n}=1&")).collect();
        for wrong in
            ["=1", "a=1&a=2", "%ff=1", "a=%26", "a=%F0%9F%98%80", &many, &format!("a={}", "x".repeat(257))]
        {
            assert!(of_header(wrong).is_err(), "{wrong}");
        }
    }
}
