//! Apache Kafka's command line tools, run one after the other in one JVM (`tests/clients/Tools.java`).

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::clients::{SHORT_LIVED, class_path};

/// The tools by the names of their scripts.
const CLASSES: &[(&str, &str)] = &[
    ("kafka-acls", "org.apache.kafka.tools.AclCommand"),
    (
        "kafka-broker-api-versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
    ),
    (
        "kafka-client-metrics",
        "org.apache.kafka.tools.ClientMetricsCommand",
    ),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    (
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    (
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
    ),
    (
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    (
        "kafka-consumer-perf-test",
        "org.apache.kafka.tools.ConsumerPerformance",
    ),
    (
        "kafka-delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
    ),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    (
        "kafka-leader-election",
        "org.apache.kafka.tools.LeaderElectionCommand",
    ),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    (
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
    ),
    (
        "kafka-producer-perf-test",
        "org.apache.kafka.tools.ProducerPerformance",
    ),
    (
        "kafka-reassign-partitions",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    ),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    (
        "kafka-transactions",
        "org.apache.kafka.tools.TransactionsCommand",
    ),
    (
        "kafka-verifiable-producer",
        "org.apache.kafka.tools.VerifiableProducer",
    ),
];

/// Seconds that one tool may take.
const PATIENCE: u32 = 30;

/// What a tool did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// Lines that it wrote to stdout.
    pub stdout: Vec<String>,
    /// Lines that it wrote to stderr; the log, which goes there too, is off.
    pub stderr: Vec<String>,
}

/// The JVM that runs them.
#[derive(Debug)]
pub struct Tools {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Tools {
    /// Starts it.
    ///
    /// # Panics
    /// If java cannot be started.
    #[must_use]
    pub fn start() -> Self {
        let mut child = Command::new("java")
            .args(["-cp", &class_path()])
            .args(SHORT_LIVED)
            .args(["--add-opens", "java.base/java.lang=ALL-UNNAMED"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off")
            .arg("Tools")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java can be started (tests/run --deps installs it)");
        let commands = child.stdin.take().expect("its input is a pipe");
        let stdout = child.stdout.take().expect("its output is a pipe");
        Self {
            child,
            commands,
            answers: BufReader::new(stdout).lines(),
        }
    }

    /// Runs a tool, named as its script is, with lines on its stdin.
    ///
    /// # Panics
    /// If there is no such tool, or it doesn't end within 30 s.
    pub fn run(&mut self, tool: &str, arguments: &[&str], stdin: &[&str]) -> Outcome {
        let found = CLASSES.iter().find(|(name, _)| *name == tool);
        let (_, class) = found.unwrap_or_else(|| panic!("no tool is called {tool}"));
        let mut command = String::new();
        for line in stdin {
            command.push_str(&format!("< {line}\n"));
        }
        command.push_str(&format!("{PATIENCE}\t{class}"));
        for argument in arguments {
            assert!(!argument.contains(['\t', '\n']), "{argument:?}");
            command.push('\t');
            command.push_str(argument);
        }
        command.push('\n');
        self.commands
            .write_all(command.as_bytes())
            .expect("the JVM lives");
        self.outcome(&format!("{tool} {}", arguments.join(" ")))
    }

    fn outcome(&mut self, what: &str) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let line = self.answers.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("the JVM died while it ran {what}"));
            match line.split_at_checked(2) {
                Some(("1 ", text)) => stdout.push(text.to_owned()),
                Some(("2 ", text)) => stderr.push(text.to_owned()),
                Some(("= ", code)) => {
                    let code = code.parse().unwrap_or_else(|_| {
                        panic!("{what} ended with {code}: {stdout:#?} {stderr:#?}")
                    });
                    return Outcome {
                        code,
                        stdout,
                        stderr,
                    };
                }
                _ => panic!("{what}: the JVM said {line:?}"),
            }
        }
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
