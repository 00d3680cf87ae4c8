//! `aquifer group` against a real `aquifer dev`, with a real consumer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use serde_json::{Value, json};
use support::Dev;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// The one group that is described.
fn described(dev: &Dev, group: &str, more: &[&str]) -> Value {
    let arguments = [&["group", "describe", group, "-o", "json"], more].concat();
    let mut found = dev.json(&arguments);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Of each partition: committed offset and lag.
fn offsets(group: &Value) -> Vec<(Option<i64>, Option<i64>)> {
    let all = group["offsets"].as_array().unwrap();
    all.iter()
        .map(|one| (one["committed_offset"].as_i64(), one["lag"].as_i64()))
        .collect()
}

/// Resets with these arguments: offsets before and after.
fn reset(dev: &Dev, more: &[&str]) -> Vec<(Option<i64>, i64)> {
    let arguments = [&["group", "reset-offsets", "g", "-o", "json"], more].concat();
    dev.json(&arguments)
        .iter()
        .map(|one| (one["before"].as_i64(), one["after"].as_i64().unwrap()))
        .collect()
}

fn exit_code(dev: &Dev, arguments: &[&str]) -> (Option<i32>, String) {
    let output = dev.run(arguments, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

/// Ten records in partition 0 of t, and five in partition 1.
fn dev_with_records(folder: &TempDir) -> Dev {
    let dev = Dev::start(folder.path());
    dev.ok(&["topic", "create", "t", "-p", "2"], b"");
    dev.ok(
        &["produce", "t", "-q", "-p", "0"],
        b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
    );
    dev.ok(&["produce", "t", "-q", "-p", "1"], b"1\n2\n3\n4\n5\n");
    dev
}

#[test]
fn offsets_are_reset_shown_and_deleted() {
    let folder = TempDir::new().unwrap();
    let dev = dev_with_records(&folder);
    dev.fails(&["group", "describe", "g"], b"", "there is no group g");
    dev.fails(&["group", "delete", "g"], b"", "there is no group g");

    // shown, not done
    let shown = reset(&dev, &["-t", "t", "--to-earliest"]);
    assert_eq!(shown, [(None, 0), (None, 0)]);
    assert_eq!(
        dev.json(&["group", "list", "-o", "json"]),
        Vec::<Value>::new()
    );
    let text = dev.ok(
        &["group", "reset-offsets", "g", "-t", "t:1", "--to-latest"],
        b"",
    );
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("--execute"), "{text}");

    // done
    reset(&dev, &["-t", "t", "--to-earliest", "--execute"]);
    assert_eq!(
        dev.json(&["group", "list", "-o", "json"]),
        [json!({ "group": "g", "type": "classic", "state": "Empty", "protocol": "" })]
    );
    let group = described(&dev, "g", &[]);
    assert_eq!(offsets(&group), [(Some(0), Some(10)), (Some(0), Some(5))]);
    assert_eq!(
        (&group["lag"], &group["member_count"]),
        (&json!(15), &json!(0))
    );
    let age = group["lag_ms"].as_i64().unwrap();
    assert!((0..600_000).contains(&age), "{group}");
    let text = String::from_utf8(dev.ok(&["group", "describe", "g"], b"")).unwrap();
    assert!(text.contains("15 records, the oldest"), "{text}");

    for (to, after) in [
        (&["-t", "t:0", "--to-offset", "4"][..], vec![(Some(0), 4)]),
        (&["-t", "t:0", "--shift-by", "3"], vec![(Some(4), 7)]),
        (&["-t", "t:0", "--shift-by", "-2"], vec![(Some(7), 5)]),
        (
            &["-t", "t:0,1", "--to-offset", "99"],
            vec![(Some(5), 10), (Some(0), 5)],
        ),
        (
            &["--all-topics", "--to-datetime", "@0"],
            vec![(Some(10), 0), (Some(5), 0)],
        ),
        (
            &["--all-topics", "--by-duration", "1h"],
            vec![(Some(0), 0), (Some(0), 0)],
        ),
        (
            &["--all-topics", "--to-datetime", "2100-01-01"],
            vec![(Some(0), 10), (Some(0), 5)],
        ),
        (&["-t", "t:1", "--to-offset", "2"], vec![(Some(5), 2)]),
    ] {
        assert_eq!(reset(&dev, &[to, &["--execute"]].concat()), after, "{to:?}");
    }
    let group = described(&dev, "g", &["--offsets"]);
    assert_eq!(offsets(&group), [(Some(10), Some(0)), (Some(2), Some(3))]);
    assert_eq!(group["offsets"][0]["lag_ms"], 0);

    for (arguments, code, says) in [
        (&["--to-latest"][..], 2, "--all-topics"),
        (
            &["-t", "t", "--all-topics", "--to-latest"],
            2,
            "either --topic",
        ),
        (&["-t", "t"], 2, "say where to"),
        (&["-t", "t", "--to-latest", "--to-offset=1"], 2, "by one of"),
        (&["-t", "u", "--to-latest"], 1, "there is no topic u"),
        (&["-t", "t:7", "--to-latest"], 1, "no partition 7"),
    ] {
        let arguments = [&["group", "reset-offsets", "g"], arguments].concat();
        let (exit, said) = exit_code(&dev, &arguments);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    }

    let deleted = dev.json(&["group", "delete-offsets", "g", "-t", "t:1", "-o", "json"]);
    assert_eq!(
        deleted,
        [json!({ "group": "g", "topic": "t", "partition": 1, "offset": 2, "deleted": true })]
    );
    assert_eq!(offsets(&described(&dev, "g", &[])), [(Some(10), Some(0))]);
    dev.fails(
        &["group", "reset-offsets", "g", "-t", "t:1", "--shift-by=1"],
        b"",
        "cannot be shifted",
    );
    let deleted = dev.json(&["group", "delete", "g", "-o", "json"]);
    assert_eq!(deleted, [json!({ "group": "g", "deleted": true })]);
    dev.fails(&["group", "describe", "g"], b"", "there is no group g");
}

/// A consumer that has read and committed `records` records.
fn consumer(dev: &Dev, settings: &[(&str, &str)], records: usize) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &dev.kafka)
        .set("group.id", "g")
        .set("client.id", "reader")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut read = 0;
    while read < records {
        assert!(Instant::now() < deadline, "{read} records of {records}");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            assert_eq!(message.topic(), "t");
            read += 1;
        }
    }
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    consumer
}

fn a_group_with_a_member(kind: &str, settings: &[(&str, &str)]) {
    let folder = TempDir::new().unwrap();
    let dev = dev_with_records(&folder);
    let consumer = consumer(&dev, settings, 15);
    dev.ok(&["produce", "t", "-q", "-p", "0"], b"11\n12\n");
    let group = described(&dev, "g", &["--members", "--offsets"]);
    assert_eq!(
        (&group["type"], &group["state"], &group["member_count"]),
        (&json!(kind), &json!("Stable"), &json!(1)),
        "{group}"
    );
    assert_eq!(offsets(&group), [(Some(10), Some(2)), (Some(5), Some(0))]);
    let member = &group["members"][0];
    assert_eq!(member["client"], "reader");
    assert_eq!(member["host"], "/127.0.0.1");
    assert_eq!(
        member["assigned"],
        json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }])
    );
    assert_eq!(group["offsets"][0]["member"], member["member"]);
    let state = described(&dev, "g", &["--only-state"]);
    assert!(state.get("offsets").is_none() && state.get("members").is_none());
    for (filter, groups) in [
        (&["--state", "stable"][..], 1),
        (&["--state", "Empty"], 0),
        (&["--type", kind], 1),
        (&["--type", "share"], 0),
    ] {
        let listed = dev.json(&[&["group", "list", "-o", "json"], filter].concat());
        assert_eq!(listed.len(), groups, "{filter:?}");
    }

    // what its members do is not undone
    let set = [
        "group",
        "reset-offsets",
        "g",
        "-t",
        "t",
        "--to-earliest",
        "--execute",
    ];
    dev.fails(&set, b"", "has 1 members; stop them first");
    dev.fails(&["group", "delete", "g"], b"", "it has members");
    dev.fails(
        &["group", "delete-offsets", "g", "-t", "t"],
        b"",
        "stop them first",
    );
    drop(consumer);
    let deadline = Instant::now() + PATIENCE;
    while described(&dev, "g", &["--only-state"])["state"] != "Empty" {
        assert!(Instant::now() < deadline, "the member is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    dev.ok(&set, b"");
    assert_eq!(
        offsets(&described(&dev, "g", &[])),
        [(Some(0), Some(12)), (Some(0), Some(5))]
    );
}

#[test]
fn a_classic_group_with_a_member_is_described_and_protected() {
    a_group_with_a_member("classic", &[]);
}

#[test]
fn a_consumer_group_with_a_member_is_described_and_protected() {
    a_group_with_a_member("consumer", &[("group.protocol", "consumer")]);
}

/// Values of a metric by its labels.
fn metric(dev: &Dev, name: &str) -> Vec<(String, f64)> {
    let mut stream = TcpStream::connect(&dev.http).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let mut found: Vec<(String, f64)> = text
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let labels = labels.strip_prefix('{')?.strip_suffix('}')?;
            Some((labels.to_owned(), value.parse().ok()?))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn metrics_tell_lag_as_finely_as_was_asked_for() {
    for (detail, expected) in [
        ("off", vec![]),
        ("group", vec![("group=\"g\"", 15.0)]),
        ("topic", vec![("group=\"g\",topic=\"t\"", 15.0)]),
        (
            "partition",
            vec![
                ("group=\"g\",topic=\"t\",partition=\"0\"", 10.0),
                ("group=\"g\",topic=\"t\",partition=\"1\"", 5.0),
            ],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let dev = Dev::start_with(folder.path(), &["--group-lag-metrics", detail]);
        dev.ok(&["topic", "create", "t", "-p", "2"], b"");
        dev.ok(
            &["produce", "t", "-q", "-p", "0"],
            b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
        );
        dev.ok(&["produce", "t", "-q", "-p", "1"], b"1\n2\n3\n4\n5\n");
        reset(&dev, &["-t", "t", "--to-earliest", "--execute"]);
        let deadline = Instant::now() + PATIENCE;
        let empty = vec![("kind=\"classic\",state=\"Empty\"".to_owned(), 1.0)];
        // told together with the lag, every ten seconds
        while metric(&dev, "aquifer_groups") != empty {
            assert!(
                Instant::now() < deadline,
                "{:?}",
                metric(&dev, "aquifer_groups")
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        let expected: Vec<(String, f64)> = expected
            .into_iter()
            .map(|(labels, value)| (labels.to_owned(), value))
            .collect();
        assert_eq!(
            metric(&dev, "aquifer_group_lag_records"),
            expected,
            "{detail}"
        );
        let seconds = metric(&dev, "aquifer_group_lag_seconds");
        assert_eq!(seconds.len(), expected.len());
        assert!(
            seconds.iter().all(|(_, age)| (0.0..600.0).contains(age)),
            "{seconds:?}"
        );
    }
}
