//! What was asked of the server: per operation and per key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    faults::Fault,
    operation::{Call, Operation},
};

/// Keys that are counted one by one; requests for further ones are in the totals only.
pub const KEYS_MAX: usize = 200_000;

/// Requests of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those, answered with a status below 300.
    pub ok: u64,
    /// Bytes of objects that came in (puts) or went out (gets).
    pub bytes: u64,
}

/// Requests that named one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCount {
    /// GetObject requests.
    pub gets: u64,
    /// Bytes that they were sent.
    pub get_bytes: u64,
    /// PutObject requests.
    pub puts: u64,
    /// Bytes that they brought.
    pub put_bytes: u64,
    /// HeadObject requests.
    pub heads: u64,
    /// DeleteObject requests (those of DeleteObjects name no key in their head and are not counted here).
    pub deletes: u64,
}

/// Everything that was counted since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By operation.
    pub operations: BTreeMap<Operation, Count>,
    /// By key (those that begin with the prefix asked for).
    pub keys: BTreeMap<String, KeyCount>,
    /// Requests for keys beyond [`KEYS_MAX`].
    pub untracked: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
}

impl Counters {
    /// Requests of one operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Count {
        self.operations.get(&operation).copied().unwrap_or_default()
    }

    /// How often a fault happened.
    #[must_use]
    pub fn happened(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or_default()
    }

    /// The totals, and keys that begin with `prefix`.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        let keys = self
            .keys
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix));
        Self {
            operations: self.operations.clone(),
            keys: keys.map(|(key, count)| (key.clone(), *count)).collect(),
            untracked: self.untracked,
            faults: self.faults.clone(),
        }
    }

    pub(crate) fn arrived(&mut self, call: &Call) {
        let count = self.operations.entry(call.operation).or_default();
        count.requests += 1;
        if call.operation == Operation::Put {
            count.bytes += call.bytes;
        }
        let bytes = call.bytes;
        if let Some(key) = self.key(call) {
            match call.operation {
                Operation::Put => {
                    key.puts += 1;
                    key.put_bytes += bytes;
                }
                Operation::Get => key.gets += 1,
                Operation::Head => key.heads += 1,
                Operation::Delete => key.deletes += 1,
                Operation::List | Operation::Multipart | Operation::Bucket => {}
            }
        }
    }

    pub(crate) fn faulted(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn answered(&mut self, call: &Call, ok: bool, bytes: u64) {
        let count = self.operations.entry(call.operation).or_default();
        count.ok += u64::from(ok);
        if ok && call.operation == Operation::Get {
            count.bytes += bytes;
            if let Some(key) = self.keys.get_mut(&call.key) {
                key.get_bytes += bytes;
            }
        }
    }

    fn key(&mut self, call: &Call) -> Option<&mut KeyCount> {
        if call.key.is_empty() {
            return None;
        }
        if !self.keys.contains_key(&call.key) {
            if self.keys.len() >= KEYS_MAX {
                self.untracked += 1;
                return None;
            }
            self.keys.insert(call.key.clone(), KeyCount::default());
        }
        self.keys.get_mut(&call.key)
    }
}
