//! Real clients as child processes: confluent-kafka (Python), the Apache Kafka Java client, kafkajs,
//! @platformatic/kafka, kcat.

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
    /// kafkajs.
    Kafkajs,
    /// @platformatic/kafka.
    Platformatic,
}

/// The JavaScript engine, in the folder of the test clients.
const NODE: &str = "node/node_modules/.bin/node";

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
        ["venv/bin/python", "classes/Members.class", NODE]
            .iter()
            .all(|file| folder.join(file).exists()),
        "the test clients are not installed in {}: run tests/run --deps",
        folder.display()
    );
    folder
}

/// What a JVM runs faster with if it lives for seconds, and with less memory.
pub const SHORT_LIVED: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The class path of everything in Java: our own classes, then Apache Kafka's jars.
#[must_use]
pub fn class_path() -> String {
    let deps = dependencies();
    format!(
        "{}:{}",
        deps.join("classes").display(),
        deps.join("jars/*").display()
    )
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// A script of `tests/clients` in the Python that has the clients.
pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new(dependencies().join("venv/bin/python"));
    command.arg(script(name));
    command
}

/// A script of `tests/clients` in JavaScript.
pub(crate) fn node(name: &str) -> Command {
    let folder = dependencies();
    let mut command = Command::new(folder.join(NODE));
    command.arg(script(name)).env("AQUIFER_TEST_DEPS", folder);
    command
}

impl Client {
    /// Those that keep on trying, whatever happens to the brokers.
    pub const ALL: [Self; 2] = [Self::Python, Self::Java];

    fn command(self) -> Command {
        match self {
            Self::Python => python("client.py"),
            Self::Kafkajs => node("kafkajs.mjs"),
            Self::Platformatic => node("platformatic.mjs"),
            Self::Java => {
                let mut command = Command::new("java");
                command.args(["-cp", &class_path()]).args(SHORT_LIVED);
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

/// Makes the admin calls of a client, and returns a line `CASE JSON` for each.
///
/// # Panics
/// If the client has none or fails.
#[must_use]
pub fn administer(client: Client, bootstrap: &str) -> Vec<String> {
    let mut command = match client {
        Client::Python => python("admin.py"),
        Client::Java => panic!("kafka_tools.rs makes Java's calls"),
        Client::Kafkajs | Client::Platformatic => {
            let mut command = client.command();
            command.arg("admin");
            command
        }
    };
    let output = command
        .arg(bootstrap)
        .stdin(Stdio::null())
        .output()
        .expect("the client can be started");
    assert!(
        output.status.success(),
        "{client:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
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
