//! The database is gone, and the cluster comes back from its bucket.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aquifer_format::{batch::BatchBuilder, codec::Codec, record};
use aquifer_tests::{
    batches::now,
    cluster::{Cluster, metadata_process_behind},
    compactor::{compactor, configure, prepare},
    fetch::{Ask, batches},
    wire::Connection,
};
use serde_json::Value;

const TOPIC: &str = "kept";
const PARTITIONS: i32 = 2;
/// Time between two backups.
const BACKUPS: Duration = Duration::from_secs(1);
/// What a metadata process may take to lead, or an agent to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was acknowledged: partition and offset -> value.
type Acked = BTreeMap<(i32, i64), String>;

/// Writes so many records to each partition, an object for each.
fn write(connection: &mut Connection, what: &str, count: usize, acked: &mut Acked) {
    for nth in 0..count {
        for partition in 0..PARTITIONS {
            let value = format!("{what} {nth} of partition {partition}");
            let mut builder = BatchBuilder::new(Codec::None);
            builder.append(now(), None, Some(value.as_bytes()), &[]);
            let batch = builder.build().expect("a small batch").bytes;
            let (error, offset, _) = connection.produce(TOPIC, partition, batch);
            assert_eq!(error, 0, "{value}");
            acked.insert((partition, offset), value);
        }
    }
}

/// The records of a partition from an offset to another one.
fn read(connection: &mut Connection, partition: i32, from: i64, to: i64) -> Acked {
    let mut found = Acked::new();
    let mut position = from;
    let deadline = Instant::now() + PATIENCE;
    while position < to {
        assert!(
            Instant::now() < deadline,
            "{partition}: {position} of {from} to {to}"
        );
        let data = connection.fetch(TOPIC, partition, position, Ask::default());
        assert_eq!(data.error_code, 0, "{TOPIC}-{partition} at {position}");
        for batch in batches(&data) {
            for record in record::records(&batch, 1 << 20).expect("records") {
                let record = record.expect("a readable record");
                let offset = batch.header.base_offset.0 + i64::from(record.offset_delta);
                let value = record.value.unwrap_or_default().to_vec();
                if (position..to).contains(&offset) {
                    found.insert((partition, offset), String::from_utf8(value).expect("text"));
                }
            }
            position = position.max(batch.header.last_offset().0 + 1);
        }
    }
    found
}

/// Waits until as many backups more were written.
fn wait_for_backups(cluster: &Cluster, count: f64) {
    let leader = cluster.leader().expect("somebody leads");
    let written = || {
        let metadata = &cluster.metadata[leader];
        metadata.metric("aquifer_backups_total", "outcome=\"written\"")
    };
    let (before, deadline) = (written(), Instant::now() + PATIENCE);
    while written() < before + count {
        assert!(Instant::now() < deadline, "no backups are written");
        std::thread::sleep(BACKUPS / 10);
    }
}

/// Restores into the cluster's database; its report.
fn restore(cluster: &Cluster) -> Value {
    let (restored, said) = cluster.metadata_command("restore", true, &["-o", "json"]);
    assert!(restored, "{said}");
    let report = said
        .lines()
        .find_map(|line| serde_json::from_str(line).ok());
    report.unwrap_or_else(|| panic!("a report: {said}"))
}

#[test]
fn a_cluster_comes_back_from_its_bucket_after_its_database_is_gone() {
    let mut cluster = prepare(&["a"], 1, &[]);
    cluster.start_all();
    let mut worker = compactor(&cluster, "compactor");
    worker.start();
    let mut connection = cluster.agents[0].connect();
    connection.create_topic(TOPIC, PARTITIONS, &[]);
    let mut acked = Acked::new();
    // Some of it is merged, and all of it is in a backup: the second that ends from now on was begun from now on.
    write(&mut connection, "old record", 60, &mut acked);
    wait_for_backups(&cluster, 2.0);
    let in_backup = acked.clone();
    write(&mut connection, "new record", 5, &mut acked);
    cluster.metadata[0].process.kill();

    // Into a database that has something nothing is restored.
    let (restored, said) = cluster.metadata_command("restore", true, &[]);
    assert!(!restored && said.contains("not empty"), "{said}");
    cluster.database = cluster.postgres.create_database();
    let report = restore(&cluster);
    println!("{report}");
    assert_eq!(report["missing"], serde_json::json!([]), "{report}");
    assert_eq!(report["lost"], serde_json::json!([]), "{report}");

    // The same address, another database.
    let port = cluster.metadata[0].port;
    let mut metadata = metadata_process_behind(
        "restored metadata",
        &cluster.database.url,
        &cluster.s3.url(),
        port,
        port,
    );
    configure(&mut metadata, &[]);
    metadata.process.spawn();
    cluster.metadata[0] = metadata;
    cluster.wait_for_leader();
    cluster.agents[0].wait_ready();

    let mut connection = cluster.agents[0].connect();
    let mut goes_on = BTreeMap::new();
    for partition in report["partitions"].as_array().expect("partitions") {
        let offset = |name: &str| partition[name].as_i64().expect("an offset");
        let index = i32::try_from(offset("partition")).expect("an index");
        assert_eq!(partition["topic"], TOPIC);
        let vouched = offset("vouched");
        assert_eq!(offset("log_start"), 0);
        assert!(offset("backup") <= vouched && vouched <= offset("goes_on_at"));
        let of = |all: &Acked| -> Acked {
            let range = all.range((index, 0)..(index + 1, 0));
            range
                .map(|(place, value)| (*place, value.clone()))
                .collect()
        };
        let known = of(&in_backup);
        let known_end = known.keys().map(|(_, offset)| offset + 1).max();
        assert!(
            known_end <= Some(vouched),
            "{index}: {vouched} is vouched for"
        );
        let mut expected = of(&acked);
        expected.retain(|(_, offset), _| *offset < vouched);
        assert_eq!(read(&mut connection, index, 0, vouched), expected);
        goes_on.insert(index, offset("goes_on_at"));
    }
    assert_eq!(goes_on.len(), 2, "{report}");

    // It goes on, above everything that anybody was told, and is compacted as before.
    let mut more = Acked::new();
    write(&mut connection, "later record", 20, &mut more);
    for (index, from) in goes_on {
        let offsets = more.keys().filter(|(partition, _)| *partition == index);
        let offsets: Vec<i64> = offsets.map(|(_, offset)| *offset).collect();
        assert!(offsets.iter().all(|offset| *offset >= from), "{offsets:?}");
        let told = acked.keys().filter(|(partition, _)| *partition == index);
        let told = told.map(|(_, offset)| *offset).max();
        assert!(
            offsets.first().copied() > told,
            "{offsets:?} after {told:?}"
        );
        let first = offsets.first().copied().expect("records were written");
        let end = connection.end_offset(TOPIC, index);
        let found = read(&mut connection, index, first, end);
        let written = more
            .iter()
            .filter(|((partition, _), _)| *partition == index);
        let written: Acked = written
            .map(|(place, value)| (*place, value.clone()))
            .collect();
        assert_eq!(found, written);
    }
    let deadline = Instant::now() + PATIENCE;
    let done = || {
        let metadata = &cluster.metadata[0];
        metadata.metric("aquifer_compaction_ranges_total", "outcome=\"done\"")
    };
    while done() < 1.0 {
        assert!(Instant::now() < deadline, "nothing is merged any more");
        std::thread::sleep(Duration::from_millis(200));
    }
}
