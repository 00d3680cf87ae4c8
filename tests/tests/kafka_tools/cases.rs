//! What is run: the lines of `cases.txt`, and the files that they name.

/// How an output is made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Text with ids, addresses and times.
    Plain,
    /// The same in any order.
    Sorted,
    /// Rates and latencies.
    Measured,
    /// The rows of kafka-consumer-perf-test.
    ConsumerRate,
    /// Offsets and epochs of the metadata quorum.
    Quorum,
    /// Features with the epoch in which they were changed.
    Features,
    /// Lines of JSON.
    Json,
    /// Lines of JSON in any order.
    Verifiable,
}

/// One run of a tool.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// The tool's script.
    pub(crate) tool: &'static str,
    /// How its output is read.
    pub(crate) output: Output,
    /// Arguments behind the address.
    pub(crate) arguments: Vec<&'static str>,
    /// Lines on its stdin.
    pub(crate) stdin: Vec<&'static str>,
}

/// All of them, in the order in which they are run.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for line in include_str!("cases.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(text) = line.strip_prefix("< ") {
            all.last_mut()
                .expect("stdin follows its case")
                .stdin
                .push(text);
            continue;
        }
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a name, a tool, a kind of output");
        let (name, tool, output) = (word(), word(), output(word()));
        assert!(
            all.iter().all(|case| case.name != name),
            "{name} is there twice"
        );
        all.push(Case {
            name,
            tool,
            output,
            arguments: words.collect(),
            stdin: Vec::new(),
        });
    }
    all
}

fn output(name: &str) -> Output {
    match name {
        "plain" => Output::Plain,
        "sorted" => Output::Sorted,
        "measured" => Output::Measured,
        "consumer-rate" => Output::ConsumerRate,
        "quorum" => Output::Quorum,
        "features" => Output::Features,
        "json" => Output::Json,
        "verifiable" => Output::Verifiable,
        other => panic!("no output is read as {other}"),
    }
}

/// Files that arguments name.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("added", "retention.bytes=123456\nflush.messages=10\n"),
    (
        "delete-two",
        r#"{"partitions":[{"topic":"plain","partition":0,"offset":2}],"version":1}"#,
    ),
    (
        "delete-all",
        r#"{"partitions":[{"topic":"plain","partition":0,"offset":-1}],"version":1}"#,
    ),
    (
        "delete-beyond",
        r#"{"partitions":[{"topic":"plain","partition":0,"offset":99}],"version":1}"#,
    ),
    (
        "delete-below",
        r#"{"partitions":[{"topic":"plain","partition":0,"offset":-2}],"version":1}"#,
    ),
    ("topics", r#"{"version":1,"topics":[{"topic":"made"}]}"#),
    (
        "here",
        r#"{"version":1,"partitions":[{"topic":"made","partition":0,"replicas":[0]}]}"#,
    ),
    (
        "nowhere",
        r#"{"version":1,"partitions":[{"topic":"made","partition":0,"replicas":[9]}]}"#,
    ),
    (
        "elected",
        r#"{"partitions":[{"topic":"made","partition":0},{"topic":"made","partition":99}]}"#,
    ),
];
