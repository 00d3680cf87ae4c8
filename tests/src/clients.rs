//! Real clients as child processes: confluent-kafka (Python), the Apache Kafka Java client, kcat.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A client that the tests drive through the text format of `tests/clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// confluent-kafka, that is librdkafka.
    Python,
    /// org.apache.kafka:kafka-clients.
    Java,
}

/// Where `tests/run` put what the clients need.
///
/// # Panics
/// If they are not installed.
#[must_use]
pub fn dependencies() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the workspace");
    let folder = std::env::var_os("AQUIFER_TEST_DEPS")
        .map_or_else(|| root.join("target/test-deps"), PathBuf::from);
    assert!(
        folder.join("venv/bin/python").exists() && folder.join("classes/Client.class").exists(),
        "the test clients are not installed in {}: run tests/run --deps",
        folder.display()
    );
    folder
}

impl Client {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Python, Self::Java];

    fn command(self) -> Command {
        let deps = dependencies();
        match self {
            Self::Python => {
                let mut command = Command::new(deps.join("venv/bin/python"));
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/client.py"));
                command
            }
            Self::Java => {
                let mut command = Command::new("java");
                let jars = deps.join("jars/*");
                let classes = deps.join("classes");
                command
                    .arg("-cp")
                    .arg(format!("{}:{}", classes.display(), jars.display()));
                command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                command.arg("Client");
                command
            }
        }
    }

    fn run(self, arguments: &[&str], settings: &[(&str, &str)], out: &Path) -> Child {
        let errors = File::create(out.with_extension("err")).expect("an output file");
        self.command()
            .args(arguments)
            .args(
                settings
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .stdin(Stdio::null())
            .stdout(File::create(out).expect("an output file"))
            .stderr(errors)
            .spawn()
            .expect("the client can be started")
    }

    /// Starts producing the records in `file`; acknowledgements go to `out`.
    ///
    /// # Panics
    /// If the client cannot be started.
    #[must_use]
    pub fn produce(
        self,
        bootstrap: &str,
        topic: &str,
        file: &Path,
        settings: &[(&str, &str)],
        out: &Path,
    ) -> Child {
        self.run(
            &["produce", bootstrap, topic, &file.to_string_lossy()],
            settings,
            out,
        )
    }

    /// Starts consuming `count` records of all partitions from the beginning into `out`.
    ///
    /// # Panics
    /// If the client cannot be started.
    #[must_use]
    pub fn consume(
        self,
        bootstrap: &str,
        topic: &str,
        count: usize,
        settings: &[(&str, &str)],
        out: &Path,
    ) -> Child {
        self.run(
            &["consume", bootstrap, topic, &count.to_string()],
            settings,
            out,
        )
    }
}

/// Starts kcat producing each line of `file` as a value, idempotently, about 400 lines a second.
///
/// # Panics
/// If kcat cannot be started (it is a Debian package; `tests/run --deps` installs it).
#[must_use]
pub fn kcat_produce(bootstrap: &str, topic: &str, file: &Path, codec: &str, out: &Path) -> Child {
    let mut child = Command::new("kcat")
        // -E: without it kcat ends as soon as all its connections are down.
        .args(["-P", "-E", "-b", bootstrap, "-t", topic, "-z", codec])
        .args(["-X", "enable.idempotence=true"])
        .args(["-X", "message.timeout.ms=300000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(File::create(out).expect("an output file"))
        .spawn()
        .expect("kcat can be started (tests/run --deps installs it)");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let lines = std::fs::read(file).expect("kcat's input");
    std::thread::spawn(move || {
        for some in lines
            .split_inclusive(|&byte| byte == b'\n')
            .collect::<Vec<_>>()
            .chunks(20)
        {
            if stdin.write_all(&some.concat()).is_err() {
                break; // Its exit status says why.
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    child
}

/// Reads a topic with kcat from beginning to end: (partition, offset) -> value bytes.
///
/// # Panics
/// If kcat cannot be run or fails.
#[must_use]
pub fn kcat_read(bootstrap: &str, topic: &str) -> BTreeMap<(i32, i64), Vec<u8>> {
    let output = Command::new("kcat")
        .args([
            "-C",
            "-b",
            bootstrap,
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
        ])
        // %S is the value's length, so that values may contain anything.
        .args(["-f", "%p %o %S\n%s\n"])
        .stdin(Stdio::null())
        .output()
        .expect("kcat can be started (tests/run --deps installs it)");
    assert!(
        output.status.success(),
        "kcat: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut rest = output.stdout.as_slice();
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|b| *b == b'\n')
            .expect("a line with the sizes");
        let head = std::str::from_utf8(&rest[..end]).expect("digits");
        let numbers: Vec<i64> = head
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        let length = usize::try_from(numbers[2]).unwrap_or(0);
        let value = rest[end + 1..end + 1 + length].to_vec();
        found.insert(
            (i32::try_from(numbers[0]).expect("a partition"), numbers[1]),
            value,
        );
        rest = &rest[end + 1 + length + 1..];
    }
    found
}
