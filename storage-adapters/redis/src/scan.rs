//! Names across groups: each page is one script, which walks the index of groups and each group's
//! index of items.
//!
//! A page has at most [`PAGE_MAX`] names and visits no more groups than that, so that it blocks the
//! server for about two milliseconds. Every group in the index has an item, unless another program
//! removed it; a page with only such groups is empty and names the last one. If a group's index of
//! items has another type, the group is reported as damaged, and the page continues behind it.

use std::time::Instant;

use aft_store::{Damage, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use redis::Value;

use crate::failure::not_redis;
use crate::layout;
use crate::link::{Link, Run};
use crate::scripts::{SCAN_ALL, SCAN_FULL, SCAN_TIRED, Script};
use crate::store::{PAGE_MAX, bound};

/// Returns a page of up to `limit` names of groups that start with `prefix`, after the position
/// `after`.
pub(crate) async fn scan(
    link: &Link,
    space: Space,
    prefix: &[u8],
    after: Option<&Position>,
    limit: usize,
) -> Result<ScanPage> {
    assert!(limit > 0, "a page holds at least one name");
    let limit = limit.min(PAGE_MAX);
    let asked = link.asked("scan", &format!("{}/{}", space.as_str(), prefix.escape_ascii()));
    let (mut after, mut damaged) = (after.cloned(), Damage::default());
    loop {
        let run = request(link, space, prefix, after.as_ref(), limit);
        let deadline = Instant::now() + run.timeout();
        let rest = link.run(&asked, &run, deadline).await?.rest;
        let page = read(rest).filter(|page| page.is_sound(prefix, after.as_ref(), limit));
        let page = page.ok_or_else(|| not_redis(&asked, "a malformed page of names"))?;
        link.meter().received(page.names.iter().map(|name| name.group.len() + name.item.len()).sum());
        // A damaged index must not hide the groups behind it: report it and continue.
        for (group, why) in page.damaged {
            let at = link.layout().items(space, &group);
            damaged.add(|| {
                format!(
                    "{}: a key of another type is at {}, where this store keeps an index: {why}",
                    link.url(),
                    at.escape_ascii()
                )
            });
        }
        match page.ends {
            Ends::All => return Ok(ScanPage { names: page.names, more: false, damaged }),
            Ends::Full => return Ok(ScanPage { names: page.names, more: true, damaged }),
            Ends::Tired(_) if !page.names.is_empty() => {
                return Ok(ScanPage { names: page.names, more: true, damaged });
            }
            // A page that is not the last must have a name: continue with the next script.
            Ends::Tired(last) => after = Some(Position { group: last, item: None }),
        }
    }
}

/// Returns the request for one page.
fn request(link: &Link, space: Space, prefix: &[u8], after: Option<&Position>, limit: usize) -> Run {
    let (from, within, items_from) = match after {
        None => (bound(b'[', prefix), None, Vec::new()),
        // Groups before the prefix have no requested names.
        Some(Position { group, .. }) if group < prefix => (bound(b'[', prefix), None, Vec::new()),
        Some(Position { group, item: Some(item) }) if group.starts_with(prefix) => {
            (bound(b'(', group), Some(group), bound(b'(', item))
        }
        Some(Position { group, .. }) => (bound(b'(', group), None, Vec::new()),
    };
    let to = layout::end_of(prefix).map_or_else(|| b"+".to_vec(), |end| bound(b'(', &end));
    let arguments = vec![
        link.layout().items_start(space),
        from.into(),
        to.into(),
        within.cloned().unwrap_or_default(),
        items_from.into(),
        limit.to_string().into(),
    ];
    Run { script: Script::Scan, keys: vec![link.layout().groups(space)], arguments, bytes: 0 }
}

/// A page as the script returns it.
struct Page {
    names: Vec<Scanned>,
    /// The groups whose items cannot be read, each with the server's reason.
    damaged: Vec<(Bytes, String)>,
    ends: Ends,
}

/// The reason why a page has no more names.
enum Ends {
    /// There are no more.
    All,
    /// The page has as many as it may have.
    Full,
    /// Too many groups had no items; this is the last group visited.
    Tired(Bytes),
}

/// Parses a page; `None` if the answer is malformed.
fn read(answer: Vec<Value>) -> Option<Page> {
    let mut answer = answer.into_iter();
    let (Value::Int(ends), last) = (answer.next()?, text(answer.next()?)?) else { return None };
    let ends = match ends {
        SCAN_ALL => Ends::All,
        SCAN_FULL => Ends::Full,
        SCAN_TIRED => Ends::Tired(last),
        _ => return None,
    };
    let (mut names, mut damaged) = (Vec::new(), Vec::new());
    while let Some(group) = answer.next() {
        let group = text(group)?;
        match answer.next()? {
            Value::Array(items) => {
                for item in items {
                    names.push(Scanned {
                        group: group.clone(),
                        item: text(item)?,
                        body: None,
                        written_ms: None,
                    });
                }
            }
            why => damaged.push((group, String::from_utf8_lossy(&text(why)?).into_owned())),
        }
    }
    Some(Page { names, damaged, ends })
}

fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

impl Page {
    /// Returns true if the page is in order, holds only requested names, and makes progress.
    fn is_sound(&self, prefix: &[u8], after: Option<&Position>, limit: usize) -> bool {
        let place = |name: &Scanned| (name.group.clone(), name.item.clone());
        let behind = |name: &Scanned| after.is_none_or(|after| after.is_before(&name.group, &name.item));
        let goes_on = match &self.ends {
            Ends::All => true,
            Ends::Full => !self.names.is_empty(),
            Ends::Tired(last) => after.is_none_or(|after| *last > after.group),
        };
        self.names.len() <= limit
            && self.names.is_sorted_by(|a, b| place(a) < place(b))
            && self.names.iter().all(|name| name.group.starts_with(prefix))
            && self.names.first().is_none_or(behind)
            && goes_on
    }
}
