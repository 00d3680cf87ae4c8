//! The same raw requests to Aquifer and to Apache Kafka: for each API and version that Aquifer serves, tables of
//! good and bad requests and generated ones. What is answered differs in nothing but ids, addresses and times,
//! and in what `docs/kafka-differences.md` says (patterns `raw API/CASE FIELD: KAFKA -> AQUIFER`).
//!
//! `AQUIFER_TEST_CASES=API/CASE` (with `*`) runs some; `AQUIFER_TEST_ROUNDS=10` makes ten times as many generated requests;
//! `AQUIFER_TEST_SHOW=1` prints all that Kafka answered.

#![allow(clippy::print_stdout, reason = "it shows what was asked for")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use aquifer_agent::api::versions::{SERVED, wire_key};
use aquifer_format::codec::Codec;
use aquifer_tests::{
    batches::{PLAIN, batch_at},
    broker::DevBroker,
    differences::{Difference, Selection, check},
    kafka::KafkaBroker,
    tree::differences,
    wire::{Connection, api_versions},
};
use kafka_protocol::messages::{ApiKey, MetadataRequest};
use serde_json::Value;

use case::{Case, GENERATED, Side, changed, create, unsupported};

#[path = "differential/case.rs"]
mod case;
#[path = "differential/clients.rs"]
mod clients;
#[path = "differential/cluster.rs"]
mod cluster;
#[path = "differential/committed.rs"]
mod committed;
#[path = "differential/configs.rs"]
mod configs;
#[path = "differential/groups.rs"]
mod groups;
#[path = "differential/modern.rs"]
mod modern;
#[path = "differential/normal.rs"]
mod normal;
#[path = "differential/offsets.rs"]
mod offsets;
#[path = "differential/records.rs"]
mod records;
#[path = "differential/replicas.rs"]
mod replicas;
#[path = "differential/topics.rs"]
mod topics;

type Cases = fn() -> Vec<Case>;

/// APIs without generated requests: what they answer depends on what the same client was told before.
const NOT_GENERATED: [ApiKey; 2] = [ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry];

/// What is asked, in this order: first what only looks.
const CASES: &[(ApiKey, Cases)] = &[
    (ApiKey::ApiVersions, cluster::api_versions),
    (ApiKey::Metadata, topics::metadata),
    (
        ApiKey::DescribeTopicPartitions,
        topics::describe_topic_partitions,
    ),
    (ApiKey::DescribeCluster, cluster::describe_cluster),
    (ApiKey::DescribeQuorum, cluster::describe_quorum),
    (ApiKey::FindCoordinator, cluster::find_coordinator),
    (ApiKey::DescribeLogDirs, cluster::describe_log_dirs),
    (ApiKey::DescribeConfigs, configs::describe_configs),
    (ApiKey::ListConfigResources, configs::list_config_resources),
    (ApiKey::ListGroups, clients::list_groups),
    (
        ApiKey::DescribeClientQuotas,
        clients::describe_client_quotas,
    ),
    (
        ApiKey::DescribeUserScramCredentials,
        clients::describe_user_scram_credentials,
    ),
    (ApiKey::ListOffsets, offsets::list_offsets),
    (
        ApiKey::OffsetForLeaderEpoch,
        offsets::offset_for_leader_epoch,
    ),
    (ApiKey::Fetch, records::fetch),
    (ApiKey::DescribeProducers, records::describe_producers),
    (ApiKey::DescribeAcls, replicas::describe_acls),
    (
        ApiKey::ListPartitionReassignments,
        replicas::list_partition_reassignments,
    ),
    (
        ApiKey::GetTelemetrySubscriptions,
        replicas::get_telemetry_subscriptions,
    ),
    (ApiKey::PushTelemetry, replicas::push_telemetry),
    (ApiKey::CreateAcls, replicas::create_acls),
    (ApiKey::DeleteAcls, replicas::delete_acls),
    (ApiKey::ElectLeaders, replicas::elect_leaders),
    (
        ApiKey::AlterPartitionReassignments,
        replicas::alter_partition_reassignments,
    ),
    (ApiKey::UpdateFeatures, cluster::update_features),
    (ApiKey::InitProducerId, records::init_producer_id),
    (ApiKey::Produce, records::produce),
    (ApiKey::DeleteRecords, offsets::delete_records),
    (ApiKey::AlterConfigs, configs::alter_configs),
    (
        ApiKey::IncrementalAlterConfigs,
        configs::incremental_alter_configs,
    ),
    (ApiKey::CreatePartitions, topics::create_partitions),
    (ApiKey::CreateTopics, topics::create_topics),
    (ApiKey::DeleteTopics, topics::delete_topics),
    (ApiKey::Metadata, topics::created_by_metadata),
    // first, as groups change by themselves once sessions are over
    (ApiKey::ListGroups, groups::list_groups),
    (ApiKey::JoinGroup, groups::join_group),
    (ApiKey::SyncGroup, groups::sync_group),
    (ApiKey::Heartbeat, groups::heartbeat),
    (ApiKey::LeaveGroup, groups::leave_group),
    (ApiKey::OffsetCommit, committed::offset_commit),
    (ApiKey::OffsetFetch, committed::offset_fetch_cases),
    (ApiKey::OffsetDelete, committed::offset_delete),
    (ApiKey::ConsumerGroupHeartbeat, modern::heartbeat),
    (ApiKey::ConsumerGroupDescribe, modern::describe),
    (ApiKey::DescribeGroups, groups::describe_groups),
    (ApiKey::DeleteGroups, groups::delete_groups),
];

/// Cases of an API that has others before: they are not broken in all ways once more.
const LATER: [Cases; 2] = [topics::created_by_metadata, groups::list_groups];

#[test]
fn raw_requests_are_answered_as_kafka_answers_them() {
    let covered: BTreeSet<i16> = CASES.iter().map(|(api, _)| wire_key(*api)).collect();
    for served in SERVED {
        assert!(
            covered.contains(&served.key()),
            "{:?} has no cases",
            served.api
        );
    }
    let aquifer = DevBroker::start_like_kafka();
    let kafka = KafkaBroker::start(0);
    let mut sides = [Side::new(kafka.address()), Side::new(aquifer.address())];
    kafka.wait_for_coordinators();
    for side in &mut sides {
        prepare(side);
    }
    let both = served_by_kafka_too(&mut sides[0].connection);
    let begin = Instant::now();
    let selection = Selection::from_environment();
    let answers = std::thread::scope(|scope| {
        let runs = sides.each_mut().map(|side| {
            let (both, selection) = (&both, &selection);
            scope.spawn(move || ask(side, both, selection))
        });
        runs.map(|run| run.join().expect("every request was answered somehow"))
    });
    let generated = answers[0].keys();
    println!(
        "{} requests to each, {} of them generated, in {:?}",
        answers[0].len(),
        generated.filter(|(name, ..)| is_generated(name)).count(),
        begin.elapsed()
    );
    let mut found = compared(&answers);
    found.extend(texts_of_success(&answers));
    if selection.is_all() {
        everything_was_asked(&answers[0]);
    }
    check("raw", &found, selection.is_all());
}

/// Which request: API and case, version, round.
type Key = (String, i16, u32);

/// The topics that all cases may use.
fn prepare(side: &mut Side) {
    let forever = ("retention.ms", "-1");
    for (name, partitions, configs) in [
        ("present", 3, &[forever][..]),
        ("compacted", 1, &[forever, ("cleanup.policy", "compact")]),
        (
            "appended",
            1,
            &[forever, ("message.timestamp.type", "LogAppendTime")],
        ),
        ("small", 1, &[("max.message.bytes", "500")]),
        ("empty", 1, &[]),
        ("produced", 1, &[forever]),
    ] {
        let id = create(&mut side.connection, name, partitions, configs);
        side.topics.insert(name, id);
    }
    let (id, epoch) = side.connection.producer_id();
    side.producer = (id, epoch);
    for (topic, partition, records) in [
        ("present", 0, batch_at(Codec::None, PLAIN, &[1_000, 2_000])),
        ("present", 0, batch_at(Codec::None, PLAIN, &[3_000])),
        (
            "present",
            0,
            batch_at(Codec::None, PLAIN, &[5_000, 5_000, 4_000]),
        ),
        ("present", 1, batch_at(Codec::Gzip, PLAIN, &[6_000, 9_000])),
        (
            "produced",
            0,
            batch_at(Codec::None, (id, epoch, 0), &[1_000, 1_000]),
        ),
    ] {
        let (code, ..) = side.connection.produce(topic, partition, records);
        assert_eq!(code, 0, "produced to {topic}");
    }
    let metadata: MetadataRequest = MetadataRequest::default();
    let brokers = side
        .connection
        .call(12, &metadata.with_topics(Some(vec![])))
        .brokers;
    assert_eq!(brokers[0].node_id.0, 0, "cases name node 0");
    let metadata = side.connection.topic_metadata("present");
    side.epoch = metadata.topics[0].partitions[0].leader_epoch;
}

/// By API, the versions that Aquifer serves. Kafka serves them too: what it does not, nothing is compared with.
fn served_by_kafka_too(kafka: &mut Connection) -> BTreeMap<i16, (i16, i16)> {
    let theirs = kafka.call(3, &api_versions());
    let served = SERVED.iter().map(|served| {
        let there = theirs.api_keys.iter().any(|theirs| {
            theirs.api_key == served.key()
                && theirs.min_version <= served.min
                && theirs.max_version >= served.max
        });
        assert!(
            there,
            "Kafka does not serve {:?} {} to {}",
            served.api, served.min, served.max
        );
        (served.key(), (served.min, served.max))
    });
    served.collect()
}

/// What the cases are called whose requests are damaged.
const DAMAGED: [&str; 6] = [
    "lengthened",
    "cut",
    "halved",
    "count-of-2-billion",
    "version-99",
    "key-999",
];

/// The cases of an API, with requests that are cut, lengthened and of no version.
fn cases_of(api: ApiKey, cases: Cases) -> Vec<Case> {
    let mut all = cases();
    if LATER
        .iter()
        .any(|later| std::ptr::fn_addr_eq(cases, *later))
    {
        return all;
    }
    let first = || cases().remove(0);
    all.push(changed("lengthened", first(), |bytes| {
        bytes.extend([0, 0, 0])
    }));
    all.push(changed("cut", first(), |bytes| {
        bytes.truncate(bytes.len() - 1)
    }));
    all.push(changed("halved", first(), |bytes| {
        let body = bytes.len() - 24;
        bytes.truncate(24 + body / 2);
    }));
    all.push(changed("count-of-2-billion", first(), |bytes| {
        let end = bytes.len();
        bytes[end.saturating_sub(5).max(24)..].fill(0x7f);
    }));
    if api.request_header_version(api.valid_versions().max) >= 2 {
        all.push(unsupported(api, first()));
    }
    if api == ApiKey::ApiVersions {
        all.push(changed("key-999", first(), |bytes| {
            bytes[4..6].copy_from_slice(&[3, 231])
        }));
    }
    all
}

/// Asks one broker everything.
fn ask(
    side: &mut Side,
    both: &BTreeMap<i16, (i16, i16)>,
    selection: &Selection,
) -> BTreeMap<Key, Value> {
    let mut answers = BTreeMap::new();
    for (api, cases) in CASES {
        let (min, max) = &both[&wire_key(*api)];
        for version in *min..=*max {
            for case in cases_of(*api, *cases) {
                let name = format!("{api:?}/{}", case.name);
                if !selection.has(&name) {
                    continue;
                }
                for round in 0..case.rounds {
                    if let Some(mut answer) = case.run(side, *api, version, round) {
                        normal::normalise(&format!("{api:?}"), side, &mut answer);
                        answers.insert((name.clone(), version, round), answer);
                    }
                }
            }
        }
    }
    answers
}

/// A case whose request fits no version tests nothing, nor does a version without a request.
fn everything_was_asked(answers: &BTreeMap<Key, Value>) {
    let asked: BTreeSet<&str> = answers.keys().map(|(name, ..)| name.as_str()).collect();
    for (api, cases) in CASES {
        for case in cases_of(*api, *cases) {
            let name = format!("{api:?}/{}", case.name);
            assert!(asked.contains(name.as_str()), "{name} fits no version");
        }
    }
    for served in SERVED {
        let api = format!("{:?}/", served.api);
        let made = |version: i16, kind: fn(&str) -> bool| {
            let mut keys = answers.keys();
            keys.any(|(name, of, _)| name.starts_with(&api) && *of == version && kind(name))
        };
        for version in served.min..=served.max {
            assert!(made(version, is_whole), "{api} version {version}");
        }
        let generated = (served.min..=served.max).any(|version| made(version, is_generated));
        let expected = !NOT_GENERATED.contains(&served.api);
        assert_eq!(generated, expected, "{api} generated");
    }
}

fn is_generated(name: &str) -> bool {
    name.rsplit('/').next() == Some(GENERATED)
}

fn is_whole(name: &str) -> bool {
    let case = name.rsplit('/').next();
    case.is_some_and(|case| !DAMAGED.contains(&case))
}

/// Texts of Aquifer's beside the code of success where Kafka has none. A text beside an error is more than Kafka says in
/// some places (the tables say where); beside success it is a mistake.
fn texts_of_success([kafka, aquifer]: &[BTreeMap<Key, Value>; 2]) -> BTreeSet<Difference> {
    let mut found = BTreeSet::new();
    for (key, ours) in aquifer {
        let theirs = kafka.get(key).map(with_text_of_success).unwrap_or_default();
        for path in with_text_of_success(ours) {
            if !theirs.contains(&path) {
                let what = format!("{path}: text beside error_code \"None\"");
                found.insert(Difference::new(&key.0, what));
            }
        }
    }
    found
}

/// Where an answer has a text beside the code of success.
fn with_text_of_success(answer: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_texts_of_success("answer", answer, &mut found);
    found
}

fn collect_texts_of_success(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if value["error_code"] == "None" && value["error_message"] == "text" {
                found.insert(path.to_owned());
            }
            for (name, value) in fields {
                collect_texts_of_success(&format!("{path}.{name}"), value, found);
            }
        }
        Value::Array(elements) => {
            for (place, element) in elements.iter().enumerate() {
                collect_texts_of_success(&format!("{path}[{place}]"), element, found);
            }
        }
        _ => {}
    }
}

#[test]
fn texts_beside_success_are_found() {
    let answer = |code: &str, text: Value| {
        let inner = serde_json::json!({"error_code": code, "error_message": text});
        let key = ("Produce/x".to_owned(), 9, 0);
        BTreeMap::from([(key, serde_json::json!({"topics": [inner]}))])
    };
    let text = || Value::from("text");
    for (kafka, aquifer, expected) in [
        (answer("None", Value::Null), answer("None", text()), 1),
        (answer("None", Value::Null), answer("None", Value::Null), 0),
        (answer("None", text()), answer("None", text()), 0),
        (answer("Bad", Value::Null), answer("Bad", text()), 0),
    ] {
        assert_eq!(texts_of_success(&[kafka, aquifer]).len(), expected);
    }
}

/// What differs, once for all versions and rounds in which it does.
fn compared([kafka, aquifer]: &[BTreeMap<Key, Value>; 2]) -> Vec<Difference> {
    let mut found: BTreeMap<Difference, Vec<(i16, u32)>> = BTreeMap::new();
    let show = std::env::var_os("AQUIFER_TEST_SHOW").is_some();
    for (key, theirs) in kafka {
        let (name, version, round) = key;
        let ours = aquifer.get(key).unwrap_or(&Value::Null);
        if show {
            println!("{name} v{version} #{round}: {theirs}");
        }
        let changes = if theirs.is_object() == ours.is_object() {
            differences(theirs, ours)
        } else {
            let said = |answer: &Value| answer.as_str().unwrap_or("answered").to_owned();
            vec![format!("{} -> {}", said(theirs), said(ours))]
        };
        for what in changes {
            let seen = found.entry(Difference::new(name, what)).or_default();
            seen.push((*version, *round));
        }
    }
    for (difference, seen) in &found {
        println!(
            "{} {}\n    in (version, round) {seen:?}",
            difference.case, difference.what
        );
    }
    found.into_keys().collect()
}
