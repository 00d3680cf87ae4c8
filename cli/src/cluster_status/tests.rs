use kafka_protocol::messages::{
    BrokerId, TopicName,
    describe_cluster_response::DescribeClusterBroker,
    metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
};

use super::*;
use crate::{arguments::OutputForm, protocol::string};

fn broker(id: i32, port: i32, zone: Option<&str>) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(BrokerId(id))
        .with_host(string("127.0.0.1"))
        .with_port(port)
        .with_rack(zone.map(string))
}

fn described(controller: i32, brokers: Vec<DescribeClusterBroker>) -> Report {
    let cluster = DescribeClusterResponse::default()
        .with_cluster_id(string("c"))
        .with_controller_id(BrokerId(controller))
        .with_brokers(brokers);
    let mut report = Report::default();
    report.describe(&cluster, Duration::from_secs(5));
    report
}

#[test]
fn nodes_that_do_not_answer_make_a_cluster_unhealthy() {
    // Port 1 is nobody's.
    let report = described(16, vec![broker(32, 1, Some("b")), broker(16, 1, Some("a"))]);
    let cells: Vec<&str> = report
        .nodes
        .iter()
        .map(|node| node.cells[0].as_str())
        .collect();
    assert_eq!(cells, ["16", "32"]);
    assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    assert!(
        report.problems[0].contains("node 16 at 127.0.0.1:1"),
        "{:?}",
        report.problems
    );
    assert_eq!(report.json["zones"], json!(["a", "b"]));
}

#[test]
fn a_cluster_without_nodes_or_controller_is_unhealthy() {
    assert_eq!(described(-1, Vec::new()).problems, ["no agent is there"]);
    let problems = described(7, vec![broker(16, 1, None)]).problems;
    assert_eq!(problems[0], "there is no controller");
}

fn topic(name: &str, leaders: &[i32]) -> MetadataResponseTopic {
    let partitions = leaders
        .iter()
        .map(|leader| MetadataResponsePartition::default().with_leader_id(BrokerId(*leader)));
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(string(name))))
        .with_partitions(partitions.collect())
}

#[test]
fn partitions_without_a_leader_are_counted() {
    let mut report = Report::default();
    let topics = vec![topic("a", &[1, 2]), topic("b", &[1, -1, -1])];
    report.count_topics(&MetadataResponse::default().with_topics(topics));
    assert_eq!(report.json["topics"], 2);
    assert_eq!(report.json["partitions"], 5);
    assert_eq!(report.json["partitions_without_leader"], 2);
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].contains("b among them"),
        "{:?}",
        report.problems
    );
}

#[test]
fn machines_get_one_object() {
    let mut report = described(16, vec![broker(16, 1, None)]);
    report.count_topics(&MetadataResponse::default());
    for form in [OutputForm::Json, OutputForm::Text] {
        let mut out = Vec::new();
        report.print(&mut Printer::new(form, &mut out)).unwrap();
        let out = String::from_utf8(out).unwrap();
        if form == OutputForm::Json {
            let json: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(json["healthy"], false);
            assert_eq!(json["nodes"][0]["node"], 16);
            assert_eq!(json["nodes"][0]["controller"], true);
        } else {
            assert!(out.contains("healthy"), "{out}");
            assert!(out.contains("NODE"), "{out}");
        }
    }
}
