//! The newest offset of each key, as far as the memory goes.

use sha2::{Digest, Sha256};

/// Bytes of a slot.
const SLOT_BYTES: usize = size_of::<Slot>();
/// Slots of a table that has any.
const SLOTS_MIN: usize = 4;
/// Most tables: the less each has, the less room its growth takes.
const TABLES_MAX: usize = 256;
/// Memory for which there is a table.
const TABLE_BYTES: usize = 4_096;

/// A key, known by 128 bits of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash {
    /// Tells which file and table it is in.
    pub(super) high: u64,
    /// Tells where in the table.
    pub(super) low: u64,
}

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let word = |from: usize| {
            let bytes = digest[from..]
                .first_chunk()
                .expect("32 bytes are four words");
            u64::from_be_bytes(*bytes)
        };
        Self {
            high: word(0),
            low: word(8),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: KeyHash,
    /// Negative = nobody has the slot.
    newest: i64,
}

const FREE: Slot = Slot {
    hash: KeyHash { high: 0, low: 0 },
    newest: -1,
};

/// Slots in which keys lie where their hash points to, or behind that.
#[derive(Clone, Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    used: usize,
}

impl Table {
    /// The slot that has the key, or the free one that it would get. There is always a free one.
    fn find(&self, hash: KeyHash) -> Option<usize> {
        let slots = self.slots.len();
        let home = (u128::from(hash.low) * slots as u128) >> 64;
        let mut at = usize::try_from(home).ok()?;
        loop {
            let slot = self.slots.get(at)?;
            if slot.newest < 0 || slot.hash == hash {
                return Some(at);
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
    }

    fn put(&mut self, hash: KeyHash, newest: i64) {
        let Some(slot) = self.find(hash).and_then(|at| self.slots.get_mut(at)) else {
            return;
        };
        self.used += usize::from(slot.newest < 0);
        *slot = Slot {
            hash,
            newest: newest.max(slot.newest),
        };
    }

    fn grow(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![FREE; slots]);
        self.used = 0;
        for slot in old.iter().filter(|slot| slot.newest >= 0) {
            self.put(slot.hash, slot.newest);
        }
    }

    /// Whether one more makes it more than three quarters full.
    fn is_full(&self) -> bool {
        (self.used + 1) * 4 > self.slots.len() * 3
    }

    fn larger(&self) -> usize {
        (self.slots.len() + self.slots.len() / 2).max(SLOTS_MIN)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct NewestOffsets {
    tables: Vec<Table>,
    slots: usize,
    slots_max: usize,
}

impl NewestOffsets {
    /// Takes at most about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let tables = (bytes_max / TABLE_BYTES).clamp(1, TABLES_MAX);
        Self {
            tables: vec![Table::default(); tables],
            slots: 0,
            // The least with which it knows a key at all.
            slots_max: (bytes_max / SLOT_BYTES).max(SLOTS_MIN),
        }
    }

    fn table(&self, hash: KeyHash) -> usize {
        // Bits that the files' numbers do not have.
        let tables = self.tables.len() as u64;
        usize::try_from(((hash.high & 0xffff) * tables) >> 16).unwrap_or(0)
    }

    /// Notes an offset of a key. False = there is no room for the key.
    pub(super) fn note(&mut self, hash: KeyHash, offset: i64) -> bool {
        let table = self.table(hash);
        let Some(table) = self.tables.get_mut(table) else {
            return false;
        };
        let known = table
            .find(hash)
            .and_then(|at| table.slots.get(at))
            .is_some_and(|slot| slot.newest >= 0);
        if !known && table.is_full() {
            let larger = table.larger();
            // Both are there while it grows.
            if self.slots + larger > self.slots_max {
                return false;
            }
            self.slots = self.slots - table.slots.len() + larger;
            table.grow(larger);
        }
        table.put(hash, offset);
        true
    }

    /// The newest offset of a key.
    pub(super) fn newest(&self, hash: KeyHash) -> Option<i64> {
        let table = self.tables.get(self.table(hash))?;
        let slot = table.slots.get(table.find(hash)?)?;
        (slot.newest >= 0).then_some(slot.newest)
    }

    /// How many keys it has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(|table| table.used).sum()
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.tables.fill(Table::default());
        self.slots = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u64) -> KeyHash {
        KeyHash::of(&i.to_be_bytes())
    }

    #[test]
    fn each_key_has_its_newest_offset() {
        let mut newest = NewestOffsets::new(1 << 20);
        for offset in 0..30_000i64 {
            assert!(newest.note(key(offset.unsigned_abs() % 10_000), offset));
        }
        assert!(newest.note(key(5), 3), "an older one changes nothing");
        for i in 0..10_000 {
            let expected = 20_000 + i64::try_from(i).unwrap();
            assert_eq!(newest.newest(key(i)), Some(expected));
        }
        assert_eq!(newest.newest(key(10_000)), None);
        assert_eq!(newest.len(), 10_000);
        newest.clear();
        assert_eq!(newest.newest(key(5)), None);
        assert_eq!(newest.len(), 0);
    }

    #[test]
    fn it_keeps_to_its_memory_and_uses_it() {
        for bytes in [0, 100, 1_024, 65_536, 1 << 20] {
            let mut newest = NewestOffsets::new(bytes);
            let mut keys = 0;
            while newest.note(key(keys), 1) {
                keys += 1;
            }
            assert!(keys >= 3, "{bytes} bytes take {keys} keys");
            assert!(
                newest.slots <= (bytes / SLOT_BYTES).max(SLOTS_MIN),
                "{bytes}"
            );
            // The tables are about equally full when the first one cannot grow.
            if bytes >= 65_536 {
                let least = u64::try_from(bytes / SLOT_BYTES / 4).unwrap();
                assert!(keys >= least, "{bytes} bytes take {keys} keys");
            }
            assert!(newest.note(key(0), 2), "a known key needs no room");
            assert_eq!(newest.newest(key(0)), Some(2));
        }
    }
}
