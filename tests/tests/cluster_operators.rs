//! What operators ask of a cluster: its status, a topic's extents, the journal, objects in the bucket; and a topic
//! that they deleted by mistake.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use aquifer_tests::{
    cluster::{Cluster, ENVIRONMENT},
    process::binary,
};
use serde_json::{Value, json};

const RECORDS: u64 = 500;

fn aquifer(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("aquifer"));
    command.args(arguments).envs(ENVIRONMENT);
    command.output().expect("the binary can be run")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let read = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(read).collect()
}

fn good(arguments: &[&str]) -> Vec<Value> {
    let output = aquifer(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    lines(&output)
}

/// Deletes a topic by mistake and brings it back: id, extents and records are as they were.
fn delete_and_restore(bootstrap: &str, metadata: &str) {
    let extents = [
        "topic",
        "describe",
        "logs",
        "--extents",
        "-o",
        "json",
        "--metadata",
        metadata,
        "--bootstrap",
        bootstrap,
    ];
    let before = good(&extents);
    let service = ["-o", "json", "--metadata", metadata];
    let deleted = [&["topic", "deleted"][..], &service].concat();
    let restore = [&["topic", "restore", "logs"][..], &service].concat();
    assert_eq!(good(&deleted), Vec::<Value>::new());
    let none = aquifer(&restore);
    assert_eq!(none.status.code(), Some(1), "nothing is deleted");

    good(&["topic", "delete", "logs", "-o", "json", "-b", bootstrap]);
    let told = good(&deleted);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["topic"], &told[0]["partitions"]),
        (&json!("logs"), &json!(2))
    );
    let at = |name: &str| told[0][name].as_i64().expect("a time");
    assert_eq!(at("purged_at_ms") - at("deleted_at_ms"), 86_400_000);
    assert!(told[0]["bytes"].as_u64() > Some(0), "{told:?}");

    let restored = good(&restore).remove(0);
    assert_eq!(
        (&restored["topic"], &restored["id"]),
        (&json!("logs"), &told[0]["id"])
    );
    assert_eq!(good(&deleted), Vec::<Value>::new());
    // agents hear of it a moment later
    let consume = ["consume", "logs", "--exit-at-end", "-b", bootstrap];
    let deadline = Instant::now() + Duration::from_secs(20);
    let read = loop {
        let output = aquifer(&consume);
        if output.status.success() {
            break String::from_utf8(output.stdout).expect("text");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            Instant::now() < deadline,
            "the topic does not come back: {said}"
        );
        std::thread::sleep(Duration::from_millis(200));
    };
    let mut read: Vec<&str> = read.lines().collect();
    read.sort_unstable();
    let mut written: Vec<String> = (0..RECORDS).map(|i| format!("line {i}")).collect();
    written.sort_unstable();
    assert_eq!(read, written);
    assert_eq!(good(&extents), before);
}

#[test]
fn operators_see_what_runs_and_where_records_are() {
    let mut cluster = Cluster::start(&["a", "b"], 2, "none");
    cluster.agents[0].connect().create_topic("logs", 2, &[]);
    let (bootstrap, bucket) = (cluster.bootstrap(), cluster.s3.url());
    let postgres = cluster.database.url.clone();
    let metadata: Vec<String> = cluster
        .metadata
        .iter()
        .map(|member| format!("127.0.0.1:{}", member.port))
        .collect();
    let metadata = metadata.join(",");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let input = folder.path().join("lines");
    let text: String = (0..RECORDS).map(|i| format!("line {i}\n")).collect();
    std::fs::write(&input, text).expect("a written file");
    let input = input.to_str().expect("a path of letters");
    let produce = ["produce", "logs", "-q", "--file", input, "-b", &bootstrap];
    good(&produce);

    // Status, healthy as a whole.
    let status = [
        "cluster",
        "status",
        "-o",
        "json",
        "--timeout=5s",
        "--bootstrap",
        &bootstrap,
        "--metadata",
        &metadata,
        "--postgres",
        &postgres,
    ];
    let with_bucket = [&status[..], &["--bucket", &bucket]].concat();
    for arguments in [&status[..], &with_bucket] {
        let mut seen = good(arguments).remove(0);
        // the leader looks at all partitions before it says what waits
        let patience = Instant::now() + Duration::from_secs(30);
        while seen["compaction_backlog"].is_null() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(200));
            seen = good(arguments).remove(0);
        }
        assert_eq!(seen["problems"], json!([]));
        assert_eq!(seen["zones"], json!(["a", "b"]));
        assert_eq!(seen["nodes"].as_array().map(Vec::len), Some(8), "{seen}");
        assert_eq!(seen["topics"], 1);
        assert!(seen["metadata_leader"]["term"].is_u64(), "{seen}");
        assert!(
            seen["compaction_backlog"]["small_objects"].is_u64(),
            "{seen}"
        );
        assert!(seen["journal"]["lease"]["endpoint"].is_string(), "{seen}");
        let roles = seen["metadata"].as_array().expect("processes");
        let mut roles: Vec<&str> = roles.iter().filter_map(|p| p["role"].as_str()).collect();
        roles.sort_unstable();
        assert_eq!(roles, ["leads", "stands by"]);
    }

    // Extents: what the service says is what its journal says, and the objects are there.
    let extents = ["topic", "describe", "logs", "--extents", "-o", "json"];
    let of_service = ["--metadata", &metadata, "--bootstrap", &bootstrap];
    let of_service = good(&[&extents[..], &of_service].concat());
    let of_journal = good(&[&extents[..], &["--postgres", &postgres]].concat());
    assert_eq!(of_service, of_journal);
    let count = |extent: &Value| {
        let offset = |name: &str| extent[name].as_u64().expect("an offset");
        offset("end_offset") - offset("base_offset")
    };
    assert_eq!(of_service.iter().map(count).sum::<u64>(), RECORDS);
    for extent in &of_service {
        let key = extent["object"].as_str().expect("a key");
        let object = good(&["inspect", "object", &bucket, key, "-o", "json"]);
        assert_eq!(object[0]["problems"], json!([]), "{key}");
        let position = &extent["run_position"];
        assert!(
            object.iter().any(|line| line["position"] == *position),
            "{key}"
        );
    }

    delete_and_restore(&bootstrap, &metadata);

    // The journal tells what was done.
    let journal = [
        "inspect",
        "journal",
        "-o",
        "json",
        "-n",
        "100000",
        "--postgres",
        &postgres,
    ];
    let events = good(&journal);
    let seen = |name: &str| events.iter().any(|line| line["event"] == name);
    assert!(seen("committed") && seen("topic_created"), "{events:?}");
    assert!(seen("topic_soft_deleted") && seen("topic_restored"));
    good(&["inspect", "pages", "-o", "json", "--postgres", &postgres]);

    // What is missing makes it unhealthy, and is named.
    let leader = cluster.leader().expect("one leads");
    cluster.metadata[1 - leader].process.kill();
    let output = aquifer(&with_bucket);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let standby = format!("127.0.0.1:{}", cluster.metadata[1 - leader].port);
    assert!(said.contains(&standby), "{said}");
    assert_eq!(lines(&output)[0]["healthy"], false);
    let wrong = [("AQUIFER_CLUSTER_SECRET", "another-secret-of-some-length")];
    let mut command = Command::new(binary("aquifer"));
    let output = command.args(status).envs(ENVIRONMENT).envs(wrong).output();
    let output = output.expect("the binary can be run");
    assert_eq!(output.status.code(), Some(1));
}
