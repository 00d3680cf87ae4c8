//! What agents of a zone read from the bucket, and what crosses zones.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]

use std::collections::BTreeMap;

use aquifer_tests::{
    clients::Client,
    cluster::Cluster,
    history::read_log,
    records::{records_of, text_files, write_records},
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
    cluster.agents[0].connect().create_topic("zones", 6, &[]);
    let records = records_of(&text_files()[0], RECORDS);
    let input = folder.path().join("in");
    write_records(&input, &records);
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
    let all = |name: &str, label: &str| -> f64 {
        let agents = cluster.agents.iter();
        agents.map(|agent| agent.metric(name, label)).sum()
    };
    let total: u64 = gets.values().sum();
    let objects = u64::try_from(gets.len()).expect("few");
    assert!(total > 0, "zone b reads from the bucket: {gets:?}");
    let hedged = |operation: &str| -> f64 {
        let label = |outcome| format!("operation=\"{operation}\",outcome=\"{outcome}\"");
        let outcomes = ["won", "lost"].iter();
        outcomes
            .map(|outcome| all("aquifer_store_hedges_total", &label(outcome)))
            .sum()
    };
    let sent_twice = hedged("get") + hedged("get_range");
    // on a machine that stands still for 50 ms, an agent asks the bucket instead of its peer, and says so
    let passed_by = all("aquifer_cache_gets_total", "cause=\"peer_");
    println!(
        "{objects} objects, {total} GETs for two zones with two readers each; {:.0} hedged, {:.0} because a \
         peer was slow",
        sent_twice.abs(),
        passed_by.abs()
    );
    let explained = f64::from(u32::try_from(objects).expect("few")) + sent_twice + passed_by;
    assert!(
        f64::from(u32::try_from(total).expect("few")) <= explained,
        "zone b reads an object once, zone a never: {gets:?}"
    );
    let crossed = all("aquifer_client_bytes_total", "zone=\"other\"");
    let stayed = all("aquifer_client_bytes_total", "zone=\"same\"");
    assert!(stayed > 1e5, "clients' bytes are counted by zone: {stayed}");
    println!("bytes between zones, from clients: {:.0}", crossed.abs());
    assert!(crossed.abs() < 0.5, "nothing crosses zones: {crossed}");
    let refused = all("aquifer_peer_refused_total", "reason=\"zone\"");
    assert!(refused.abs() < 0.5, "nobody asks another zone: {refused}");
    for zone in cluster.agents.chunks(2) {
        let bytes = |direction: &str| -> f64 {
            let label = format!("direction=\"{direction}\"");
            let agents = zone.iter();
            agents
                .map(|agent| agent.metric("aquifer_peer_bytes_total", &label))
                .sum()
        };
        // Asked in this order, since both may grow.
        let received = bytes("received");
        let sent = bytes("sent");
        println!("the cache of a zone: {received:.0} bytes received, {sent:.0} sent");
        assert!(
            received <= sent,
            "what was received came from the own zone: {received} of {sent} bytes"
        );
    }
}
