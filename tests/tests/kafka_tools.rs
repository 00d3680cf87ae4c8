//! Apache Kafka's own tools do and print the same with Aquifer as with Apache Kafka: topics, configs, offsets, record
//! deletion, log folders, versions, features, quorum, reassignment, groups, consoles, performance tests. What remains different
//! is in `docs/kafka-differences.md` (patterns `tools CASE LINE`, where a line that only Kafka's tool prints begins with
//! `-`, one that only Aquifer's prints with `+`).
//!
//! `AQUIFER_TEST_CASES=CASE` (with `*`) runs some; cases use what those before them made.
//! `AQUIFER_TEST_SHOW=1` prints all that was run with Kafka.

#![allow(clippy::print_stdout, reason = "it shows what was asked for")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{collections::BTreeMap, path::Path, time::Instant};

use aquifer_tests::{
    broker::DevBroker,
    differences::{Difference, Selection, check},
    kafka::KafkaBroker,
    tools::{Outcome, Tools},
};
use tempfile::TempDir;

use cases::{Case, FILES, Output, cases};
use groups::Members;
use lines::{changes, normal};

#[path = "kafka_tools/cases.rs"]
mod cases;
#[path = "kafka_tools/groups.rs"]
mod groups;
#[path = "kafka_tools/lines.rs"]
mod lines;

#[test]
fn kafkas_tools_print_what_they_print_with_kafka() {
    let aquifer = DevBroker::start_like_kafka();
    let selection = Selection::from_environment();
    let mut cases = cases();
    cases.retain(|case| selection.has(case.name));
    let folder = TempDir::new().expect("a temporary folder");
    for (name, content) in FILES {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let begin = Instant::now();
    let (kafka, (ours, mut tools)) = std::thread::scope(|scope| {
        // Its node id is Aquifer's, so that lines need not be changed for it.
        let kafka = scope.spawn(|| KafkaBroker::start(0));
        let ours = scope.spawn(|| {
            let mut tools = Tools::start();
            set_what_kafka_sets(&mut tools, &aquifer.bootstrap());
            let ours = run(&mut tools, &aquifer.bootstrap(), folder.path(), &cases);
            (ours, tools)
        });
        let ours = ours.join().expect("the tools run with Aquifer");
        (kafka.join().expect("Kafka starts"), ours)
    });
    let theirs = run(&mut tools, &kafka.bootstrap(), folder.path(), &cases);
    println!("{} tools with each in {:?}", theirs.len(), begin.elapsed());
    let mut found = Vec::new();
    for case in &cases {
        let (theirs, ours) = (&theirs[case.name], &ours[case.name]);
        if std::env::var_os("AQUIFER_TEST_SHOW").is_some() {
            println!("{}:\n    {}", case.name, theirs.join("\n    "));
        }
        for what in changes(theirs, ours) {
            println!("{} {what}", case.name);
            found.push(Difference::new(case.name, what));
        }
    }
    check("tools", &found, selection.is_all());
}

/// Sets the one config that Kafka sets dynamically when a cluster is made: every description of a topic has it.
fn set_what_kafka_sets(tools: &mut Tools, bootstrap: &str) {
    let alter = ["--bootstrap-server", bootstrap, "--alter"];
    let what = ["--broker-defaults", "--add-config", "min.insync.replicas=1"];
    let outcome = tools.run("kafka-configs", &[alter, what].concat(), &[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// What each case prints with one broker, normalised, by name.
fn run(
    tools: &mut Tools,
    bootstrap: &str,
    folder: &Path,
    cases: &[Case],
) -> BTreeMap<&'static str, Vec<String>> {
    let folder = folder.display().to_string();
    let mut all = BTreeMap::new();
    let mut members = None;
    for case in cases {
        if case.name.starts_with("groups/") && members.is_none() {
            members = Some(Members::join(bootstrap));
        }
        let words = case.arguments.iter();
        let words: Vec<String> = words.map(|w| w.replace("{folder}", &folder)).collect();
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        // the sub-command of this one comes first, its options follow
        let at = usize::from(case.tool == "kafka-cluster");
        arguments.splice(at..at, ["--bootstrap-server", bootstrap]);
        let outcome = tools.run(case.tool, &arguments, &case.stdin);
        all.insert(case.name, printed(case, &outcome, bootstrap, &folder));
    }
    all
}

/// Everything that a tool said, line by line.
fn printed(case: &Case, outcome: &Outcome, bootstrap: &str, folder: &str) -> Vec<String> {
    let in_columns = bootstrap.replace(':', " ");
    let line = |line: &String| {
        let line = line
            .replace(bootstrap, "ADDRESS")
            .replace(&in_columns, "ADDRESS");
        normal(&line.replace(folder, ""), case.output)
    };
    let mut lines: Vec<String> = outcome.stdout.iter().map(line).collect();
    if matches!(case.output, Output::Verifiable | Output::Sorted) {
        // acknowledgements of several partitions, and groups, come in any order
        lines.sort();
    }
    let said = outcome.stderr.iter().filter(|line| !line.starts_with('\t'));
    lines.extend(said.map(|said| format!("stderr: {}", line(said))));
    // frames of stack traces say nothing about the broker
    lines.retain(|line| !line.trim_start().starts_with("at "));
    lines.push(format!("exit code {}", outcome.code));
    lines
}
