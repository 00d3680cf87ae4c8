//! `aquifer topic alter`, `config`, `cluster`, `inspect` and `completions` against a real `aquifer dev`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use support::Dev;
use tempfile::TempDir;

/// A command without a cluster.
fn alone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aquifer"))
        .args(arguments)
        .output()
        .unwrap()
}

fn code(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The one config that is described.
fn config(dev: &Dev, of: &[&str], name: &str) -> Value {
    let arguments = [&["config", "describe", name, "-o", "json"], of].concat();
    let mut found = dev.json(&arguments);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn topics_get_more_partitions_and_other_configs() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    dev.ok(
        &["topic", "create", "t", "-c", "cleanup.policy=compact"],
        b"",
    );
    let altered = dev.json(&[
        "topic",
        "alter",
        "t",
        "--new-partitions=3",
        "-c",
        "retention.ms=1000",
        "--delete-config=cleanup.policy",
        "-o",
        "json",
    ]);
    assert_eq!(altered.len(), 2, "{altered:?}");
    assert_eq!(
        altered[1],
        json!({ "topic": "t", "partitions": 3, "altered": true })
    );
    let topics = dev.json(&["topic", "list", "-o", "json"]);
    assert_eq!(topics, [json!({ "topic": "t", "partitions": 3 })]);
    let of = ["--topic", "t"];
    let retention = config(&dev, &of, "retention.ms");
    assert_eq!(
        (
            &retention["value"],
            &retention["source"],
            &retention["default"]
        ),
        (&json!("1000"), &json!("topic"), &json!("604800000"))
    );
    assert_eq!(config(&dev, &of, "cleanup.policy")["value"], "delete");

    dev.fails(
        &["topic", "alter", "t", "-p", "3"],
        b"",
        "cannot alter topic t",
    );
    dev.fails(
        &["topic", "alter", "t", "-p", "2"],
        b"",
        "INVALID_PARTITIONS",
    );
    dev.fails(&["topic", "alter", "u", "-p", "2"], b"", "no such topic");
    for (wrong, says) in [
        ("no.such=1", "no.such"),
        ("retention.ms=soon", "soon"),
        ("retention.ms=-2", "INVALID_CONFIG"),
    ] {
        dev.fails(&["topic", "alter", "t", "-c", wrong], b"", says);
    }
    for command in [
        &["topic", "alter", "t", "--delete-config=no.such"][..],
        &["config", "delete", "-t", "t", "no.such"],
    ] {
        dev.fails(command, b"", "have no config no.such");
    }
    for command in [
        &["topic", "alter", "u", "-c", "retention.ms=1"][..],
        &["config", "delete", "-t", "u", "retention.ms"],
    ] {
        dev.fails(command, b"", "there is no topic u; `aquifer topic list`");
    }
    let (code, said) = code(&dev.run(&["topic", "alter", "t"], b""));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--new-partitions"), "{said}");
}

#[test]
fn trials_change_nothing() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    let try_out = ["--dry-run", "-o", "json"];
    let tried = dev.json(&[&["topic", "create", "t", "-p", "2"][..], &try_out].concat());
    assert_eq!(tried[0]["created"], false, "{tried:?}");
    assert!(dev.json(&["topic", "list", "-o", "json"]).is_empty());
    dev.ok(&["topic", "create", "t"], b"");
    let alter = ["topic", "alter", "t", "-p", "4", "-c", "retention.ms=1000"];
    let tried = dev.json(&[&alter[..], &try_out].concat());
    let altered: Vec<&Value> = tried.iter().map(|line| &line["altered"]).collect();
    assert_eq!(altered, [false, false]);
    let topics = dev.json(&["topic", "list", "-o", "json"]);
    assert_eq!(topics, [json!({ "topic": "t", "partitions": 1 })]);
    assert_eq!(
        config(&dev, &["--topic", "t"], "retention.ms")["source"],
        "default"
    );
    for wrong in [
        &["topic", "create", "t", "--dry-run"][..],
        &["topic", "alter", "t", "-p", "1", "--dry-run"],
        &["topic", "alter", "t", "-c", "no.such=1", "--dry-run"],
    ] {
        dev.fails(wrong, b"", "cannot ");
    }
}

#[test]
fn the_configs_of_all_brokers_are_the_topics_defaults() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start_with(
        folder.path(),
        &["--broker-config", "log.retention.hours=48"],
    );
    dev.ok(&["topic", "create", "t"], b"");
    let of = ["--topic", "t"];
    let hours = config(&dev, &[], "log.retention.hours");
    assert_eq!(
        (&hours["value"], &hours["source"]),
        (&json!("48"), &json!("static"))
    );
    assert_eq!(hours["default"], "168");
    assert_eq!(config(&dev, &of, "retention.ms")["value"], "172800000");

    dev.ok(&["config", "set", "log.retention.ms=1000"], b"");
    let ms = config(&dev, &[], "log.retention.ms");
    assert_eq!(
        (&ms["value"], &ms["source"]),
        (&json!("1000"), &json!("all brokers"))
    );
    let of_topic = config(&dev, &of, "retention.ms");
    assert_eq!(of_topic["value"], "1000");
    assert_eq!(of_topic["effect"], true);
    let synonyms = of_topic["synonyms"].as_array().unwrap();
    assert_eq!(synonyms[0]["name"], "log.retention.ms", "{synonyms:?}");

    // Nothing happens in a trial.
    dev.ok(&["config", "delete", "log.retention.ms", "--dry-run"], b"");
    assert_eq!(config(&dev, &of, "retention.ms")["value"], "1000");
    dev.ok(&["config", "delete", "log.retention.ms"], b"");
    assert_eq!(config(&dev, &of, "retention.ms")["value"], "172800000");

    dev.fails(
        &["config", "delete", "log.retention.hour"],
        b"",
        "brokers have no config log.retention.hour;",
    );
    dev.fails(
        &["config", "set", "node.id=7"],
        b"",
        "Cannot update these configs dynamically",
    );
    dev.fails(
        &["config", "set", "log.retention.ms=soon"],
        b"",
        "log.retention.ms",
    );
    dev.fails(
        &["config", "describe", "no.such"],
        b"",
        "has no config no.such",
    );
    dev.fails(&["config", "describe", "--topic", "u"], b"", "topic u");
    let (exit, said) = code(&dev.run(&["config", "set", "log.retention.ms"], b""));
    assert_eq!(exit, Some(2), "{said}");
    for wrong in ["log.retention.hour=1", "log.retention.hours=soon", "x"] {
        let (exit, said) = code(&alone(&["dev", "--broker-config", wrong]));
        assert_eq!(exit, Some(2), "{said}");
    }
}

#[test]
fn what_has_no_effect_is_said_to_and_shown_when_asked_for() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    dev.ok(&["topic", "create", "t"], b"");
    let of = ["--topic", "t"];
    let names = |arguments: &[&str]| -> Vec<String> {
        let found = dev.json(&[&["config", "describe", "-o", "json"], arguments].concat());
        let names = found.iter().map(|config| config["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let idle = "segment.ms".to_owned();
    assert!(!names(&of).contains(&idle));
    let all = names(&[&of[..], &["--all"]].concat());
    assert!(all.contains(&idle) && all.len() > 30, "{all:?}");
    assert!(names(&["--all"]).len() > 200);

    let said = dev.ok(&["config", "set", "segment.ms=2000000", "-t", "t"], b"");
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("does nothing here"), "{said}");
    assert!(names(&of).contains(&idle));
    let segment = config(&dev, &of, "segment.ms");
    assert_eq!(segment["effect"], false);
    assert!(segment["without_effect"].is_string());
    let table = String::from_utf8(dev.ok(&["config", "describe", "-t", "t"], b"")).unwrap();
    let row = table.lines().find(|line| line.starts_with("segment.ms "));
    let row = row.unwrap();
    assert!(row.contains(" topic ") && row.contains("none: "), "{row}");
}

#[test]
fn a_protected_topic_is_not_deleted() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    dev.ok(&["topic", "create", "t"], b"");
    let protection = "aquifer.deletion.protection";
    let set = format!("{protection}=true");
    dev.ok(&["config", "set", "-t", "t", &set], b"");
    dev.fails(&["topic", "delete", "t"], b"", protection);
    dev.ok(&["config", "delete", "-t", "t", protection], b"");
    let deleted = dev.json(&["topic", "delete", "t", "-o", "json"]);
    assert_eq!(deleted, [json!({ "topic": "t", "deleted": true })]);
}

#[test]
fn a_cluster_is_healthy_until_nobody_answers() {
    let folder = TempDir::new().unwrap();
    let mut dev = Dev::start(folder.path());
    dev.ok(&["topic", "create", "t", "-p", "4"], b"");
    let status = dev.json(&["cluster", "status", "-o", "json"]).remove(0);
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(
        (&status["topics"], &status["partitions"]),
        (&json!(1), &json!(4))
    );
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(
        (&nodes[0]["controller"], &nodes[0]["answers"]),
        (&json!(true), &json!(true))
    );
    let text = String::from_utf8(dev.ok(&["cluster", "status"], b"")).unwrap();
    assert!(text.contains("healthy"), "{text}");
    dev.stop();
    let output = dev.run(&["cluster", "status", "-o", "json", "--timeout", "2s"], b"");
    let (exit, said) = code(&output);
    assert_eq!(exit, Some(1), "{said}");
    assert!(
        said.contains("not healthy: no Kafka cluster answers"),
        "{said}"
    );
    assert_eq!(lines(&output)[0]["healthy"], false);
}

#[test]
fn extents_lead_to_objects_whose_damage_is_found() {
    let folder = TempDir::new().unwrap();
    let mut dev = Dev::start(folder.path());
    let data = folder.path().to_str().unwrap();
    dev.ok(&["topic", "create", "t", "-p", "2"], b"");
    dev.ok(&["produce", "t", "-q", "-p", "0"], b"one\ntwo\nthree\n");
    dev.ok(&["produce", "t", "-q", "-p", "1", "-z", "none"], b"four\n");
    let extents = ["topic", "describe", "t", "--extents", "-o", "json"];
    let (exit, said) = code(&dev.run(&extents, b""));
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("--metadata"), "{said}");
    let of_data = [&extents[..], &["--data", data]].concat();
    dev.fails(&of_data, b"", "another aquifer process");
    dev.stop();

    let shown = alone(&of_data);
    assert_eq!(code(&shown), (Some(0), String::new()));
    let shown = lines(&shown);
    let records: i64 = shown
        .iter()
        .map(|e| e["end_offset"].as_i64().unwrap() - e["base_offset"].as_i64().unwrap())
        .sum();
    assert_eq!(records, 4, "{shown:?}");
    let only = alone(&[&of_data[..], &["-p", "1"]].concat());
    assert!(lines(&only).iter().all(|extent| extent["partition"] == 1));

    let bucket = folder.path().join("bucket");
    let bucket_text = bucket.to_str().unwrap();
    for extent in &shown {
        let key = extent["object"].as_str().unwrap();
        let inspect = [
            "inspect",
            "object",
            bucket_text,
            key,
            "--batches",
            "-o",
            "json",
        ];
        let seen = alone(&inspect);
        assert_eq!(code(&seen), (Some(0), String::new()));
        let seen = lines(&seen);
        assert_eq!(seen[0]["object"], *key);
        let position = &extent["run_position"];
        assert!(
            seen.iter().any(|line| line["position"] == *position),
            "{seen:?}"
        );
        assert!(seen.iter().any(|line| line["kind"] == "batch"));
    }

    let key = shown[0]["object"].as_str().unwrap();
    let file = file_of(&bucket, key);
    let (exit, said) = code(&alone(&["inspect", "object", file.to_str().unwrap()]));
    assert_eq!(exit, Some(0), "{said}");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = alone(&["inspect", "object", bucket_text, key, "-o", "json"]);
    let (exit, said) = code(&damaged);
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("not as it was written"), "{said}");
    assert!(
        !lines(&damaged)[0]["problems"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

/// The file of an object in a folder.
fn file_of(bucket: &Path, key: &str) -> std::path::PathBuf {
    let name = key.replace('/', "~");
    let folders = std::fs::read_dir(bucket).unwrap();
    let mut files = folders.map(|folder| folder.unwrap().path().join(&name));
    files.find(|file| file.is_file()).unwrap()
}

#[test]
fn the_journal_tells_what_happened() {
    let folder = TempDir::new().unwrap();
    let mut dev = Dev::start(folder.path());
    let data = folder.path().to_str().unwrap();
    dev.ok(&["topic", "create", "t"], b"");
    dev.ok(&["produce", "t", "-q"], b"one\n");
    dev.fails(
        &["inspect", "journal", "--data", data],
        b"",
        "another aquifer process",
    );
    dev.stop();
    let all = [
        "inspect",
        "journal",
        "--data",
        data,
        "--limit=1000",
        "-o",
        "json",
    ];
    let shown = alone(&all);
    assert_eq!(code(&shown), (Some(0), String::new()));
    let shown = lines(&shown);
    let last = shown.last().unwrap()["row"].as_u64().unwrap();
    let names: Vec<&str> = shown
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    if shown[0]["row"] == 1 {
        for name in ["genesis", "registered", "topic_created", "committed"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
    let newest = lines(&alone(&[&all[..4], &["-n", "1", "-o", "json"]].concat()));
    assert!(newest.iter().all(|line| line["row"] == last), "{newest:?}");
    let from = format!("--from-row={last}");
    let from = lines(&alone(&[&all[..], &[&from]].concat()));
    assert_eq!(from, newest);
    let text = String::from_utf8(alone(&all[..5]).stdout).unwrap();
    assert_eq!(text.lines().count(), shown.len(), "{text}");

    let pages = alone(&["inspect", "pages", "--data", data, "-o", "json"]);
    assert_eq!(code(&pages), (Some(0), String::new()));
    for page in lines(&pages) {
        assert!(
            page["page"].is_string() && page["fields"].is_object(),
            "{page}"
        );
    }
    for (arguments, exit, says) in [
        (&["inspect", "journal"][..], Some(2), "--postgres or --data"),
        (
            &["inspect", "pages", "--data", "/nowhere"],
            Some(1),
            "no data of `aquifer dev`",
        ),
    ] {
        let (code, said) = code(&alone(arguments));
        assert_eq!(code, exit, "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn every_command_that_prints_prints_json() {
    let folder = TempDir::new().unwrap();
    let dev = Dev::start(folder.path());
    for arguments in [
        &["topic", "create", "t"][..],
        &["topic", "create", "t", "--if-not-exists"],
        &["topic", "alter", "t", "-p", "2"],
        &["topic", "list"],
        &["topic", "describe", "t"],
        &["produce", "t"],
        &["consume", "t", "--exit-at-end"],
        &["config", "set", "-t", "t", "retention.ms=1000"],
        &["config", "describe", "-t", "t"],
        &["config", "delete", "-t", "t", "retention.ms"],
        &["config", "describe"],
        &["group", "reset-offsets", "g", "-t", "t", "--to-latest"],
        &[
            "group",
            "reset-offsets",
            "g",
            "-t=t",
            "--to-latest",
            "--execute",
        ],
        &["group", "list"],
        &["group", "describe", "g"],
        &["group", "delete-offsets", "g", "-t", "t:0"],
        &["group", "delete", "g"],
        &["cluster", "status"],
        &["topic", "delete", "t"],
    ] {
        let arguments = [arguments, &["-o", "json"]].concat();
        let out = dev.ok(&arguments, b"a line\n");
        let out = String::from_utf8(out).unwrap();
        assert!(!out.is_empty(), "{arguments:?}");
        for line in out.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            assert!(value.is_object(), "{arguments:?}: {line}");
        }
    }
    let bucket = format!("file://{}", folder.path().join("b").display());
    let checked = alone(&["bucket", "check", &bucket, "-o", "json"]);
    assert!(lines(&checked).len() > 1);
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = alone(&["completions", shell]);
        assert_eq!(code(&script), (Some(0), String::new()));
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("delete-config"), "{shell}");
    }
    let (exit, said) = code(&alone(&["completions", "tcsh"]));
    assert_eq!(exit, Some(2), "{said}");
}
