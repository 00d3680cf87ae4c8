//! What the clients of a simulation saw, and whether it is what was promised.

use std::collections::BTreeMap;

/// Everything that clients were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Values that were sent, in order, by producer.
    pub sent: BTreeMap<u64, Vec<String>>,
    /// Acknowledged: (partition, offset, value).
    pub acked: Vec<(i32, i64, String)>,
    /// Read: (partition, offset) -> value.
    pub read: BTreeMap<(i32, i64), String>,
    /// Found wrong while it happened.
    pub violations: Vec<String>,
}

impl History {
    /// Notes a record that a reader got; the same offset must always have the same content.
    pub fn note_read(&mut self, partition: i32, offset: i64, value: &str) {
        let known = self
            .read
            .entry((partition, offset))
            .or_insert_with(|| value.to_owned());
        if known != value {
            let text = format!("reissued: {partition}/{offset} was {known}, now {value}");
            self.violations.push(text);
        }
    }

    /// Notes where a partition was said to end once everything was acknowledged: behind all of it.
    pub fn note_end(&mut self, partition: i32, end: i64) {
        let behind = |(p, offset, _): &&(i32, i64, String)| *p == partition && *offset >= end;
        let cut_off = self.acked.iter().filter(behind).map(|(_, offset, value)| {
            format!("cut off: {value} was acknowledged at {partition}/{offset}, the end is {end}")
        });
        self.violations.extend(cut_off);
    }

    /// Everything that is wrong: lost, doubled, reordered, reissued records, gaps, records from nowhere.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = self.violations.clone();
        for (partition, offset, value) in &self.acked {
            match self.read.get(&(*partition, *offset)) {
                Some(found) if found == value => {}
                found => wrong.push(format!(
                    "lost: {value} was acknowledged at {partition}/{offset}, there is {found:?}"
                )),
            }
        }
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        let mut places: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
        for ((partition, offset), value) in &self.read {
            let expected = next.entry(*partition).or_default();
            if offset != expected {
                wrong.push(format!(
                    "gap: {partition}/{offset} follows {partition}/{}",
                    *expected - 1
                ));
            }
            *expected = offset + 1;
            places.entry(value).or_default().push((*partition, *offset));
        }
        for (producer, values) in &self.sent {
            let mut last = None;
            for value in values {
                match places.remove(value.as_str()).as_deref() {
                    None => {}
                    Some([place]) => {
                        if last.is_some_and(|last| last > *place) {
                            wrong.push(format!("reordered: {value} of {producer} at {place:?}"));
                        }
                        last = Some(*place);
                    }
                    Some(many) => wrong.push(format!("doubled: {value} at {many:?}")),
                }
            }
        }
        wrong.extend(places.keys().map(|value| format!("from nowhere: {value}")));
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> History {
        let mut history = History::default();
        history.sent.insert(1, vec!["a".into(), "b".into()]);
        history.acked = vec![(0, 0, "a".into()), (0, 1, "b".into())];
        history.note_read(0, 0, "a");
        history.note_read(0, 1, "b");
        history
    }

    fn check(what: &str, change: impl FnOnce(&mut History)) {
        let mut history = good();
        change(&mut history);
        let found = history.check();
        assert!(
            found.iter().any(|text| text.starts_with(what)),
            "{what}: {found:?}"
        );
    }

    #[test]
    fn a_good_history_passes() {
        let mut history = good();
        history.note_end(0, 2);
        history.note_end(1, 0);
        assert_eq!(history.check(), Vec::<String>::new());
    }

    #[test]
    fn bad_histories_are_found() {
        check("lost", |h| drop(h.read.remove(&(0, 1))));
        check("lost", |h| h.acked[0].1 = 1);
        check("doubled", |h| h.note_read(0, 2, "b"));
        check("reissued", |h| h.note_read(0, 1, "x"));
        check("cut off", |h| h.note_end(0, 1));
        check("gap", |h| {
            h.sent.insert(2, vec!["c".into()]);
            h.note_read(0, 3, "c");
        });
        check("from nowhere", |h| h.note_read(0, 2, "z"));
        check("reordered", |h| {
            h.sent
                .insert(1, vec!["b".into(), "a".into()])
                .map_or((), drop)
        });
    }
}
