//! Buckets that are folders or memory: through the port, as far as that goes.

use bytes::Bytes;
use futures::future;

use super::{Report, Subject, Verdict, judge_race};
use crate::port::{ObjectStore, PutError, PutMode};

const CONTENT: &[u8] = b"aquifer bucket check";

pub(super) async fn check(store: &dyn ObjectStore, probe: &str) -> Report {
    let mut report = Report::new(store.describe());
    let object = format!("{probe}/object");
    let race = format!("{probe}/race");
    write_and_read(store, &object, &mut report).await;
    if report.refusals().next().is_none() {
        create_once(store, &race, &mut report).await;
        list(store, probe, &[&object, &race], &mut report).await;
    }
    let deleted = store.delete(&[object, race]).await;
    let left = store.list(&format!("{probe}/"), None, 10).await;
    report.add(
        Subject::Delete,
        match (deleted, left) {
            (Err(error), _) => Verdict::Refused(error.to_string()),
            (Ok(()), Ok(left)) if !left.is_empty() => {
                Verdict::Refused("deleted objects are still there".to_owned())
            }
            (Ok(()), _) => Verdict::Good,
        },
    );
    report
}

async fn write_and_read(store: &dyn ObjectStore, object: &str, report: &mut Report) {
    let payload = || vec![Bytes::from_static(CONTENT)];
    if let Err(error) = store.put(object, payload(), PutMode::Overwrite).await {
        return report.add(Subject::Write, Verdict::Refused(error.to_string()));
    }
    report.add(Subject::Write, Verdict::Good);
    let read = future::join(store.get(object), store.get_range(object, 8..14)).await;
    report.add(
        Subject::Read,
        match read {
            (Ok(whole), Ok(part)) if whole == CONTENT && part == "bucket" => Verdict::Good,
            (Ok(_), Ok(_)) => Verdict::Refused("what is read is not what was written".to_owned()),
            (Err(error), _) | (_, Err(error)) => Verdict::Refused(error.to_string()),
        },
    );
}

async fn create_once(store: &dyn ObjectStore, race: &str, report: &mut Report) {
    let create = |who: &'static [u8]| store.put(race, vec![who.into()], PutMode::Create);
    let (one, two) = future::join(create(b"one"), create(b"two")).await;
    let mut winners = 0;
    for put in [one, two, create(b"three").await] {
        match put {
            Ok(()) => winners += 1,
            Err(PutError::Exists { .. }) => {}
            Err(error) => {
                return report.add(Subject::CreateOnce, Verdict::Refused(error.to_string()));
            }
        }
    }
    report.add(Subject::CreateOnce, judge_race(winners));
}

async fn list(store: &dyn ObjectStore, probe: &str, expected: &[&str], report: &mut Report) {
    let listed = store.list(&format!("{probe}/"), None, 10).await;
    report.add(
        Subject::List,
        match listed {
            Ok(found) if found.iter().map(|meta| &meta.key).eq(expected) => Verdict::Good,
            Ok(_) => Verdict::Refused("a listing does not show what was written".to_owned()),
            Err(error) => Verdict::Refused(error.to_string()),
        },
    );
}
