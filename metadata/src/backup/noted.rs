//! Which pages a leader wrote since its last backup.

use std::collections::BTreeSet;

use aquifer_format::ids::JournalSeq;
use parking_lot::Mutex;

use crate::journal::PageKey;

/// More names than this are not kept (some 40 bytes each): the next backup has every page then.
const KEYS_MAX: usize = 4_000_000;

/// Names of pages, noted by the page writer before it begins to write them, and taken by the backup once its snapshot
/// stands.
///
/// Invariant: every page that a snapshot shows otherwise than the one before is named for it. What was being written at
/// any time between [`Self::mark`], before a snapshot, and [`Self::take`], when it stands, may be in it or not: that is
/// named for it and for the next one.
#[derive(Debug)]
pub(crate) struct NotedPages(Mutex<Noted>);

#[derive(Debug)]
struct Noted {
    /// Pages are complete at least up to here.
    through: JournalSeq,
    begun: BTreeSet<PageKey>,
    /// Those whose write has not ended.
    writing: Vec<PageKey>,
    /// Those that were being written since the mark.
    since: BTreeSet<PageKey>,
    /// What `through` was at the mark.
    marked: JournalSeq,
    /// Written without an answer: that may still take effect, at any time of this leader's.
    doubtful: BTreeSet<PageKey>,
    /// There were too many.
    overflowed: bool,
}

/// What a backup is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Pages, each once; None = all.
    pub(crate) keys: Option<Vec<PageKey>>,
    /// Replay begins after this row or a later one.
    pub(crate) through: JournalSeq,
}

impl NotedPages {
    /// Nothing is written yet; the pages that are there are complete up to `through`.
    pub(crate) fn new(through: JournalSeq) -> Self {
        Self(Mutex::new(Noted {
            through,
            begun: BTreeSet::new(),
            writing: Vec::new(),
            since: BTreeSet::new(),
            marked: through,
            doubtful: BTreeSet::new(),
            overflowed: false,
        }))
    }

    /// A write of these pages is about to begin; the one before has ended.
    pub(crate) fn begin(&self, keys: &[PageKey]) {
        let mut noted = self.0.lock();
        noted.writing = keys.to_vec();
        noted.since.extend(keys.iter().cloned());
        noted.add(keys.iter().cloned(), KEYS_MAX);
    }

    /// The write has ended; `known`: nothing of it can take effect any more.
    pub(crate) fn ended(&self, known: bool) {
        let mut noted = self.0.lock();
        let writing = std::mem::take(&mut noted.writing);
        if !known {
            noted.doubtful.extend(writing);
        }
    }

    /// The pages are complete up to `through`.
    pub(crate) fn completed(&self, through: JournalSeq) {
        let mut noted = self.0.lock();
        noted.through = noted.through.max(through);
    }

    /// A snapshot is about to be taken.
    pub(crate) fn mark(&self) {
        let mut noted = self.0.lock();
        noted.since = noted.writing.iter().cloned().collect();
        noted.marked = noted.through;
    }

    /// What a backup is to have whose snapshot stands; what is begun from now on is the next one's.
    pub(crate) fn take(&self) -> Taken {
        let mut noted = self.0.lock();
        let noted = &mut *noted;
        let mut begun = std::mem::take(&mut noted.begun);
        noted.begun = std::mem::take(&mut noted.since);
        begun.extend(noted.doubtful.iter().cloned());
        let overflowed = std::mem::take(&mut noted.overflowed) || begun.len() > KEYS_MAX;
        Taken {
            keys: (!overflowed).then(|| begun.into_iter().collect()),
            through: noted.marked,
        }
    }

    /// The backup that took `keys` did not come about: they are the next one's.
    pub(crate) fn give_back(&self, keys: Option<Vec<PageKey>>) {
        let mut noted = self.0.lock();
        match keys {
            Some(keys) => noted.add(keys, KEYS_MAX),
            None => noted.overflow(),
        }
    }
}

impl Noted {
    fn add(&mut self, keys: impl IntoIterator<Item = PageKey>, keys_max: usize) {
        if self.overflowed {
            return;
        }
        self.begun.extend(keys);
        if self.begun.len() > keys_max {
            self.overflow();
        }
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        self.begun = BTreeSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &str) -> Vec<PageKey> {
        names.bytes().map(|name| PageKey(vec![name])).collect()
    }

    fn taken(names: &str, through: u64) -> Taken {
        Taken {
            keys: Some(keys(names)),
            through: JournalSeq(through),
        }
    }

    /// A snapshot during which nothing happens.
    fn snapshot(noted: &NotedPages) -> Taken {
        noted.mark();
        noted.take()
    }

    #[test]
    fn pages_are_named_until_a_backup_surely_shows_them() {
        let noted = NotedPages::new(JournalSeq(3));
        assert_eq!(snapshot(&noted), taken("", 3));
        noted.begin(&keys("ab"));
        assert_eq!(snapshot(&noted), taken("ab", 3), "under way");
        noted.ended(true);
        noted.completed(JournalSeq(9));
        let ended = snapshot(&noted);
        assert_eq!(ended, taken("ab", 9), "it ended after the snapshot");
        assert_eq!(snapshot(&noted), taken("", 9), "both snapshots had it");
        noted.begin(&keys("bc"));
        noted.ended(false);
        noted.begin(&keys("d"));
        noted.ended(true);
        assert_eq!(snapshot(&noted), taken("bcd", 9));
        assert_eq!(
            snapshot(&noted),
            taken("bc", 9),
            "it may happen at any time"
        );
        noted.give_back(Some(keys("xa")));
        noted.completed(JournalSeq(4));
        assert_eq!(snapshot(&noted), taken("abcx", 9));
    }

    #[test]
    fn what_is_written_while_a_snapshot_is_taken_is_named_for_the_next_one_too() {
        let noted = NotedPages::new(JournalSeq(3));
        noted.begin(&keys("a"));
        noted.mark();
        noted.ended(true);
        noted.begin(&keys("b"));
        noted.ended(true);
        noted.completed(JournalSeq(9));
        noted.begin(&keys("c"));
        // the snapshot may be older than all of it
        assert_eq!(noted.take(), taken("abc", 3));
        noted.ended(true);
        assert_eq!(snapshot(&noted), taken("abc", 9));
        assert_eq!(snapshot(&noted), taken("", 9));
    }

    #[test]
    fn too_many_pages_are_all_pages() {
        let noted = NotedPages::new(JournalSeq(0));
        noted.begin(&keys("a"));
        noted.0.lock().add(keys("bcd"), 3);
        noted.0.lock().add(keys("e"), 3);
        assert_eq!(snapshot(&noted).keys, None);
        assert_eq!(snapshot(&noted).keys, Some(keys("a")), "still under way");
        noted.give_back(None);
        assert_eq!(snapshot(&noted).keys, None);
    }
}
