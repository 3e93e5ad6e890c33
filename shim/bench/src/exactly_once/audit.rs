//! The end of a run: what every request has left, counted when nobody works any more.

use std::collections::BTreeSet;

use futures::StreamExt as _;

use crate::error::{Error, Result};
use crate::exactly_once::counter::Counts;
use crate::exactly_once::way::{Failed, Way};

/// Requests that are looked at at once.
const AT_ONCE: usize = 16;
/// Looks at one request, before the audit is given up.
const LOOKS_MAX: u32 = 5;

/// What the counters of all requests tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Final {
    /// Requests of which an effect is there more than once.
    pub(crate) double_effects: u64,
    /// Requests of which one effect is there and the other is not.
    pub(crate) half_effects: u64,
    /// Requests that were acknowledged, and left nothing.
    pub(crate) lost_effects: u64,
}

/// Reads the counters of so many requests.
///
/// # Errors
/// If one of them cannot be read.
pub(crate) async fn count(way: &dyn Way, requests: u64) -> Result<Vec<Counts>> {
    let looks = futures::stream::iter(0..requests).map(|request| look(way, request)).buffered(AT_ONCE);
    looks.collect::<Vec<_>>().await.into_iter().collect()
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

/// Judges the counts of requests, from 0 on.
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
        // Request 1 was acknowledged and left nothing; request 2 was given up, and rightly left nothing.
        assert_eq!(end, Final { double_effects: 2, half_effects: 3, lost_effects: 1 });
        assert_eq!(judge(&counts[..1], &[0].into()), Final::default());
    }
}
