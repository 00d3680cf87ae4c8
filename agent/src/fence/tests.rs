//! Whole agents on the fake metadata service and buckets that can be taken away, on virtual time.

use std::{sync::Arc, time::Duration};

use aquifer_format::{
    batch::{BatchBuilder, RecordBatch},
    codec::Codec,
};
use aquifer_metadata_api::{
    fake::{FAKE_START_UNIX_MILLIS, Fake},
    register::AgentAddress,
};
use aquifer_store::{
    Monotonic, ObjectStore, Ports,
    faults::{FaultPlan, Faults, FaultyStore, Latency},
    location::Wrapping,
    memory::MemoryStore,
};
use kafka_protocol::{
    messages::{
        ApiKey, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
        MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};

use super::{Cause, Fence, Readiness};
use crate::{broker::Broker, produce::settings::Compute, settings::AgentSettings, testing::Client};

const NOT_LEADER: i16 = 6;

/// A cluster: one metadata service, one bucket.
struct Bed {
    ports: Ports,
    fake: Arc<Fake>,
    memory: Arc<MemoryStore>,
}

/// One of its agents, and its own way to the bucket.
struct Agent {
    broker: Arc<Broker>,
    faults: Faults,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Bed {
    fn new() -> Self {
        let fake = Fake::new();
        fake.create_topic("t", 1, &[]);
        Self {
            ports: Ports::simulated(3, FAKE_START_UNIX_MILLIS),
            fake,
            memory: Arc::new(MemoryStore::new()),
        }
    }

    async fn agent(&self, host: &str, zone: &str) -> Agent {
        let faults = Faults::new(FaultPlan::default());
        let memory = Arc::clone(&self.memory) as Arc<dyn ObjectStore>;
        let store = FaultyStore::new(memory, self.ports.clone(), faults.clone());
        self.agent_on(Arc::new(store), faults, host, zone).await
    }

    async fn agent_on(
        &self,
        store: Arc<dyn ObjectStore>,
        faults: Faults,
        host: &str,
        zone: &str,
    ) -> Agent {
        let ports = self.ports.another_node();
        let mut settings = AgentSettings::new(AgentAddress {
            host: host.to_owned(),
            port: 9092,
            node_ids: 1,
            zone: zone.to_owned(),
            peer: String::new(),
        });
        settings.produce.compute = Compute::Inline;
        let metadata = Arc::clone(&self.fake);
        let broker = Broker::start(settings, ports, metadata, store, None).await;
        let broker = broker.expect("the fake refuses nobody");
        Agent { broker, faults }
    }

    async fn sleep(&self, time: Duration) {
        self.ports.sleep(time).await;
    }
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// One batch for the first partition.
fn produce_request(topic: &'static str, timeout_ms: i32) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(batch().bytes));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(vec![topic])
}

fn batch() -> RecordBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(FAKE_START_UNIX_MILLIS, None, Some(b"value"), &[]);
    builder.build().unwrap()
}

/// What one agent answers.
impl Agent {
    fn client(&self) -> Client {
        Client::connect(&self.broker)
    }

    /// (error, base offset, leader that is hinted at, whose host)
    async fn produce(&self) -> (i16, i64, BrokerId, Vec<String>) {
        Self::produce_by(&mut self.client()).await
    }

    async fn produce_by(client: &mut Client) -> (i16, i64, BrokerId, Vec<String>) {
        let request = produce_request("t", 5_000);
        let answer: ProduceResponse = client.call(ApiKey::Produce, 11, &request).await;
        let partition = &answer.responses[0].partition_responses[0];
        let hosts = answer.node_endpoints.iter().map(|n| n.host.to_string());
        (
            partition.error_code,
            partition.base_offset,
            partition.current_leader.leader_id,
            hosts.collect(),
        )
    }

    fn fetch_request(offset: i64, wait_ms: i32) -> FetchRequest {
        let partition = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(name())
            .with_partitions(vec![partition]);
        FetchRequest::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }

    /// (error, bytes of records)
    async fn fetch(&self, offset: i64, wait_ms: i32) -> (i16, usize) {
        let request = Self::fetch_request(offset, wait_ms);
        let answer: FetchResponse = self.client().call(ApiKey::Fetch, 12, &request).await;
        let partition = &answer.responses[0].partitions[0];
        let bytes = partition.records.as_ref().map_or(0, bytes::Bytes::len);
        (partition.error_code, bytes)
    }

    async fn list_offsets(&self) -> i16 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(name())
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let answer: ListOffsetsResponse =
            self.client().call(ApiKey::ListOffsets, 7, &request).await;
        answer.topics[0].partitions[0].error_code
    }

    /// The hosts that it names, and the host of the partition's leader.
    async fn names(&self) -> (Vec<String>, Option<String>) {
        Self::names_by(&mut self.client()).await
    }

    async fn names_by(client: &mut Client) -> (Vec<String>, Option<String>) {
        let topic = MetadataRequestTopic::default().with_name(Some(name()));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &request).await;
        let hosts = answer.brokers.iter().map(|b| b.host.to_string()).collect();
        let leader = answer.topics[0].partitions[0].leader_id;
        let leader = answer.brokers.iter().find(|b| b.node_id == leader);
        (hosts, leader.map(|b| b.host.to_string()))
    }

    fn knows(&self) -> Vec<String> {
        let agents = self.broker.view.agents();
        agents.iter().map(|a| a.address.host.clone()).collect()
    }

    fn reason(&self) -> Option<String> {
        match &*self.broker.readiness().borrow() {
            Readiness::Ready => None,
            Readiness::Unready { reason } => Some(reason.clone()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_lost_the_bucket_sends_its_clients_away_and_comes_back() {
    let bed = Bed::new();
    let (sick, well) = (bed.agent("sick", "a").await, bed.agent("well", "b").await);
    bed.sleep(seconds(1)).await;
    assert_eq!(sick.knows(), ["sick", "well"]);
    assert_eq!(sick.produce().await.0, 0);
    sick.faults.change(|plan| plan.outage = true);
    // Nobody asks anything: the agent notices by itself.
    bed.sleep(seconds(11)).await;
    assert_eq!(
        sick.reason().unwrap(),
        "the agent has fenced itself: the bucket is out of reach"
    );
    let began = bed.ports.clock.now();
    let (code, _, leader, hosts) = sick.produce().await;
    assert_eq!((code, hosts), (NOT_LEADER, vec!["well".to_owned()]));
    assert_ne!(leader, BrokerId(-1));
    assert_eq!(sick.fetch(0, 30_000).await.0, NOT_LEADER);
    assert_eq!(sick.list_offsets().await, NOT_LEADER);
    assert!(bed.ports.clock.now().since(began) < Duration::from_millis(100));
    let only_well = (vec!["well".to_owned()], Some("well".to_owned()));
    assert_eq!(sick.names().await, only_well);
    assert_eq!(well.names().await, only_well);
    assert_eq!(well.reason(), None);
    assert_eq!(well.produce().await.0, 0);

    sick.faults.change(|plan| plan.outage = false);
    bed.sleep(seconds(5)).await;
    assert_eq!(sick.reason(), None);
    assert_eq!(well.knows(), ["sick", "well"]);
    assert_eq!(sick.produce().await.0, 0);
    assert!(sick.fetch(0, 0).await.1 > 0);
    let left: Vec<_> = bed.memory.list("aquifer-probe", None, 10).await.unwrap();
    assert_eq!(left, [], "probes leave nothing behind");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_takes_no_writes_fences_though_reads_work() {
    let bed = Bed::new();
    let agent = bed.agent("a", "").await;
    agent
        .faults
        .change(|plan| plan.put_latency = Latency::Fixed(seconds(600)));
    let mut client = agent.client();
    let request = produce_request("t", 30_000);
    client.send(ApiKey::Produce, 11, &request).await;
    bed.sleep(seconds(11)).await;
    assert!(agent.broker.fence.check().is_err());
    assert_eq!(agent.produce().await.0, NOT_LEADER);
    // what was accepted keeps its rule: not stored, and said so by the upload, not by the fence
    bed.sleep(seconds(8)).await;
    let (_, answer): (_, ProduceResponse) = client.receive(ApiKey::Produce, 11).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 19);
    agent.faults.set(FaultPlan::default());
    bed.sleep(seconds(10)).await;
    assert_eq!(agent.produce().await, (0, 0, BrokerId(-1), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn regression_an_idle_agent_notices_within_ten_seconds_that_the_bucket_hangs() {
    for ms in [0, 900, 1_800, 2_700, 3_600, 4_500] {
        let bed = Bed::new();
        let agent = bed.agent("a", "").await;
        bed.sleep(seconds(20) + Duration::from_millis(ms)).await;
        let hangs = Latency::Fixed(seconds(600));
        agent.faults.change(|plan| {
            plan.get_latency = hangs;
            plan.put_latency = hangs;
        });
        let began = bed.ports.clock.now();
        while agent.broker.fence.check().is_ok() {
            bed.sleep(Duration::from_millis(50)).await;
        }
        let noticed = bed.ports.clock.now().since(began);
        let soon = seconds(6)..=Duration::from_millis(10_300);
        assert!(soon.contains(&noticed), "{ms} ms later: {noticed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn regression_what_is_being_looked_at_while_the_agent_fences_itself_is_not_taken_in() {
    let bed = Bed::new();
    let agent = bed.agent("a", "").await;
    bed.sleep(seconds(1)).await;
    assert_eq!(agent.produce().await.0, 0);
    agent.faults.change(|plan| plan.outage = true);
    bed.sleep(seconds(7)).await;
    // The leader is asked for a topic that the view does not have, which takes as long as frames are held.
    bed.fake.set_frames_held(true);
    let topic = bed.fake.create_topic("new", 1, &[]);
    let mut client = agent.client();
    let request = produce_request("new", 30_000);
    client.send(ApiKey::Produce, 11, &request).await;
    bed.sleep(seconds(4)).await;
    assert!(agent.broker.fence.check().is_err());
    agent.faults.change(|plan| plan.outage = false);
    bed.fake.set_frames_held(false);
    let (_, answer): (_, ProduceResponse) = client.receive(ApiKey::Produce, 11).await;
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, NOT_LEADER);
    bed.sleep(seconds(1)).await;
    let marks = bed.fake.watermarks(topic, 0).unwrap();
    assert_eq!(marks.high_watermark.0, 0, "it never turns visible");
}

#[tokio::test(start_paused = true)]
async fn regression_an_older_state_is_never_told_after_a_newer_one() {
    for change in [Fence::drain as fn(&Fence), Fence::look] {
        let bed = Bed::new();
        let agent = bed.agent("a", "").await;
        bed.sleep(seconds(11)).await;
        let fence = &*agent.broker.fence;
        // Who looks now fences the agent.
        *fence.heard_at.lock() = Monotonic::default();
        let readiness = fence.readiness();
        let runtime = tokio::runtime::Handle::current();
        // Who changes the readiness waits until this was read.
        let reading = readiness.borrow();
        std::thread::scope(|threads| {
            let changing = threads.spawn(|| {
                let _time = runtime.enter();
                change(fence);
            });
            while fence.is_named() && !changing.is_finished() {
                std::thread::yield_now();
            }
            assert!(fence.policy.is_locked(), "nobody else can change anything");
            drop(reading);
        });
        assert!(agent.reason().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_the_metadata_leader_fences_itself_and_comes_back() {
    let bed = Bed::new();
    let agent = bed.agent("a", "").await;
    bed.sleep(seconds(2)).await;
    bed.fake.set_unavailable(Some(false));
    bed.sleep(seconds(8)).await;
    assert_eq!(agent.reason(), None, "a take-over may last as long");
    let mut parked = agent.client();
    parked
        .send(ApiKey::Fetch, 12, &Agent::fetch_request(0, 300_000))
        .await;
    bed.sleep(seconds(4)).await;
    assert_eq!(
        agent.broker.fence.check().unwrap_err().cause,
        Cause::Metadata
    );
    let (_, answer): (_, FetchResponse) = parked.receive(ApiKey::Fetch, 12).await;
    assert_eq!(
        answer.responses[0].partitions[0].error_code, NOT_LEADER,
        "who waits is sent away too"
    );
    assert_eq!(agent.names().await, (Vec::new(), None));
    bed.fake.set_unavailable(None);
    bed.sleep(seconds(6)).await;
    assert_eq!(agent.reason(), None);
    assert_eq!(agent.produce().await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_process_stood_still_serves_nothing_before_it_knows_what_is_new() {
    let bed = Bed::new();
    let agent = bed.agent("a", "").await;
    bed.sleep(seconds(2)).await;
    // The clock moves on and no task runs: as if stopped and continued.
    tokio::time::advance(seconds(4)).await;
    let fenced = agent.broker.fence.check().unwrap_err();
    assert_eq!(fenced.cause, Cause::Stopped);
    bed.sleep(seconds(2)).await;
    assert!(agent.broker.fence.check().is_ok());
    assert_eq!(agent.produce().await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_draining_agent_is_named_by_nobody_and_finishes_what_it_takes() {
    let bed = Bed::new();
    let (going, staying) = (bed.agent("going", "").await, bed.agent("staying", "").await);
    bed.sleep(seconds(1)).await;
    assert_eq!(staying.knows(), ["going", "staying"]);
    let mut client = going.client();
    let draining = Arc::clone(&going.broker);
    bed.ports.tasks.spawn(async move { draining.drain().await });
    bed.sleep(Duration::from_millis(50)).await;
    assert_eq!(staying.knows(), ["staying"], "others hear of it at once");
    let only_staying = (vec!["staying".to_owned()], Some("staying".to_owned()));
    assert_eq!(Agent::names_by(&mut client).await, only_staying);
    assert_eq!(going.reason().unwrap(), "the agent is stopping");
    bed.sleep(seconds(2)).await;
    let (code, ..) = Agent::produce_by(&mut client).await;
    assert_eq!(code, 0, "clients need not have moved yet");
    bed.sleep(seconds(9)).await;
    assert!(client.is_closed().await);
    assert_eq!(going.broker.open_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_one_agent_acknowledged_is_never_out_of_range_at_another() {
    let bed = Bed::new();
    let (one, two) = (bed.agent("one", "").await, bed.agent("two", "").await);
    for offset in 0..5 {
        // The other agent's view stays behind.
        bed.fake.set_frames_held(true);
        let (code, base_offset, ..) = one.produce().await;
        assert_eq!((code, base_offset), (0, offset));
        let (code, _) = two.fetch(offset, 0).await;
        assert_eq!(code, 0, "offset {offset}");
        let (code, bytes) = two.fetch(offset + 1, 0).await;
        assert_eq!((code, bytes), (0, 0), "the end of the log");
        bed.fake.set_frames_held(false);
        let (code, bytes) = two.fetch(offset, 500).await;
        assert!(code == 0 && bytes > 0, "offset {offset}: error {code}");
    }
    assert_eq!(two.fetch(6, 0).await.0, 1, "beyond the end it is");
}

#[tokio::test(start_paused = true)]
async fn puts_that_hang_hold_up_no_acknowledgement_for_long() {
    let bed = Bed::new();
    let faults = Faults::new(FaultPlan {
        put_latency: Latency::LogNormal {
            p50: Duration::from_millis(60),
            p99: Duration::from_millis(250),
        },
        stall: 0.05,
        stall_for: seconds(30),
        ..FaultPlan::default()
    });
    let wrapping = Wrapping {
        faults: Some(faults.clone()),
        ..Wrapping::default()
    };
    let memory = Arc::clone(&bed.memory) as Arc<dyn ObjectStore>;
    let store = wrapping.around(memory, &bed.ports);
    let agent = bed.agent_on(store, faults, "a", "").await;
    let mut clients: Vec<_> = (0..8).map(|_| agent.client()).collect();
    let mut longest = Duration::ZERO;
    for _ in 0..300 {
        let began = bed.ports.clock.now();
        let all = clients.iter_mut().map(|client| async {
            assert_eq!(Agent::produce_by(client).await.0, 0);
            bed.ports.clock.now().since(began)
        });
        let took = futures::future::join_all(all).await;
        longest = took.into_iter().fold(longest, Duration::max);
    }
    assert!(
        agent.faults.counts().stalls >= 5,
        "{:?}",
        agent.faults.counts()
    );
    assert!(longest <= Duration::from_millis(1_500), "{longest:?}");
    assert!(agent.broker.fence.check().is_ok());
}
