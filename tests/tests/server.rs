//! `aquifer server`: several of them on one database and bucket are a cluster; and what operators ask of its
//! metadata.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{process::Command, time::Duration};

use aquifer_tests::{
    clients::Client,
    cluster::{Cluster, ENVIRONMENT, server},
    load::Load,
    process::binary,
};

#[test]
fn two_servers_on_one_database_are_a_cluster() {
    let mut cluster = Cluster::prepare(&[], 0, "none");
    let (good, said) = cluster.metadata_command("status", true, &[]);
    assert!(!good && said.contains("aquifer metadata migrate"), "{said}");
    for _ in 0..2 {
        let (good, said) = cluster.metadata_command("migrate", false, &[]);
        assert!(good && said.contains("version"), "{said}");
    }
    let (good, said) = cluster.metadata_command("status", true, &[]);
    assert!(good && said.contains("the database is empty"), "{said}");

    let (database, bucket) = (cluster.database.url.clone(), cluster.s3.url());
    cluster.agents = ["a", "b"]
        .iter()
        .map(|zone| server(&format!("server {zone}"), zone, &database, &bucket))
        .collect();
    for one in &mut cluster.agents {
        one.process.spawn();
    }
    for one in &mut cluster.agents {
        one.wait_ready();
    }
    let clients = [(Client::Python, "a"), (Client::Java, "b")];
    let load = Load::start(&cluster, "server", &clients, 15, &[]);
    for index in [0, 1] {
        std::thread::sleep(Duration::from_secs(3));
        let one = &mut cluster.agents[index];
        if index == 0 {
            one.process.kill();
        } else {
            assert_eq!(one.process.terminate(), Some(0), "it drains");
        }
        one.start();
    }
    let _ = load.check(&cluster);

    let (good, said) = cluster.metadata_command("status", true, &["-o", "json"]);
    assert!(good, "{said}");
    let status: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(status["problem"], serde_json::Value::Null);
    assert_eq!(status["topics"], 2);
    assert_eq!(status["partitions"], 6);
    assert!(status["lease"]["endpoint"].is_string(), "{said}");
    let (good, said) = cluster.metadata_command("accept-loss", true, &[]);
    assert!(
        !good && (said.contains("leads") || said.contains("nothing is missing")),
        "{said}"
    );
}

#[test]
fn wrong_settings_are_refused_with_what_to_do() {
    let cluster = Cluster::prepare(&[], 0, "none");
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = Command::new(binary("aquifer"))
            .args(arguments)
            .env_remove("AQUIFER_CLUSTER_SECRET")
            .envs(environment.iter().copied())
            .output()
            .expect("the binary can be run");
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (database, bucket) = (cluster.database.url.as_str(), cluster.s3.url());
    let both = ["--postgres", database, "--bucket", &bucket];
    let said = run(&[&["metadata"], &both[..]].concat(), &[]);
    assert!(said.contains("--cluster-secret"), "{said}");
    let said = run(&["metadata"], &ENVIRONMENT);
    assert!(said.contains("--postgres"), "{said}");
    let unknown = ["metadata", "--postgres", "nonsense", "--bucket", &bucket];
    let listen = ["--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"];
    let said = run(&[&unknown[..], &listen].concat(), &ENVIRONMENT);
    assert!(said.contains("postgres://"), "{said}");
    let agent = ["agent", "--bucket", &bucket];
    let said = run(&agent, &ENVIRONMENT);
    assert!(said.contains("--metadata"), "{said}");
    let nowhere = ["agent", "--metadata", "not an address", "--bucket", &bucket];
    let said = run(&nowhere, &ENVIRONMENT);
    assert!(said.contains("not an address"), "{said}");
}

#[test]
fn regression_a_server_whose_agent_cannot_start_gives_the_lease_up() {
    let cluster = Cluster::prepare(&[], 0, "none");
    let (database, bucket) = (&cluster.database, cluster.s3.url());
    let zone = "z".repeat(300);
    let mut one = server("server in no zone", &zone, &database.url, &bucket);
    one.process.spawn();
    assert_eq!(one.process.ended(), Some(1));
    let log = one.process.log().join("\n");
    assert!(log.contains("the zone is too long"), "{log}");
    let lease = "SELECT term > 0, holder FROM leases";
    let lease = cluster.postgres.sql(&database.name, lease);
    assert_eq!(lease.trim(), "t|", "it led, and nobody does");
}
