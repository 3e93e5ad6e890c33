//! Buckets: CreateBucket, DeleteBucket, HeadBucket, ListBuckets.

use std::sync::Arc;

use aft_access::Right;
use aft_core::ids::Key;
use aft_core::message::{Condition, ListKeys, Op, Read};
use aft_desk::Desk;
use bytes::Bytes;
use tracing::info;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::object::{bucket_of, inline, marker, modified_ms, name};
use crate::operations::now_ms;
use crate::origin::mapping::Kind;

/// A bucket of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    /// The time of its creation, in milliseconds since the epoch.
    pub(crate) created_ms: u64,
}

impl Call {
    /// Creates a bucket.
    pub(crate) async fn create_bucket(&self, bucket: &str) -> Result<()> {
        let key = self.caller.key(&name(bucket, ""), Right::Write)?;
        let put = || Op::Put(key.clone(), Kind::Own.value());
        let exists_already = || {
            let why = format!(
                "the bucket {bucket:?} exists already, and it is yours, or the key \"{bucket}/\" holds another value"
            );
            Failure::new("BucketAlreadyOwnedByYou", 409, why)
        };
        let is_absent = Op::Check(key.clone(), Condition::Absent);
        if self.within.is_some() || !self.caller.node().is_checked(&key) {
            if self.kind_of(bucket).await?.is_some() {
                return Err(exists_already());
            }
            return self.run_on_bucket(vec![put()]).await;
        }
        match self.run_on_bucket(vec![is_absent, put()]).await {
            Err(failure) if failure.code == "PreconditionFailed" => Err(exists_already()),
            ended => ended,
        }
    }

    /// Creates a bucket if it does not exist. Returns true if it was created.
    pub(crate) async fn create_if_missing(&self, bucket: &str) -> Result<bool> {
        if !is_bucket_name(bucket) {
            let why = "no name of a bucket: use 3 to 63 lower-case letters, digits, '-' and '.', with a letter or a \
                       digit at both ends";
            return Err(Failure::new("InvalidBucketName", 400, why));
        }
        match self.create_bucket(bucket).await {
            Ok(()) => Ok(true),
            Err(failure) if failure.code == "BucketAlreadyOwnedByYou" => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a bucket, which must be empty. An object that is put at the same moment may remain:
    /// it is there again if the bucket is created again.
    pub(crate) async fn delete_bucket(&self, bucket: &str) -> Result<()> {
        let key = self.caller.key(&name(bucket, ""), Right::Write)?;
        let kind = self.need_bucket(bucket).await?;
        if let Kind::Mapped(mapping) = &kind {
            let why = format!(
                "the bucket {bucket:?} reads through to {}: a bucket with an origin cannot be deleted",
                mapping.place
            );
            return Err(Failure::new("InvalidBucketState", 409, why));
        }
        let ask = ListKeys {
            prefix: key.as_str().to_owned(),
            after: Some(key.as_str().to_owned()),
            limit: 1,
            delimiter: None,
        };
        if !self.page(ask).await?.keys.is_empty() {
            let why = format!("the bucket {bucket:?} has objects: delete them first");
            return Err(Failure::new("BucketNotEmpty", 409, why));
        }
        let delete = Op::Delete(key.clone());
        if self.within.is_some() || !self.caller.node().is_checked(&key) {
            return self.run_on_bucket(vec![delete]).await;
        }
        match self.run_on_bucket(vec![Op::Check(key, kind.holds()), delete]).await {
            Err(failure) if failure.code == "PreconditionFailed" => Err(Failure::no_such_bucket(bucket)),
            ended => ended,
        }
    }

    /// Changes what a bucket's marker says, if that is still `before`, and puts empty values under
    /// further keys.
    pub(crate) async fn mark_bucket(
        &self,
        bucket: &str,
        before: &Kind,
        after: &Kind,
        beside: Vec<Key>,
    ) -> Result<()> {
        let key = marker(bucket);
        let check = self.caller.node().is_checked(&key).then(|| Op::Check(key.clone(), before.holds()));
        let put = Op::Put(key, after.value());
        let beside = beside.into_iter().map(|key| Op::Put(key, inline(Bytes::new())));
        let ops = check.into_iter().chain([put]).chain(beside).collect();
        match self.run_on_bucket(ops).await {
            Err(failure) if failure.code == "PreconditionFailed" => {
                let why = "another server has changed the bucket at this moment: start again";
                Err(Failure::new("OperationAborted", 409, why))
            }
            ended => ended,
        }
    }

    /// Runs operations on a bucket's marker.
    async fn run_on_bucket(&self, ops: Vec<Op>) -> Result<()> {
        if let Some(attempt) = self.within {
            self.caller.run(attempt, ops.into_iter().collect(), None, &Call::WITHIN).await?;
            return Ok(());
        }
        self.run_alone(ops).await
    }

    /// Lists the buckets that the caller may use, in order.
    pub(crate) async fn list_buckets(&self) -> Result<Vec<Bucket>> {
        self.caller.need(Right::Read)?;
        let prefix = self.caller.credential().map_or("", |credential| credential.prefix.as_str());
        // A prefix within one bucket allows that one.
        let names = match prefix.split_once('/') {
            Some((bucket, _)) => vec![bucket.to_owned()],
            None => self.names_of_buckets(prefix).await?,
        };
        let names: Vec<String> = names.into_iter().filter(|name| is_bucket_name(name)).collect();
        let markers: Vec<Key> = names.iter().map(|name| marker(name)).collect();
        let reads = self.read_all_alone(&markers).await?;
        let bucket = |(name, read): (String, Read)| {
            let (_, version) = bucket_of(read)?;
            Some(Bucket { name, created_ms: modified_ms(version, now_ms()) })
        };
        Ok(names.into_iter().zip(reads).filter_map(bucket).collect())
    }

    /// Returns the first parts of all keys with a prefix.
    async fn names_of_buckets(&self, prefix: &str) -> Result<Vec<String>> {
        let prefixes = self.list_all(&self.caller.listed(prefix)?, Some("/")).await?.prefixes;
        Ok(prefixes.iter().filter_map(|prefix| prefix.strip_suffix('/').map(str::to_owned)).collect())
    }
}

/// Makes buckets that are missing, on behalf of the server.
///
/// # Errors
/// Returns the reason why one cannot be made; the text names the bucket.
pub async fn create_buckets(desk: &Arc<Desk>, names: &[String]) -> std::result::Result<(), String> {
    let call = Call::of_server(desk);
    for name in names {
        match call.create_if_missing(name).await {
            Ok(true) => info!(bucket = name, "made a bucket of the S3 endpoint"),
            Ok(false) => {}
            Err(failure) => return Err(format!("{name:?}: {}", failure.message)),
        }
    }
    Ok(())
}

/// Makes buckets that are missing, on behalf of a process that takes it for granted that they exist
/// and have no origin ([`Origins::none`](crate::origin::Origins::none)).
///
/// # Errors
/// Returns the reason why one cannot be made, or that it has an origin; the text names the bucket.
pub async fn check_own_buckets(desk: &Arc<Desk>, names: &[String]) -> std::result::Result<(), String> {
    let call = Call::of_server(desk);
    let markers: Vec<Key> = names.iter().map(|name| marker(name)).collect();
    let named = |name: &str, failure: &Failure| format!("{name:?}: {}", failure.message);
    let reads = call.read_all_alone(&markers).await.map_err(|failure| failure.message)?;
    for (name, read) in names.iter().zip(reads) {
        match bucket_of(read) {
            Some((Kind::Own, _)) => {}
            Some((Kind::Mapped(mapping), _)) => {
                return Err(named(name, &Failure::unknown_origin(name, &mapping)));
            }
            None => {
                let made = call.create_if_missing(name).await;
                if made.map_err(|failure| named(name, &failure))? {
                    info!(bucket = name, "made a bucket of the S3 endpoint");
                }
            }
        }
    }
    Ok(())
}

/// Returns true if a text can be the name of a bucket.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().next_back()];
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
        && ends.into_iter().flatten().all(is_word)
        && !name.contains("..")
        && name.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::is_bucket_name;

    #[test]
    fn names_of_buckets_are_checked() {
        for name in ["abc", "a-b.c", "1a2", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in ["", "ab", "Abc", "a_b", "-ab", "ab-", "a..b", "10.0.0.1", "a/b", "äbc", &"a".repeat(64)]
        {
            assert!(!is_bucket_name(name), "{name}");
        }
    }
}
