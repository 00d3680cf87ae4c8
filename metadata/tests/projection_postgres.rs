//! The SQL projection in a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{
    ClusterId, CommitNumber, LeaderTerm, ObjectId, ObjectLevel, PartitionId, PartitionIndex,
    ProducerEpoch, ProducerId, Sequence, TopicId,
};
use aquifer_metadata::{
    Leader, LeaderSettings, LocalMetadata, Role,
    journal::memory::MemoryJournal,
    projection::{
        Opened, Owner, ProjectionSettings, SchemaName, Tables, delta::Delta,
        postgres::PostgresTables, while_leading,
    },
};
use aquifer_metadata_api::{
    Metadata,
    commit::{BatchSummary, Commit, CommitCall, Run},
    kafka::{Envelope, KafkaCall, LeaderApi, pinned_version},
    register::{AgentAddress, RegisterRequest},
};
use aquifer_store::Ports;
use bytes::BytesMut;
use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
        CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DeleteTopicsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::CreatableTopic,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use postgres::{Database, PostgresServer};
use tokio::sync::watch;
use uuid::Uuid;

#[path = "support/postgres.rs"]
mod postgres;

/// What a record's timestamp is.
const TIMESTAMP: i64 = 1_704_067_200_123;
const PARTITIONS: &str = "
    SELECT topic, partition, log_start_offset, high_watermark, extents, size_bytes
    FROM aquifer_projection.partitions ORDER BY 1, 2";

/// A leader whose journal is in memory, and a database for its projection.
struct Setup {
    server: Arc<PostgresServer>,
    database: Database,
    ports: Ports,
    leader: Leader,
    metadata: Arc<LocalMetadata>,
    role: watch::Sender<Role>,
}

impl Setup {
    async fn new() -> Self {
        Self::on(PostgresServer::shared()).await
    }

    async fn on(server: Arc<PostgresServer>) -> Self {
        let ports = Ports::system();
        let journal = Arc::new(MemoryJournal::new(Arc::clone(&ports.clock)));
        let settings = LeaderSettings::default();
        let leader = Leader::start(journal, ports.clone(), settings)
            .await
            .unwrap();
        let metadata = leader.metadata();
        let (role, _) = watch::channel(Role::Leader(Arc::clone(&metadata)));
        Self {
            database: server.create_database(),
            server,
            ports,
            leader,
            metadata,
            role,
        }
    }

    /// Keeps the tables up to date from now on, as the user of `url`.
    fn project(&self, url: &str) {
        let tables = self.tables(url, "aquifer_projection");
        let settings = ProjectionSettings {
            interval: Duration::from_millis(100),
        };
        self.ports.tasks.spawn(while_leading(
            self.ports.clone(),
            self.role.subscribe(),
            Box::new(tables),
            settings,
        ));
    }

    fn tables(&self, url: &str, schema: &str) -> PostgresTables {
        let schema: SchemaName = schema.parse().unwrap();
        PostgresTables::new(url, schema, self.ports.clone()).unwrap()
    }

    fn owner(&self, term: u64) -> Owner {
        Owner {
            cluster: self.leader.cluster(),
            term: LeaderTerm(term),
        }
    }

    fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.database.name, statements)
    }

    /// Waits until a query of tables that may not be there yet has this result.
    async fn until(&self, table: &str, query: &str, expected: &str) {
        let mut seen = String::new();
        for _ in 0..600 {
            let there = format!("SELECT to_regclass('{table}') IS NOT NULL");
            if self.sql(&there) == "t" {
                seen = self.sql(query);
                if seen == expected {
                    return;
                }
            }
            self.ports.sleep(Duration::from_millis(50)).await;
        }
        panic!("{query}:\n{seen}\ninstead of:\n{expected}");
    }

    async fn partitions_become(&self, expected: &[&str]) {
        let table = "aquifer_projection.partitions";
        self.until(table, PARTITIONS, &expected.join("\n")).await;
    }

    async fn call<R: Decodable>(&self, api: LeaderApi, request: &impl Encodable) -> R {
        let version = pinned_version(api);
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let envelope = Envelope {
            client_api_key: api.api_key(),
            client_api_version: version,
            principal: String::new(),
            client_id: String::new(),
            host: String::new(),
            zone: String::new(),
            listener: String::new(),
            deadline_ms: 1_000,
            call_id: 0,
        };
        let call = KafkaCall {
            api,
            envelope,
            body: body.freeze(),
        };
        let mut answer = self.metadata.kafka(call).await.unwrap();
        R::decode(&mut answer, version).unwrap()
    }

    async fn create(&self, name: &str, partitions: i32) -> TopicId {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let created: CreateTopicsResponse = self.call(LeaderApi::CreateTopics, &request).await;
        assert_eq!(created.topics[0].error_code, 0, "{created:?}");
        TopicId(created.topics[0].topic_id)
    }

    async fn delete(&self, name: &str) {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
        let deleted: DeleteTopicsResponse = self.call(LeaderApi::DeleteTopics, &request).await;
        assert_eq!(deleted.responses[0].error_code, 0, "{deleted:?}");
    }

    async fn grow(&self, name: &str, partitions: i32) {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        let grown: CreatePartitionsResponse =
            self.call(LeaderApi::CreatePartitions, &request).await;
        assert_eq!(grown.results[0].error_code, 0, "{grown:?}");
    }

    async fn configure(&self, topic: &'static str, name: &'static str, value: &'static str) {
        self.alter(2, topic, name, value).await;
    }

    async fn configure_brokers(&self, name: &'static str, value: &'static str) {
        self.alter(4, "", name, value).await;
    }

    async fn alter(
        &self,
        kind: i8,
        resource: &'static str,
        name: &'static str,
        value: &'static str,
    ) {
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(0)
            .with_value(Some(StrBytes::from_static_str(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(resource))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let altered: IncrementalAlterConfigsResponse = self
            .call(LeaderApi::IncrementalAlterConfigs, &request)
            .await;
        assert_eq!(altered.responses[0].error_code, 0, "{altered:?}");
    }

    async fn delete_records(&self, topic: &str, offset: i64) {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(0)
            .with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        let deleted: DeleteRecordsResponse = self.call(LeaderApi::DeleteRecords, &request).await;
        let partition = &deleted.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0, "{deleted:?}");
    }

    /// Commits `count` objects of 1,000 bytes with one record each to the topic's first partition.
    async fn append(&self, topic: TopicId, count: u64) {
        let request = RegisterRequest::new(AgentAddress {
            host: "agent".to_owned(),
            port: 9092,
            node_ids: 1,
            zone: String::new(),
            peer: String::new(),
        });
        let registered = self.metadata.register(request).await.unwrap();
        let mut channel = self.metadata.commits(registered.session).await.unwrap();
        for number in 1..=count {
            let commit = Commit {
                number: CommitNumber(number),
                answered_through: CommitNumber(number - 1),
                object: ObjectId {
                    incarnation: registered.incarnation,
                    upload_epoch: registered.upload_epoch,
                    writer: registered.slot,
                    level: ObjectLevel::L0,
                    unique: number,
                },
                object_bytes: 1_000,
                locations: vec![0],
                runs: vec![Run {
                    partition: PartitionId::new(topic, PartitionIndex(0)),
                    position: 8,
                    stored_bytes: 500,
                    batches: vec![BatchSummary {
                        producer_id: ProducerId::NONE,
                        producer_epoch: ProducerEpoch::NONE,
                        first_sequence: Sequence::NONE,
                        records: 1,
                        bytes: 100,
                        max_timestamp: TIMESTAMP,
                    }],
                }],
            };
            channel
                .calls
                .send(CommitCall::Commit(commit))
                .await
                .unwrap();
            channel.answers.recv().await.unwrap().unwrap();
        }
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

async fn open(tables: &mut PostgresTables, owner: &Owner) -> Result<Opened, String> {
    tables.open(owner).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_what_happens_to_topics() {
    let setup = Setup::new().await;
    setup.project(&setup.database.url);
    let a = setup.create("a", 2).await;
    setup.create("b", 1).await;
    setup.append(a, 3).await;
    setup
        .partitions_become(&["a|0|0|3|3|300", "a|1|0|0|0|0", "b|0|0|0|0|0"])
        .await;
    let schema = |query: &str| setup.sql(&query.replace("FROM ", "FROM aquifer_projection."));
    assert_eq!(
        schema(
            "SELECT to_char(max_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')
             FROM partitions WHERE topic = 'a' ORDER BY partition"
        ),
        "2024-01-01 00:00:00.123"
    );
    let objects =
        "SELECT COUNT(*), SUM(bytes), SUM(extents), COUNT(released_in), MAX(level) FROM objects";
    assert_eq!(schema(objects), "3|3000|3|0|0");
    let ids = "SELECT name, topic_id, partitions, configs FROM topics WHERE name = 'a'";
    assert_eq!(schema(ids), format!("a|{}|2|{{}}", a.0));
    let refresh =
        "SELECT cluster_id, term, seq > 0, refreshed_at > NOW() - INTERVAL '1 min' FROM refresh";
    let (cluster, term) = (setup.leader.cluster().0, setup.leader.term());
    assert_eq!(schema(refresh), format!("{cluster}|{term}|t|t"));

    setup.configure("a", "max.message.bytes", "2000").await;
    setup.grow("b", 2).await;
    setup.delete_records("a", 2).await;
    setup
        .partitions_become(&["a|0|2|3|1|100", "a|1|0|0|0|0", "b|0|0|0|0|0", "b|1|0|0|0|0"])
        .await;
    let configs = "SELECT name, partitions, configs FROM topics ORDER BY name";
    assert_eq!(
        schema(configs),
        "a|2|{\"max.message.bytes\": \"2000\"}\nb|2|{}"
    );
    assert_eq!(schema(objects), "3|3000|1|2|0");

    let ttl = "topic.soft.delete.ttl.ms";
    setup.configure_brokers(ttl, "0").await;
    setup.delete("a").await;
    setup
        .partitions_become(&["b|0|0|0|0|0", "b|1|0|0|0|0"])
        .await;
    assert_eq!(schema("SELECT name FROM topics"), "b");
    assert_eq!(schema(objects), "3|3000|0|3|0");
    let again = setup.create("a", 1).await;
    setup
        .partitions_become(&["a|0|0|0|0|0", "b|0|0|0|0|0", "b|1|0|0|0|0"])
        .await;
    assert_eq!(schema(ids), format!("a|{}|1|{{}}", again.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_cannot_write_over_a_later_one() {
    let setup = Setup::new().await;
    let url = &setup.database.url;
    let (old, new) = (setup.owner(5), setup.owner(6));
    let mut of_old = setup.tables(url, "aquifer_projection");
    let mut of_new = setup.tables(url, "aquifer_projection");
    let delta = Delta::default();
    assert!(matches!(open(&mut of_old, &old).await, Ok(Opened::Ours(_))));
    assert!(of_old.write(&old, &delta).await.unwrap().is_some());
    assert!(matches!(open(&mut of_new, &new).await, Ok(Opened::Ours(_))));
    // from the moment at which the tables are taken, before the first refresh
    assert_eq!(of_old.write(&old, &delta).await, Ok(None));
    assert!(of_new.write(&new, &delta).await.unwrap().is_some());
    let opened = open(&mut of_old, &old).await;
    assert!(
        matches!(opened, Ok(Opened::Newer(LeaderTerm(6)))),
        "{opened:?}"
    );
    assert_eq!(
        setup.sql("SELECT term FROM aquifer_projection.refresh"),
        "6"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_told_and_the_leader_goes_on_until_they_are_granted() {
    let setup = Setup::new().await;
    let role = format!("limited_{}", setup.database.name);
    setup.sql(&format!("CREATE ROLE {role} LOGIN"));
    let url = setup.database.url.replace("postgres@", &format!("{role}@"));
    let mut tables = setup.tables(&url, "aquifer_projection");
    let said = open(&mut tables, &setup.owner(1)).await.unwrap_err();
    assert!(
        said.contains("permission denied for database") && said.contains("grant the role"),
        "{said}"
    );
    // a schema that somebody made for it, without letting it in
    setup.sql("CREATE SCHEMA made");
    let mut tables = setup.tables(&url, "made");
    let said = open(&mut tables, &setup.owner(1)).await.unwrap_err();
    let remedy = format!("GRANT USAGE, CREATE ON SCHEMA made TO {role}");
    assert!(said.contains(&remedy), "{said}");
    setup.sql(&remedy);
    let opened = open(&mut tables, &setup.owner(1)).await;
    assert!(matches!(opened, Ok(Opened::Ours(_))), "{opened:?}");

    setup.project(&url);
    let a = setup.create("a", 1).await;
    setup.append(a, 2).await;
    let there = setup.sql("SELECT to_regclass('aquifer_projection.topics') IS NOT NULL");
    assert_eq!(there, "f");
    assert_eq!(setup.leader.stop_reason(), None);
    let database = &setup.database.name;
    setup.sql(&format!("GRANT CREATE ON DATABASE {database} TO {role}"));
    setup.partitions_become(&["a|0|0|2|2|200"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_somebody_dropped_or_emptied_are_made_anew() {
    let setup = Setup::new().await;
    setup.project(&setup.database.url);
    let a = setup.create("a", 1).await;
    setup.append(a, 2).await;
    let rows = ["a|0|0|2|2|200"];
    let objects = (
        "aquifer_projection.objects",
        "SELECT COUNT(*) FROM aquifer_projection.objects",
    );
    setup.partitions_become(&rows).await;
    for damage in [
        "DROP SCHEMA aquifer_projection CASCADE",
        "DROP TABLE aquifer_projection.objects",
        "DROP TABLE aquifer_projection.topics, aquifer_projection.partitions",
        "TRUNCATE aquifer_projection.refresh, aquifer_projection.topics,
            aquifer_projection.partitions, aquifer_projection.objects",
    ] {
        // locked in the order in which the leader writes, so that neither stands in the other's way
        setup.sql(&format!(
            "BEGIN; LOCK TABLE aquifer_projection.refresh; {damage}; COMMIT"
        ));
        setup.partitions_become(&rows).await;
        setup.until(objects.0, objects.1, "2").await;
    }
    assert_eq!(setup.leader.stop_reason(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_empties_the_tables_only_until_the_next_refresh() {
    let setup = Setup::on(Arc::new(PostgresServer::start())).await;
    setup.project(&setup.database.url);
    let a = setup.create("a", 1).await;
    setup.append(a, 2).await;
    setup.partitions_become(&["a|0|0|2|2|200"]).await;
    setup.server.crash();
    setup.append(a, 1).await;
    setup.server.restart();
    setup.partitions_become(&["a|0|0|3|3|300"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_projections_is_left_alone() {
    let setup = Setup::new().await;
    let url = &setup.database.url;
    let owner = setup.owner(1);
    // schemas in which the journal's own tables could come to stand
    for schema in ["public", "postgres"] {
        let said = open(&mut setup.tables(url, schema), &owner).await;
        assert!(said.unwrap_err().contains("search_path"), "{schema}");
    }
    assert_eq!(
        setup.sql("SELECT COUNT(*) FROM pg_namespace WHERE nspname = 'postgres'"),
        "0"
    );
    setup.sql("CREATE SCHEMA taken; CREATE TABLE taken.topics AS SELECT 7 AS x");
    let said = open(&mut setup.tables(url, "taken"), &owner).await;
    let said = said.unwrap_err();
    assert!(said.contains("has a table topics"), "{said}");
    assert_eq!(setup.sql("SELECT x FROM taken.topics"), "7");
    // another cluster's
    let mut tables = setup.tables(url, "shared");
    let other = Owner {
        cluster: ClusterId(Uuid::from_u128(7)),
        ..owner
    };
    assert!(matches!(
        open(&mut tables, &other).await,
        Ok(Opened::Ours(_))
    ));
    let said = open(&mut tables, &owner).await.unwrap_err();
    assert!(said.contains("another cluster"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_layout_are_made_anew() {
    let setup = Setup::new().await;
    let url = &setup.database.url;
    let mut tables = setup.tables(url, "layout");
    assert!(open(&mut tables, &setup.owner(2)).await.is_ok());
    setup.sql(
        "COMMENT ON TABLE layout.topics IS 'Aquifer SQL projection, layout 0. Topics.';
         ALTER TABLE layout.topics DROP COLUMN configs",
    );
    let opened = open(&mut tables, &setup.owner(1)).await;
    assert!(
        matches!(opened, Ok(Opened::Newer(LeaderTerm(2)))),
        "{opened:?}"
    );
    let opened = open(&mut tables, &setup.owner(2)).await;
    assert!(matches!(opened, Ok(Opened::Ours(_))), "{opened:?}");
    assert_eq!(setup.sql("SELECT configs FROM layout.topics"), "");
}
