//! The upkeep of uploads (docs/protocol.md, section 17): deletes the parts of objects that are
//! gone, and of uploads whose end was interrupted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::Key;
use aft_core::message::{CommitArgs, Op, Read};
use aft_desk::{Desk, Plan};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::object::{Object, name};
use crate::operations::buckets::is_bucket_name;
use crate::operations::uploads::{PREFIX, Upload, UploadId, state_of};

/// The pause between two rounds, at most: the parts of objects that are gone cost money, and each
/// round lists the uploads that are there.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Looks after the uploads of a store, without an end. A round that fails is tried again later.
pub async fn upkeep(desk: Arc<Desk>) {
    describe_gauge!("aft_s3_uploads", "Uploads in parts of the S3 endpoint that are open");
    describe_counter!("aft_s3_uploads_removed_total", "Uploads whose parts were removed, by reason");
    // An attempt that began before the object was overwritten is over after the first of these.
    let wait = desk.node().over_after() * 2;
    let mut keeper = Keeper { call: Call::of_server(&desk), wait, gone_since: HashMap::new() };
    loop {
        tokio::time::sleep(desk.node().sweep_interval().min(PAUSE_MAX)).await;
        if let Err(failure) = keeper.round().await {
            warn!(
                why = failure.message,
                "a look at the uploads of the S3 endpoint failed; it is repeated later"
            );
        }
    }
}

/// The upkeep, with what it remembers from round to round.
struct Keeper {
    call: Call,
    /// The time for which an object must have been gone.
    wait: Duration,
    /// The uploads whose object is not the newest version of its key, with the instant at which
    /// that was first seen.
    gone_since: HashMap<String, Instant>,
}

impl Keeper {
    /// Looks at every upload once.
    async fn round(&mut self) -> Result<()> {
        let mut open = 0;
        let mut gone = HashSet::new();
        // The native API may have written other keys there, too.
        let buckets = self.below(PREFIX).await?.into_iter().filter(|name| is_bucket_name(name));
        for bucket in buckets {
            let uploads = self.call.uploads_of(&bucket).await?;
            for (id, upload) in &uploads {
                if upload.completed.is_none() {
                    open += 1;
                } else if self.is_object_of(id, upload).await? {
                    self.gone_since.remove(&id.id);
                } else {
                    // Kept over a round that fails, so that the wait ends some day.
                    let since = *self.gone_since.entry(id.id.clone()).or_insert_with(Instant::now);
                    match since.elapsed() >= self.wait {
                        true => self.end(id, upload).await?,
                        false => drop(gone.insert(id.id.clone())),
                    }
                }
            }
            self.remove_leftovers(&bucket).await?;
        }
        self.gone_since.retain(|id, _| gone.contains(id));
        gauge!("aft_s3_uploads").set(f64::from(open));
        Ok(())
    }

    /// Returns the names between a prefix and the next slash.
    async fn below(&self, prefix: &str) -> Result<Vec<String>> {
        let below = self.call.list_all(prefix, Some("/")).await?.prefixes;
        Ok(below.iter().map(|below| below[prefix.len()..].trim_end_matches('/').to_owned()).collect())
    }

    /// Returns the key of an upload's object.
    fn object_key(id: &UploadId, upload: &Upload) -> Key {
        Key::parse(&name(&id.bucket, &upload.key)).expect("the state was checked to name a key")
    }

    /// Returns true if the newest version of an upload's object is made of its parts.
    async fn is_object_of(&self, id: &UploadId, upload: &Upload) -> Result<bool> {
        let read = self.call.read(Keeper::object_key(id, upload)).await?;
        is_made_of(id, read)
    }

    /// Ends an upload whose object is gone, if both are still as they were.
    async fn end(&self, id: &UploadId, upload: &Upload) -> Result<()> {
        let object = Keeper::object_key(id, upload);
        let keys = vec![id.state(), object];
        let (reads, open) = self.call.open_reading(&id.state(), keys, false).await?;
        let mut reads = reads.into_iter();
        let state = state_of(reads.next().expect("the state was read"))?;
        if state.completed.is_none() || is_made_of(id, reads.next().expect("the object was read"))? {
            return Ok(());
        }
        let plan = Plan::of(Op::Delete(id.state()));
        match open.commit(&self.call.caller, plan, CommitArgs::default()).await.map_err(Failure::from) {
            Ok(_) => {}
            // Somebody changed one of them: the next round looks again.
            Err(failure) if failure.may_run_again() => return Ok(()),
            Err(failure) => return Err(failure),
        }
        self.call.delete_parts(id).await?;
        counter!("aft_s3_uploads_removed_total", "reason" => "gone").increment(1);
        info!(
            bucket = id.bucket,
            key = upload.key,
            upload = id.id,
            "removed the parts of an object that is gone"
        );
        Ok(())
    }

    /// Removes parts of uploads that have no state.
    async fn remove_leftovers(&self, bucket: &str) -> Result<()> {
        for id in self.below(&format!("{PREFIX}{bucket}/")).await? {
            let Ok(id) = UploadId::parse(bucket, &id) else { continue };
            // The state is read after a part of it was seen, and comes before every part. So what
            // has none now will never have one.
            let read = self.call.read(id.state()).await?;
            if aft_desk::value_of(read.found).is_none() {
                self.call.delete_parts(&id).await?;
                counter!("aft_s3_uploads_removed_total", "reason" => "interrupted").increment(1);
            }
        }
        Ok(())
    }
}

/// Returns true if what a read found is an object made of an upload's parts.
fn is_made_of(id: &UploadId, read: Read) -> Result<bool> {
    let object = Object::of(read)?;
    Ok(object.is_some_and(|object| object.about.upload.as_ref() == Some(&id.id)))
}
