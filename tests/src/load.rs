//! Real producers under way while something happens to the cluster, and what must be true afterwards.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Child,
};

use tempfile::TempDir;

use crate::{
    clients::Client,
    cluster::Cluster,
    gaps::{Gap, GapWatch, longest},
    history::{Acks, Log, check_one_producer, read_acks, read_log},
    records::{TestRecord, records_of, text_files, write_records},
};

/// Records a second of each producer.
pub const RATE: usize = 100;
/// Partitions of each producer's topic.
const PARTITIONS: i32 = 3;

/// One producer and what it was told to send.
#[derive(Debug)]
pub struct Run {
    /// Client and position.
    pub name: String,
    /// Its topic, which nobody else writes.
    pub topic: String,
    /// Its records.
    pub records: Vec<TestRecord>,
    acks: PathBuf,
    child: Child,
    gaps: GapWatch,
}

/// Idempotent producers with stock settings, each at [`RATE`].
#[derive(Debug)]
pub struct Load {
    folder: TempDir,
    /// The producers.
    pub runs: Vec<Run>,
}

/// What a producer went through.
#[derive(Debug)]
pub struct Endured {
    /// Its name.
    pub name: String,
    /// Times without an acknowledgement.
    pub gaps: Vec<Gap>,
}

impl Load {
    /// Starts a producer per entry: the client and the zone that it names ("" = none). Each sends for
    /// about `seconds`; `settings` are the clients' own.
    ///
    /// # Panics
    /// If no agent takes a topic, or a client cannot be started.
    #[must_use]
    pub fn start(
        cluster: &Cluster,
        name: &str,
        clients: &[(Client, &str)],
        seconds: u64,
        settings: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let files = text_files();
        let count = RATE * usize::try_from(seconds).expect("a short test");
        let mut runs = Vec::new();
        for (position, (client, zone)) in clients.iter().enumerate() {
            let name = format!("{name}-{client:?}-{position}");
            let agent = &cluster.agents[position % cluster.agents.len()];
            agent.connect().create_topic(&name, PARTITIONS, &[]);
            let records = records_of(&files[position % files.len()], count);
            let input = folder.path().join(format!("{name}.in"));
            write_records(&input, &records);
            let acks = folder.path().join(format!("{name}.acks"));
            let client_id = format!("{name},zone={zone}");
            let rate = RATE.to_string();
            let mut all = vec![("client.id", client_id.as_str()), ("test.rate", &rate)];
            all.extend(settings);
            let child = client.produce(&cluster.bootstrap(), &name, &input, &all, &acks);
            runs.push(Run {
                gaps: GapWatch::start(&acks),
                topic: name.clone(),
                name,
                records,
                acks,
                child,
            });
        }
        Self { folder, runs }
    }

    /// How many records were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let lines = |run: &Run| std::fs::read_to_string(&run.acks).map_or(0, |t| t.lines().count());
        self.runs.iter().map(lines).sum()
    }

    /// Of each producer: how many records from the first on are acknowledged without a gap. A partition
    /// that is stuck holds it, whatever the others do.
    #[must_use]
    pub fn settled(&self) -> Vec<usize> {
        self.runs.iter().map(|run| settled(&run.acks)).collect()
    }

    /// Waits for the producers' end and checks everything: all is acknowledged, nothing is lost, doubled
    /// or reordered, and both clients read the same.
    ///
    /// # Panics
    /// If any of this does not hold.
    #[must_use]
    pub fn check(self, cluster: &Cluster) -> Vec<Endured> {
        let folder = self.folder;
        let check = |run| check(cluster, folder.path(), run);
        self.runs.into_iter().map(check).collect()
    }

    /// Kills the producers and returns what each was told until then.
    ///
    /// # Panics
    /// If a producer cannot be waited for.
    #[must_use]
    pub fn abandon(mut self) -> Vec<(String, Vec<TestRecord>, Acks)> {
        for run in &mut self.runs {
            // it may have given up by itself
            run.child.kill().ok();
            run.child.wait().expect("a child can be waited for");
        }
        let told = |run: Run| {
            let acks = read_whole_acks(&run.acks);
            (run.topic, run.records, acks)
        };
        self.runs.into_iter().map(told).collect()
    }
}

/// The length of the unbroken row of acknowledged records.
fn settled(acks: &Path) -> usize {
    let text = std::fs::read_to_string(acks).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let index = |line: &str| line.split(' ').next().and_then(|first| first.parse().ok());
    let acknowledged: BTreeSet<usize> = whole.lines().filter_map(index).collect();
    (0..)
        .take_while(|index| acknowledged.contains(index))
        .count()
}

/// The last line may be half of one: its writer was killed.
fn read_whole_acks(file: &Path) -> Acks {
    let text = std::fs::read_to_string(file).expect("a producer's output");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    std::fs::write(file, whole).expect("a written file");
    read_acks(file)
}

/// Reads a topic from the beginning: `count` records.
///
/// # Panics
/// If the client fails.
#[must_use]
pub fn read_topic(
    client: Client,
    cluster: &Cluster,
    topic: &str,
    count: usize,
    settings: &[(&str, &str)],
    folder: &Path,
) -> Log {
    let out = folder.join(format!("{topic}-{client:?}.log"));
    let mut reader = client.consume(&cluster.bootstrap(), topic, count, settings, &out);
    let status = reader.wait().expect("a child can be waited for");
    let said = std::fs::read_to_string(out.with_extension("err")).unwrap_or_default();
    assert!(
        status.success(),
        "{topic}: a reader ended with {status}: {said}"
    );
    read_log(&out)
}

fn check(cluster: &Cluster, folder: &Path, mut run: Run) -> Endured {
    let status = run.child.wait().expect("a child can be waited for");
    let said = std::fs::read_to_string(run.acks.with_extension("err")).unwrap_or_default();
    assert!(
        status.success(),
        "{} ended with {status}: {said}\n{:?}",
        run.name,
        read_whole_acks(&run.acks).failed
    );
    let lower = said.to_lowercase();
    assert!(
        !lower.contains("out of order") && !lower.contains("outofordersequence"),
        "{}: {said}",
        run.name
    );
    let acks = read_acks(&run.acks);
    assert_eq!(acks.acked.len(), run.records.len(), "{}", run.name);
    let count = run.records.len();
    let logs = Client::ALL.map(|c| read_topic(c, cluster, &run.topic, count, &[], folder));
    assert_eq!(logs[0], logs[1], "{}: both clients read the same", run.name);
    let mut connection = cluster.agents[0].connect();
    let ends = (0..PARTITIONS).map(|index| connection.end_offset(&run.topic, index));
    assert_eq!(
        ends.sum::<i64>(),
        i64::try_from(count).expect("few"),
        "{}: nothing stands behind what was read",
        run.name
    );
    check_one_producer(&run.name, &run.records, &acks, &logs[0]);
    let gaps = run.gaps.end();
    println!(
        "{}: {count} records, longest time without an acknowledgement {:.2?}",
        run.name,
        longest(&gaps)
    );
    Endured {
        name: run.name,
        gaps,
    }
}
