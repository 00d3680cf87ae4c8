//! What agents of a zone read from the bucket, and what crosses zones.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]

use std::collections::BTreeMap;

use aquifer_tests::{
    clients::Client,
    cluster::Cluster,
    history::read_log,
    records::{records_of, text_files},
    wire::Connection,
};

const RECORDS: usize = 2_000;

/// GETs per object of records, by the S3 server (the marker and tips are read at starts).
fn gets(cluster: &Cluster) -> BTreeMap<String, u64> {
    let keys = cluster.s3.counters().keys.into_iter();
    let objects = keys.filter(|(key, _)| key.contains("/l0-"));
    objects.map(|(key, count)| (key, count.gets)).collect()
}

#[test]
fn a_zone_reads_each_object_once_and_its_writer_never() {
    let cluster = Cluster::start(&["a", "a", "b", "b"], 1, "none");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let address = ([127, 0, 0, 1], cluster.agents[0].port).into();
    Connection::open(address).create_topic("zones", 6, &[]);
    let records = records_of(&text_files()[0], RECORDS);
    let input = folder.path().join("in");
    let lines: Vec<String> = records.iter().map(|r| r.line() + "\n").collect();
    std::fs::write(&input, lines.concat()).expect("a written file");
    let in_zone_a = [("client.id", "writer,zone=a"), ("test.rate", "1000")];
    let acks = folder.path().join("acks");
    let mut writer = Client::Python.produce(
        &cluster.bootstrap_in("a"),
        "zones",
        &input,
        &in_zone_a,
        &acks,
    );
    // Readers at the tail, two in each zone.
    let mut readers = Vec::new();
    for (index, zone) in ["a", "a", "b", "b"].into_iter().enumerate() {
        let out = folder.path().join(format!("reader-{index}.log"));
        let id = format!("reader,zone={zone}");
        let settings = [("client.id", id.as_str())];
        let reader = Client::Python.consume(
            &cluster.bootstrap_in(zone),
            "zones",
            RECORDS,
            &settings,
            &out,
        );
        readers.push((out, reader));
    }
    assert!(writer.wait().expect("it can be waited for").success());
    let mut logs = Vec::new();
    for (out, mut reader) in readers {
        assert!(reader.wait().expect("it can be waited for").success());
        logs.push(read_log(&out));
    }
    assert!(
        logs.iter().all(|log| log.len() == RECORDS),
        "everybody read everything"
    );
    assert!(logs.windows(2).all(|two| two[0] == two[1]), "and the same");
    let gets = gets(&cluster);
    let most = gets.values().max().copied().unwrap_or(0);
    let total: u64 = gets.values().sum();
    println!(
        "{} objects, {total} GETs for two zones with two readers each, at most {most} of one object",
        gets.len()
    );
    assert!(
        most <= 1,
        "zone b reads an object once, zone a never: {gets:?}"
    );
    let all = |name: &str, label: &str| -> f64 {
        let agents = cluster.agents.iter();
        agents.map(|agent| agent.metric(name, label)).sum()
    };
    let names = ["aquifer_client_bytes_total", "aquifer_peer_bytes_total"];
    let crossed: f64 = names.iter().map(|name| all(name, "zone=\"other\"")).sum();
    let stayed = all(names[0], "zone=\"same\"");
    assert!(stayed > 1e5, "clients' bytes are counted by zone: {stayed}");
    println!(
        "bytes between zones, from clients and cache: {:.0}",
        crossed.abs()
    );
    assert!(crossed.abs() < 0.5, "nothing crosses zones: {crossed}");
}
