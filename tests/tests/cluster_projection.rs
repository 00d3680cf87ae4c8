//! The SQL projection of a cluster: what its processes were asked to do is what queries see, whoever leads.

#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::time::{Duration, Instant};

use aquifer_tests::{
    batches::{PLAIN, batch},
    cluster::{Cluster, server},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// What is read of each topic.
const TOPICS: &str = "
    SELECT t.name, t.configs->>'retention.ms', COUNT(*), SUM(p.high_watermark), SUM(p.size_bytes) > 0
    FROM aquifer_projection.topics AS t JOIN aquifer_projection.partitions AS p USING (topic_id)
    GROUP BY 1, 2 ORDER BY 1";

/// Waits until a query of the projection has this result.
fn until(cluster: &Cluster, query: &str, expected: &str) {
    let database = &cluster.database.name;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = String::new();
    while Instant::now() < deadline {
        let there = "SELECT to_regclass('aquifer_projection.objects') IS NOT NULL";
        if cluster.postgres.sql(database, there) == "t" {
            seen = cluster.postgres.sql(database, query);
            if seen == expected {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{query}:\n{seen}\ninstead of:\n{expected}");
}

#[test]
fn queries_see_what_was_done_whoever_leads() {
    let mut cluster = Cluster::prepare(&[], 0, "none");
    let (database, bucket) = (cluster.database.url.clone(), cluster.s3.url());
    cluster.agents = ["a", "b"]
        .iter()
        .map(|zone| server(&format!("server {zone}"), zone, &database, &bucket))
        .collect();
    for one in &mut cluster.agents {
        one.process.argue("--sql-projection");
        one.process.argue("--sql-projection-interval=200ms");
        one.process.spawn();
    }
    for one in &mut cluster.agents {
        one.wait_ready();
    }
    let mut client = cluster.agents[0].connect();
    client.create_topic("orders", 3, &[("retention.ms", "3600000")]);
    client.create_topic("empty", 1, &[]);
    let (code, ..) = client.produce("orders", 1, batch(PLAIN, 10));
    assert_eq!(code, 0);
    until(&cluster, TOPICS, "empty||1|0|f\norders|3600000|3|10|t");
    let objects = "SELECT COUNT(*) > 0, MIN(extents) > 0 FROM aquifer_projection.objects";
    until(&cluster, objects, "t|t");
    drop(client);

    // The next leader takes the tables over.
    let term = "SELECT term FROM aquifer_projection.refresh";
    let before = cluster.postgres.sql(&cluster.database.name, term);
    let writes = |index: usize| {
        let name = "aquifer_metadata_projection_refreshes_total";
        cluster.agents[index].metric(name, "outcome=\"written\"") > 0.0
    };
    let leader = usize::from(!writes(0));
    assert!(writes(leader) && !writes(1 - leader), "only one leads");
    cluster.agents[leader].process.kill();
    let survivor = 1 - leader;
    let later = format!("SELECT term > {before} FROM aquifer_projection.refresh");
    until(&cluster, &later, "t");
    let mut client = cluster.agents[survivor].connect();
    let (code, ..) = client.produce("orders", 2, batch(PLAIN, 5));
    assert_eq!(code, 0);
    until(&cluster, TOPICS, "empty||1|0|f\norders|3600000|3|15|t");

    // No recovery reads them: without them it comes to the same.
    let drop_all = "BEGIN; LOCK TABLE aquifer_projection.refresh;
                    DROP SCHEMA aquifer_projection CASCADE; COMMIT";
    cluster.postgres.sql(&cluster.database.name, drop_all);
    let one = &mut cluster.agents[survivor];
    one.process.kill();
    one.start();
    let mut client = cluster.agents[survivor].connect();
    let (code, offset, _) = client.produce("orders", 2, batch(PLAIN, 1));
    assert_eq!((code, offset), (0, 5));
    until(&cluster, TOPICS, "empty||1|0|f\norders|3600000|3|16|t");
}
