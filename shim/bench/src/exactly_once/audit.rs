//! The audit at the end of a run: it reads the counters of every request when no attempt runs any
//! more.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::error::{Error, Result};
use crate::exactly_once::counter::Counts;
use crate::exactly_once::way::{Failed, Way};

/// The number of requests that are audited at the same time.
const AT_ONCE: usize = 16;
/// The number of failed looks at one request after which the audit fails.
const LOOKS_MAX: u32 = 5;

/// The findings from the counters of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Final {
    /// Requests with an effect that happened more than once.
    pub(crate) double_effects: u64,
    /// Requests with one effect and not the other.
    pub(crate) half_effects: u64,
    /// Acknowledged requests without any effect.
    pub(crate) lost_effects: u64,
}

/// Reads the counters of requests `0..requests`.
///
/// # Errors
/// Returns [`Error::Audit`] if the counters of a request cannot be read, with its number.
pub(crate) async fn count(way: &dyn Way, requests: u64) -> Result<Vec<Counts>> {
    let looks = futures::stream::iter(0..requests).map(|request| look(way, request)).buffered(AT_ONCE);
    // The first one that cannot be read ends the audit.
    looks.try_collect().await
}

async fn look(way: &dyn Way, request: u64) -> Result<Counts> {
    let mut last = Failed("not asked");
    for _ in 0..LOOKS_MAX {
        match way.look(request).await {
            Ok(counts) => return Ok(counts),
            Err(failed) => last = failed,
        }
    }
    Err(Error::Audit(format!("the counters of request {request} cannot be read after the run: {}", last.0)))
}

/// Judges the counts of all requests, which are numbered from 0.
pub(crate) fn judge(counts: &[Counts], acknowledged: &BTreeSet<u64>) -> Final {
    let mut end = Final::default();
    for (request, counts) in (0..).zip(counts) {
        end.double_effects += u64::from(counts.is_double());
        end.half_effects += u64::from(counts.is_half());
        end.lost_effects += u64::from(counts.is_nothing() && acknowledged.contains(&request));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::{Final, judge};
    use crate::exactly_once::counter::Counts;

    #[test]
    fn faults_are_counted_by_request() {
        let counts = [(1, 1), (0, 0), (0, 0), (1, 0), (0, 1), (2, 1), (3, 0)].map(|(a, b)| Counts { a, b });
        let end = judge(&counts, &[0, 1, 3, 5].into());
        // Request 1 was acknowledged without an effect. Request 2 was abandoned, so it may have
        // none.
        assert_eq!(end, Final { double_effects: 2, half_effects: 3, lost_effects: 1 });
        assert_eq!(judge(&counts[..1], &[0].into()), Final::default());
    }
}
