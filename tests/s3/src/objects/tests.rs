use std::sync::Arc;

use super::*;

const BUCKET: &str = "b";

fn objects() -> Objects {
    let objects = Objects::new(1 << 20);
    assert!(objects.create_bucket(BUCKET));
    assert!(!objects.create_bucket(BUCKET));
    objects
}

fn put(objects: &Objects, key: &str, condition: &Condition) -> Result<String, Refusal> {
    let bytes = Bytes::copy_from_slice(key.as_bytes());
    objects.put(BUCKET, key, bytes, condition, Duration::ZERO)
}

#[tokio::test]
async fn conditions_are_decided_with_the_write() {
    let objects = objects();
    let etag = put(&objects, "k", &Condition::Absent).unwrap();
    assert_eq!(
        put(&objects, "k", &Condition::Absent),
        Err(Refusal::PreconditionFailed)
    );
    let newer = put(&objects, "k", &Condition::Is(etag.clone())).unwrap();
    assert_eq!(
        put(&objects, "k", &Condition::Is(etag)),
        Err(Refusal::PreconditionFailed)
    );
    assert_eq!(objects.get(BUCKET, "k").unwrap().etag, newer);
    assert_eq!(
        put(&objects, "other", &Condition::Is(newer)),
        Err(Refusal::NoSuchKey)
    );
}

#[test]
fn of_many_threads_that_create_one_key_one_wins() {
    let objects = Arc::new(objects());
    for round in 0..50 {
        let key = format!("race/{round}");
        let wins: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| put(&objects, &key, &Condition::Absent).is_ok()))
                .collect();
            racers
                .into_iter()
                .map(|racer| usize::from(racer.join().unwrap()))
                .sum()
        });
        assert_eq!(wins, 1, "round {round}");
    }
}

#[tokio::test]
async fn the_total_size_is_bounded_and_freed() {
    let objects = Objects::new(10);
    objects.create_bucket(BUCKET);
    let write = |key: &str, bytes: usize| {
        let bytes = Bytes::from(vec![0; bytes]);
        objects.put(BUCKET, key, bytes, &Condition::Always, Duration::ZERO)
    };
    write("a", 6).unwrap();
    assert_eq!(write("b", 5), Err(Refusal::Full { bytes_max: 10 }));
    write("b", 4).unwrap();
    objects.delete(BUCKET, "a").unwrap();
    write("c", 6).unwrap();
    assert_eq!(objects.totals(BUCKET), Some((2, 10)));
    let upload = objects.begin_upload(BUCKET, "m").unwrap();
    let part = objects.put_part(BUCKET, "m", &upload, 1, Bytes::from_static(b"x"));
    assert_eq!(part, Err(Refusal::Full { bytes_max: 10 }));
}

#[tokio::test(start_paused = true)]
async fn late_objects_show_later_but_conditions_see_them() {
    let objects = objects();
    let late = Duration::from_secs(5);
    let write = |content: &'static str, condition: &Condition| {
        objects.put(
            BUCKET,
            "k",
            Bytes::from_static(content.as_bytes()),
            condition,
            late,
        )
    };
    write("one", &Condition::Absent).unwrap();
    assert_eq!(objects.get(BUCKET, "k").err(), Some(Refusal::NoSuchKey));
    assert_eq!(
        write("two", &Condition::Absent),
        Err(Refusal::PreconditionFailed)
    );
    clock::sleep(late).await;
    assert_eq!(objects.get(BUCKET, "k").unwrap().bytes, "one");
    write("two", &Condition::Always).unwrap();
    assert_eq!(objects.get(BUCKET, "k").unwrap().bytes, "one");
    clock::sleep(late).await;
    assert_eq!(objects.get(BUCKET, "k").unwrap().bytes, "two");
}

#[tokio::test]
async fn listings_page_and_fold() {
    let objects = objects();
    for key in ["a", "p/a/1", "p/a/2", "p/b", "p/c/1", "p/c0", "q"] {
        put(&objects, key, &Condition::Absent).unwrap();
    }
    for (prefix, delimiter, expected) in [
        (
            "",
            "",
            vec!["a", "p/a/1", "p/a/2", "p/b", "p/c/1", "p/c0", "q"],
        ),
        ("p/", "", vec!["p/a/1", "p/a/2", "p/b", "p/c/1", "p/c0"]),
        ("p/", "/", vec!["p/a/", "p/b", "p/c/", "p/c0"]),
        ("", "/", vec!["a", "p/", "q"]),
        ("none", "/", vec![]),
    ] {
        for limit in 1..9 {
            let mut seen = Vec::new();
            let mut after = String::new();
            loop {
                let wanted = Listing {
                    prefix,
                    delimiter,
                    after: &after,
                    limit,
                };
                let page = objects.list(BUCKET, wanted).unwrap();
                assert!(page.objects.len() + page.prefixes.len() <= limit);
                let mut names = page.prefixes;
                names.extend(page.objects.into_iter().map(|(key, _)| key));
                names.sort();
                seen.extend(names);
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            assert_eq!(seen, expected, "{prefix:?} {delimiter:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn parts_become_an_object() {
    let objects = objects();
    let upload = objects.begin_upload(BUCKET, "m").unwrap();
    let part = |number, content: &'static str| {
        let bytes = Bytes::from_static(content.as_bytes());
        let etag = objects
            .put_part(BUCKET, "m", &upload, number, bytes)
            .unwrap();
        (number, etag)
    };
    let (two, one) = (part(2, "two"), part(1, "one"));
    let complete = |parts: &[(i32, String)], condition: &Condition| {
        objects.complete_upload(BUCKET, "m", &upload, parts, condition, Duration::ZERO)
    };
    let backwards = [two.clone(), one.clone()];
    assert_eq!(
        complete(&backwards, &Condition::Absent),
        Err(Refusal::InvalidPart)
    );
    complete(&[one.clone(), two], &Condition::Absent).unwrap();
    assert_eq!(objects.get(BUCKET, "m").unwrap().bytes, "onetwo");
    assert_eq!(
        complete(&[one], &Condition::Absent),
        Err(Refusal::NoSuchUpload)
    );
    assert_eq!(objects.totals(BUCKET), Some((1, 6)));
    assert_eq!(objects.inner.lock().bytes, 6, "parts are freed");
}
