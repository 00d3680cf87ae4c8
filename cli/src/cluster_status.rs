//! `aquifer cluster status`: whether a cluster is healthy, as its clients and its operators see it.

use std::{thread, time::Duration};

use anyhow::{Result, bail};
use kafka_protocol::messages::{
    DescribeClusterRequest, MetadataRequest, MetadataResponse,
    describe_cluster_response::DescribeClusterResponse,
};
use serde_json::{Map, Value, json};

use crate::{
    address::authority,
    arguments::status::{Cluster, ClusterAction, ClusterStatus},
    output::{Column, Printer, Record, number, text},
    protocol::{Connection, refusal},
};

mod metadata;

/// Nodes that are asked at the same time whether they answer.
const ASKED_AT_ONCE: usize = 32;

/// Runs the command.
pub(crate) fn run(cluster: &Cluster) -> Result<()> {
    let ClusterAction::Status(arguments) = &cluster.action;
    let mut report = Report::default();
    report.ask_cluster(arguments);
    metadata::ask(arguments, &mut report)?;
    report.print(&mut Printer::stdout(arguments.output))?;
    match report.problems.as_slice() {
        [] => Ok(()),
        problems => bail!("the cluster is not healthy: {}", problems.join("; ")),
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Report {
    /// The cluster that brokers name.
    cluster: Option<String>,
    /// Lines for people.
    facts: Vec<(&'static str, String)>,
    /// Fields for machines.
    json: Map<String, Value>,
    nodes: Vec<Record>,
    /// Metadata processes.
    processes: Vec<Record>,
    /// Why the cluster is not healthy.
    problems: Vec<String>,
}

impl Report {
    fn fact(&mut self, name: &'static str, shown: String) {
        self.facts.push((name, shown));
    }

    fn field(&mut self, name: &str, value: Value) {
        self.json.insert(name.to_owned(), value);
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Asks as any client does. That nobody answers is a finding too: what else can be asked is asked.
    fn ask_cluster(&mut self, arguments: &ClusterStatus) {
        if let Err(error) = self.try_ask_cluster(arguments) {
            self.problem(format!("{error:#}"));
        }
    }

    fn try_ask_cluster(&mut self, arguments: &ClusterStatus) -> Result<()> {
        let mut connection = Connection::open(&arguments.bootstrap)?;
        let cluster = connection.call(&DescribeClusterRequest::default(), 0..=1)?;
        refusal(cluster.error_code, cluster.error_message.as_ref()).map_or(Ok(()), Err)?;
        self.describe(&cluster, arguments.bootstrap.timeout.0);
        let all = MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(false);
        self.count_topics(&connection.call(&all, 4..=12)?);
        Ok(())
    }

    fn describe(&mut self, cluster: &DescribeClusterResponse, timeout: Duration) {
        let id = cluster.cluster_id.to_string();
        let controller = cluster.controller_id.0;
        self.fact("cluster", id.clone());
        self.fact("controller", format!("node {controller}"));
        self.field("cluster", json!(id));
        self.field("controller", json!(controller));
        self.cluster = Some(id);
        let mut nodes: Vec<Node> = cluster
            .brokers
            .iter()
            .map(|node| Node {
                id: node.broker_id.0,
                address: authority(&node.host, u16::try_from(node.port).unwrap_or_default()),
                zone: node.rack.as_ref().map(|rack| rack.to_string()),
            })
            .collect();
        nodes.sort_unstable_by_key(|node| node.id);
        let mut zones: Vec<&str> = nodes
            .iter()
            .filter_map(|node| node.zone.as_deref())
            .collect();
        zones.sort_unstable();
        zones.dedup();
        self.fact(
            "zones",
            if zones.is_empty() {
                "none".to_owned()
            } else {
                zones.join(", ")
            },
        );
        self.field("zones", json!(zones));
        if nodes.is_empty() {
            self.problem("no agent is there".to_owned());
        } else if nodes.iter().all(|node| node.id != controller) {
            self.problem("there is no controller".to_owned());
        }
        let answers = answers(&nodes, timeout);
        for (node, answer) in nodes.iter().zip(answers) {
            if let Err(reason) = &answer {
                let Node { id, address, .. } = node;
                self.problem(format!("node {id} at {address} does not answer: {reason}"));
            }
            self.nodes.push(node.record(controller, &answer));
        }
    }

    fn count_topics(&mut self, metadata: &MetadataResponse) {
        let mut partitions = 0usize;
        let mut without_leader = 0usize;
        let mut broken: Vec<String> = Vec::new();
        for topic in &metadata.topics {
            partitions = partitions.saturating_add(topic.partitions.len());
            let leaderless = topic
                .partitions
                .iter()
                .filter(|partition| partition.error_code != 0 || partition.leader_id.0 < 0);
            let leaderless = leaderless.count();
            without_leader = without_leader.saturating_add(leaderless);
            if leaderless > 0 || topic.error_code != 0 {
                let name = topic.name.as_ref().map(|name| name.0.to_string());
                broken.push(name.unwrap_or_default());
            }
        }
        let topics = metadata.topics.len();
        self.fact("topics", topics.to_string());
        self.fact("partitions", partitions.to_string());
        self.field("topics", json!(topics));
        self.field("partitions", json!(partitions));
        self.field("partitions_without_leader", json!(without_leader));
        if let Some(first) = broken.first() {
            self.problem(format!(
                "{} topics cannot be served, {first} among them: {without_leader} partitions have no \
                 leader",
                broken.len()
            ));
        }
    }

    fn print<W: std::io::Write>(&self, printer: &mut Printer<W>) -> Result<()> {
        const NODES: [Column; 4] = [number("node"), text("address"), text("zone"), text("state")];
        const PROCESSES: [Column; 5] = [
            text("metadata process"),
            text("role"),
            number("term"),
            number("row"),
            text("state"),
        ];
        if printer.is_json() {
            let of = |records: &[Record]| -> Vec<Value> {
                records.iter().map(|record| record.json.clone()).collect()
            };
            let mut json = self.json.clone();
            json.insert("nodes".to_owned(), json!(of(&self.nodes)));
            json.insert("metadata".to_owned(), json!(of(&self.processes)));
            json.insert("healthy".to_owned(), json!(self.problems.is_empty()));
            json.insert("problems".to_owned(), json!(self.problems));
            return printer.say("", &Value::Object(json));
        }
        let healthy = if self.problems.is_empty() {
            "yes"
        } else {
            "no"
        };
        let mut facts = self.facts.clone();
        facts.push(("healthy", healthy.to_owned()));
        printer.facts(&facts, &Value::Null)?;
        for (columns, records) in [(&NODES[..], &self.nodes), (&PROCESSES[..], &self.processes)] {
            if !records.is_empty() {
                printer.heading("")?;
                printer.table(columns, records)?;
            }
        }
        Ok(())
    }
}

/// A node that the cluster names.
#[derive(Debug)]
struct Node {
    id: i32,
    address: String,
    zone: Option<String>,
}

impl Node {
    fn record(&self, controller: i32, answer: &Result<(), String>) -> Record {
        let is_controller = self.id == controller;
        let state = match answer {
            Ok(()) if is_controller => "answers, controller".to_owned(),
            Ok(()) => "answers".to_owned(),
            Err(reason) => reason.clone(),
        };
        Record {
            cells: vec![
                self.id.to_string(),
                self.address.clone(),
                self.zone.clone().unwrap_or_default(),
                state,
            ],
            json: json!({
                "node": self.id,
                "address": self.address,
                "zone": self.zone,
                "controller": is_controller,
                "answers": answer.is_ok(),
                "problem": answer.as_ref().err(),
            }),
        }
    }
}

/// Whether nodes answer, in their order; some are asked at the same time.
fn answers(nodes: &[Node], timeout: Duration) -> Vec<Result<(), String>> {
    let ask = |node: &Node| match Connection::open_at(&node.address, timeout) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    };
    let mut answers = Vec::with_capacity(nodes.len());
    for some in nodes.chunks(ASKED_AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|node| scope.spawn(move || ask(node)))
                .collect();
            for one in asked {
                let answer = one.join();
                answers.push(answer.unwrap_or_else(|_| Err("it could not be asked".to_owned())));
            }
        });
    }
    answers
}

#[cfg(test)]
mod tests;
