//! What many topics cost, beside Apache Kafka: 10,000 are created, listed, described, altered and deleted, with times,
//! CPU and memory. `cargo build --release && cargo bench -p aquifer-tests --bench topics`
//!
//! `AQUIFER_BENCH_TOPICS` (default 10,000) is how many. Arguments choose brokers: aquifer, kafka.

#![allow(clippy::print_stdout, reason = "it shows what was measured")]
#![allow(clippy::disallowed_methods, reason = "real processes run on real time")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use aquifer_tests::{
    broker::DevBroker,
    kafka::KafkaBroker,
    wire::{Connection, topic_name},
};
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        IncrementalAlterConfigsRequest, MetadataRequest,
        create_topics_request::CreatableTopic,
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};

/// Topics of one request, as an operator's program would send them.
const AT_ONCE: usize = 100;
/// How often all topics are listed.
const LISTINGS: usize = 20;
/// The type of resource that a topic is.
const TOPIC: i8 = 2;

/// What `kafka-server-start.sh` gives a broker.
const STOCK_JVM: [&str; 6] = [
    "-Xmx1G",
    "-Xms1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// Memory and CPU of the process that is measured.
type Usage<'a> = &'a dyn Fn() -> (u64, Duration);

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |broker: &str| chosen.is_empty() || chosen.iter().any(|c| c == broker);
    let count = std::env::var("AQUIFER_BENCH_TOPICS").map_or(10_000, |text| {
        text.parse().expect("AQUIFER_BENCH_TOPICS is a number")
    });
    println!("{count} topics with one partition each, {AT_ONCE} in a request");
    if wanted("aquifer") {
        let broker = DevBroker::start();
        let usage = || (broker.resident_bytes(), broker.cpu());
        measure("aquifer dev", broker.address(), count, &usage);
    }
    if wanted("kafka") {
        let broker = KafkaBroker::start_with(0, &STOCK_JVM, &[]);
        let usage = || (broker.resident_bytes(), broker.cpu());
        measure("Apache Kafka", broker.address(), count, &usage);
    }
}

fn measure(name: &str, address: SocketAddr, count: usize, usage: Usage<'_>) {
    println!("\n{name}, {} MiB resident at first", usage().0 >> 20);
    println!(
        "  step               total   per topic   request p50   request p99      CPU   resident"
    );
    let mut connection = Connection::open(address);
    let names: Vec<String> = (0..count).map(|i| format!("topic-{i:06}")).collect();
    let each = |step: &str, connection: &mut Connection, one: fn(&mut Connection, &[String])| {
        step_of(step, count, usage, || {
            let mut times = Vec::new();
            for some in names.chunks(AT_ONCE) {
                let begin = Instant::now();
                one(connection, some);
                times.push(begin.elapsed());
            }
            times
        });
    };
    each("create", &mut connection, create);
    step_of("until all are led", count, usage, || {
        let begin = Instant::now();
        until(|| led(&mut connection) == count);
        vec![begin.elapsed()]
    });
    step_of("list, 20 times", count, usage, || {
        let mut times = Vec::new();
        for _ in 0..LISTINGS {
            let begin = Instant::now();
            assert_eq!(led(&mut connection), count, "all are listed");
            times.push(begin.elapsed());
        }
        times
    });
    each("describe configs", &mut connection, describe);
    each("alter configs", &mut connection, alter);
    each("delete", &mut connection, delete);
    step_of("until none is left", count, usage, || {
        let begin = Instant::now();
        until(|| led(&mut connection) == 0);
        vec![begin.elapsed()]
    });
}

/// Runs a step, which returns how long each of its requests took, and prints a row.
fn step_of(step: &str, count: usize, usage: Usage<'_>, run: impl FnOnce() -> Vec<Duration>) {
    let (before, begin) = (usage().1, Instant::now());
    let mut times = run();
    let took = begin.elapsed();
    let (resident, cpu) = usage();
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let quantile = |percent: usize| milliseconds(times[(times.len() - 1) * percent / 100]);
    let topics = f64::from(u32::try_from(count.max(1)).expect("fewer than 4 billion topics"));
    println!(
        "  {step:18} {:5.2} s  {:7.3} ms   {:8.1} ms   {:8.1} ms {:6.2} s {:6} MiB",
        took.as_secs_f64(),
        milliseconds(took) / topics,
        quantile(50),
        quantile(99),
        (cpu.saturating_sub(before)).as_secs_f64(),
        resident >> 20
    );
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !done() {
        assert!(Instant::now() < deadline, "not after five minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How many topics have leaders for all their partitions.
fn led(connection: &mut Connection) -> usize {
    let response = connection.call(12, &MetadataRequest::default().with_topics(None));
    let topics = response.topics.iter().filter(|topic| {
        let partitions = &topic.partitions;
        !partitions.is_empty()
            && partitions
                .iter()
                .all(|p| p.error_code == 0 && p.leader_id.0 >= 0)
    });
    topics.count()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn create(connection: &mut Connection, names: &[String]) {
    let one = |name: &String| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(1)
            .with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default()
        .with_topics(names.iter().map(one).collect())
        .with_timeout_ms(60_000);
    for topic in connection.call(7, &request).topics {
        assert_eq!(topic.error_code, 0, "{:?}", topic.error_message);
    }
}

fn describe(connection: &mut Connection, names: &[String]) {
    let one = |name: &String| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(names.iter().map(one).collect());
    for result in connection.call(4, &request).results {
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
        assert!(result.configs.len() > 30, "all configs are described");
    }
}

fn alter(connection: &mut Connection, names: &[String]) {
    let one = |name: &String| {
        let config = AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_config_operation(0)
            .with_value(Some(text("86400000")));
        AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(vec![config])
    };
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(names.iter().map(one).collect());
    for response in connection.call(1, &request).responses {
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    }
}

fn delete(connection: &mut Connection, names: &[String]) {
    let one = |name: &String| DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default()
        .with_topics(names.iter().map(one).collect())
        .with_timeout_ms(60_000);
    for response in connection.call(6, &request).responses {
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    }
}
