//! Identifiers and times, from the system's clock and random numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns a new request ID: a UUID.
pub(crate) fn request_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// Returns 32 random hexadecimal digits.
pub(crate) fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Returns a new trace header, of a trace that nobody records.
pub(crate) fn trace_id() -> String {
    let seconds = epoch_ms() / 1_000;
    let (root, parent) = (rand::random::<u128>() & ((1 << 96) - 1), rand::random::<u64>());
    format!("Root=1-{seconds:08x}-{root:024x};Parent={parent:016x};Sampled=0")
}

/// Returns the milliseconds since the epoch.
pub(crate) fn epoch_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns a time in whole milliseconds.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the log stream of an environment: its day of birth, the version and its name.
pub(crate) fn log_stream(environment: &str) -> String {
    let today = time::OffsetDateTime::now_utc();
    let (month, day) = (u8::from(today.month()), today.day());
    format!("{}/{month:02}/{day:02}/[{}]{environment}", today.year(), crate::arn::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_their_forms() {
        assert_eq!(request_id().len(), 36);
        assert_ne!(request_id(), request_id());
        assert_eq!(nonce().len(), 32);
        let trace = trace_id();
        assert_eq!(trace.len(), "Root=1-".len() + 8 + 1 + 24 + ";Parent=".len() + 16 + ";Sampled=0".len());
        assert!(log_stream("ab").ends_with("/[$LATEST]ab"));
    }
}
