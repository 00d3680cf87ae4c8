//! Buckets that are folders or memory, and those of the cloud that have no administration of their own here:
//! through the port, as far as that goes.

use bytes::Bytes;
use futures::future;

use super::{Report, Subject, Verdict, judge_race};
use crate::port::{ListError, ObjectStore, PutError, PutMode};

const CONTENT: &[u8] = b"aquifer bucket check";

/// What is written, in the order of the keys. Where folders are more than parts of names, as in an Azure account
/// with a hierarchical namespace, `order/a` may be listed before `order-a`.
const NAMES: [&str; 5] = ["object", "order-a", "order/a", "race", "upload"];

pub(super) async fn check(store: &dyn ObjectStore, probe: &str) -> Report {
    let mut report = Report::new(store.describe());
    let keys = NAMES.map(|name| format!("{probe}/{name}"));
    let [object, order @ .., race, uploaded] = &keys;
    write_and_read(store, object, &mut report).await;
    let wrote = report.of(Subject::Write) == Some(&Verdict::Good);
    if report.refusals().next().is_none() {
        create_once(store, race, &mut report).await;
        report.add(Subject::Upload, upload(store, uploaded).await);
        if report.of(Subject::Upload) == Some(&Verdict::Good) {
            report.add(Subject::List, list(store, probe, order, &keys).await);
        }
    }
    let deleted = store.delete(&keys).await;
    let left = match &deleted {
        Ok(()) if wrote => store.list(&format!("{probe}/"), None, 10).await,
        _ => Ok(Vec::new()),
    };
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

async fn upload(store: &dyn ObjectStore, key: &str) -> Verdict {
    let bytes = u64::try_from(CONTENT.len()).unwrap_or(u64::MAX);
    let uploaded = async {
        let upload = store.begin_upload(key).await?;
        upload.part(0, vec![Bytes::from_static(CONTENT)]).await?;
        upload.finish(1, bytes).await
    };
    match uploaded.await {
        Ok(()) => {}
        Err(error) => return Verdict::Refused(error.to_string()),
    }
    match store.get(key).await {
        Ok(read) if read == CONTENT => Verdict::Good,
        Ok(_) => Verdict::Refused("what is read is not what was uploaded in parts".to_owned()),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

async fn list(
    store: &dyn ObjectStore,
    probe: &str,
    order: &[String],
    expected: &[String],
) -> Verdict {
    for key in order {
        let payload = vec![Bytes::from_static(CONTENT)];
        if let Err(error) = store.put(key, payload, PutMode::Overwrite).await {
            return Verdict::Refused(error.to_string());
        }
    }
    let found = match pages(store, &format!("{probe}/"), expected.len()).await {
        Ok(found) => found,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    if found == expected {
        Verdict::Good
    } else {
        Verdict::Refused(
            "a listing does not show what was written, in the order of the keys (an account with a \
             hierarchical namespace may have another: take one without)"
                .to_owned(),
        )
    }
}

/// Up to `limit` keys with `prefix` in pages of two, which show in which order the store goes.
async fn pages(
    store: &dyn ObjectStore,
    prefix: &str,
    limit: usize,
) -> Result<Vec<String>, ListError> {
    let mut found: Vec<String> = Vec::new();
    while found.len() < limit {
        let after = found.last().map(String::as_str);
        let page = store.list(prefix, after, 2).await?;
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|meta| meta.key));
    }
    Ok(found)
}
