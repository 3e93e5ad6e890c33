//! DeleteObject and DeleteObjects.

use aft_access::Right;
use aft_core::message::Op;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::operations::write::{Target, Written};

/// The most keys of one call, as S3 has it.
pub(crate) const KEYS_MAX: usize = 1_000;

impl Call {
    /// Deletes an object. A key without an object is no failure, unless there is a condition.
    pub(crate) async fn delete(&self, target: &Target) -> Result<()> {
        let key = target.checked(self)?;
        let ops = || vec![Op::Delete(key.clone())];
        self.write(target, &key, Written::default(), ops).await?;
        Ok(())
    }

    /// Deletes objects of one bucket, all or none. Returns the keys that the caller may not delete,
    /// with the reason; the others are deleted.
    pub(crate) async fn delete_all(&self, bucket: &str, keys: &[String]) -> Result<Vec<(String, Failure)>> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            let why = format!("the call names {} keys: from 1 to {KEYS_MAX} are possible", keys.len());
            return Err(Failure::new("MalformedXML", 400, why));
        }
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for key in keys {
            match self.key(bucket, key, Right::Write) {
                Ok(key) => allowed.push(key),
                Err(failure) => denied.push((key.clone(), failure)),
            }
        }
        let Some(first) = allowed.first() else { return Ok(denied) };
        let target = Target { bucket: bucket.to_owned(), key: String::new(), conditions: Default::default() };
        let ops = || allowed.iter().cloned().map(Op::Delete).collect();
        self.write(&target, first, Written::default(), ops).await?;
        Ok(denied)
    }
}
