//! The output of processes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::Environment;
use crate::logs::Source;

/// The longest line, in bytes: as long as an event of CloudWatch Logs. A longer one is broken.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// The bytes that a caller of an invocation may ask for, as in Lambda.
const TAIL_BYTES: usize = 4 << 10;

/// The end of the output since the last invocation began.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(super) fn add(&self, line: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(line);
        kept.push_back(b'\n');
        let excess = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..excess);
        assert!(kept.len() <= TAIL_BYTES, "the tail is bounded");
    }
}

impl Environment {
    /// Passes the lines of a process on until its output closes.
    pub(super) async fn pass_on(
        self: Arc<Self>,
        process: String,
        source: Source,
        output: impl AsyncRead + Unpin,
    ) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = line.strip_suffix(b"\n").unwrap_or(&line);
                    self.tail.add(text);
                    self.line(&process, source, String::from_utf8_lossy(text).into_owned());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_end() {
        let tail = Tail::default();
        tail.add(&[b'a'; TAIL_BYTES]);
        tail.add(b"end");
        let bytes = tail.bytes();
        assert_eq!(bytes.len(), TAIL_BYTES);
        assert!(bytes.ends_with(b"a\nend\n"));
        tail.clear();
        assert!(tail.bytes().is_empty());
    }
}
