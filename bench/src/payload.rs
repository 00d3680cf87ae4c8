//! Values: text that compresses about as logs do, behind the time at which the record was due.

use std::time::Duration;

/// Bytes of the due time at the front of a value.
pub(crate) const STAMP_BYTES: usize = 16;
const POOL_BYTES: usize = 1 << 20;
/// Marks values of this program, so that others in the topic are not taken for latencies.
const MARK: [u8; 8] = *b"aqbench1";

const WORDS: [&str; 24] = [
    "info",
    "warn",
    "error",
    "request",
    "response",
    "user",
    "session",
    "connection",
    "closed",
    "opened",
    "GET",
    "PUT",
    "status=200",
    "status=404",
    "status=503",
    "duration_ms=",
    "bytes=",
    "path=/api/v1/",
    "from",
    "to",
    "zone",
    "retry",
    "timeout",
    "ok",
];

/// A pool that values are cut from.
pub(crate) struct Payloads {
    pool: Vec<u8>,
    next: usize,
}

impl Payloads {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = seed | 1;
        let mut pool = Vec::with_capacity(POOL_BYTES + 16);
        while pool.len() < POOL_BYTES {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let word = usize::try_from(random % 24).unwrap_or(0);
            pool.extend_from_slice(WORDS[word].as_bytes());
            if random & 3 == 0 {
                pool.extend_from_slice(format!("{:x}", random >> 40).as_bytes());
            }
            pool.push(b' ');
        }
        Self { pool, next: 0 }
    }

    /// Makes the next value: `bytes` long, due at `due` after the start.
    pub(crate) fn fill(&mut self, value: &mut Vec<u8>, bytes: usize, due: Duration) {
        value.clear();
        value.extend_from_slice(&MARK);
        value.extend_from_slice(&nanoseconds(due).to_be_bytes());
        while value.len() < bytes {
            let piece = (bytes - value.len()).min(self.pool.len() - self.next);
            value.extend_from_slice(&self.pool[self.next..self.next + piece]);
            self.next = (self.next + piece + 7) % self.pool.len();
        }
    }
}

/// When a value was due; None = it is not of this program.
pub(crate) fn due(value: &[u8]) -> Option<Duration> {
    let stamp: &[u8; STAMP_BYTES] = value.first_chunk()?;
    let (mark, time) = stamp.split_at(MARK.len());
    let time = <[u8; 8]>::try_from(time).ok()?;
    (*mark == MARK).then(|| Duration::from_nanos(u64::from_be_bytes(time)))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_due_time() {
        let mut payloads = Payloads::new(7);
        let mut value = Vec::new();
        for bytes in [STAMP_BYTES, 17, 1024, 3 * POOL_BYTES] {
            payloads.fill(&mut value, bytes, Duration::from_micros(5));
            assert_eq!(value.len(), bytes);
            assert_eq!(due(&value), Some(Duration::from_micros(5)));
        }
        assert_eq!(due(b"short"), None);
        assert_eq!(due(&[0; 40]), None);
    }
}
