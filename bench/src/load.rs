//! The load: producers on a schedule, consumers that read everything, and what came of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use serde::Serialize;

use crate::{
    arguments::Arguments,
    latency::{Latencies, Summary},
    payload::{self, Payloads},
};

/// How long the last records may take.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// How long a producer sleeps when nothing is due.
const TICK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// A prepared load.
pub(crate) struct Load {
    arguments: Arguments,
    partitions: i32,
}

/// What all threads of a run share.
struct Run {
    begin: Instant,
    /// Records due from here on are measured, until `end`.
    measured_from: Duration,
    end: Duration,
    acks: Latencies,
    end_to_end: Latencies,
    sent: AtomicU64,
    acked: AtomicU64,
    /// Acknowledged while the run was measured, whenever they were due.
    acked_in_time: AtomicU64,
    failed: AtomicU64,
    consumed: AtomicU64,
    stopping: AtomicBool,
}

impl Run {
    fn is_measured(&self, due: Duration) -> bool {
        (self.measured_from..self.end).contains(&due)
    }
}

/// Times acknowledgements.
#[derive(Clone)]
struct Acks(Arc<Run>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    /// Nanoseconds after the start at which the record was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        let run = &self.0;
        if result.is_err() {
            run.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = run.begin.elapsed();
        let due = Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
        run.acked.fetch_add(1, Ordering::Relaxed);
        if run.is_measured(now) {
            run.acked_in_time.fetch_add(1, Ordering::Relaxed);
        }
        if run.is_measured(due) {
            run.acks.record(now.saturating_sub(due));
        }
    }
}

impl Load {
    /// Makes sure that the topic is there.
    pub(crate) fn prepare(arguments: &Arguments) -> Result<Self> {
        let admin: AdminClient<DefaultClientContext> = client(arguments, 0)
            .create()
            .context("cannot make a client")?;
        let new = NewTopic::new(
            &arguments.topic,
            arguments.partitions,
            TopicReplication::Fixed(-1),
        );
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let created = runtime
            .block_on(admin.create_topics([&new], &options))
            .with_context(|| format!("no answer from {}", arguments.bootstrap))?;
        match created.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                bail!("cannot create topic {}: {code}", arguments.topic);
            }
            _ => {}
        }
        let probe: BaseConsumer = client(arguments, 0).create()?;
        let metadata = probe.fetch_metadata(Some(&arguments.topic), PATIENCE)?;
        let partitions = metadata
            .topics()
            .first()
            .map_or(0, |t| t.partitions().len());
        let partitions = i32::try_from(partitions)?;
        if partitions == 0 {
            bail!("topic {} has no partitions yet; try again", arguments.topic);
        }
        Ok(Self {
            arguments: arguments.clone(),
            partitions,
        })
    }

    /// Offers `megabytes` per second (None = as much as goes), and measures.
    pub(crate) fn run(&self, megabytes: Option<f64>) -> Result<Outcome> {
        let arguments = &self.arguments;
        let measured_from = Duration::from_secs(arguments.warm_up);
        // Consumers stand at the end before the first record is sent.
        let consumers = self.consumers()?;
        let run = Arc::new(Run {
            begin: Instant::now(),
            measured_from,
            end: measured_from + Duration::from_secs(arguments.seconds),
            acks: Latencies::new(),
            end_to_end: Latencies::new(),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            acked_in_time: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let readers: Vec<JoinHandle<Result<()>>> = consumers
            .into_iter()
            .map(|consumer| {
                let run = Arc::clone(&run);
                std::thread::spawn(move || read(&run, &consumer))
            })
            .collect();
        let writers: Vec<JoinHandle<Result<()>>> = (0..arguments.producers)
            .map(|index| {
                let producer = self.producer(index, &run)?;
                let (run, load) = (Arc::clone(&run), arguments.clone());
                let each = megabytes.map(|all| all / f64::from(load.producers));
                Ok(std::thread::spawn(move || {
                    write(&run, &load, index, &producer, each)
                }))
            })
            .collect::<Result<_>>()?;
        let mut failure = None;
        for writer in writers {
            failure = joined(writer).err().or(failure);
        }
        let deadline = Instant::now() + PATIENCE;
        let to_read = run.acked.load(Ordering::Relaxed);
        while arguments.consumers > 0
            && run.consumed.load(Ordering::Relaxed) < to_read
            && Instant::now() < deadline
        {
            std::thread::sleep(TICK);
        }
        run.stopping.store(true, Ordering::Release);
        for reader in readers {
            failure = joined(reader).err().or(failure);
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(self.outcome(&run, megabytes)),
        }
    }

    fn outcome(&self, run: &Run, offered: Option<f64>) -> Outcome {
        let bytes = f64::from(self.arguments.record_bytes);
        let per_second =
            |records: u64| number(records) * bytes / 1e6 / number(self.arguments.seconds);
        Outcome {
            offered_megabytes_per_second: offered,
            megabytes_per_second: per_second(run.acked_in_time.load(Ordering::Relaxed)),
            records: run.sent.load(Ordering::Relaxed),
            failed: run.failed.load(Ordering::Relaxed),
            unread: (self.arguments.consumers > 0).then(|| {
                let acked = run.acked.load(Ordering::Relaxed);
                acked.saturating_sub(run.consumed.load(Ordering::Relaxed))
            }),
            acks: run.acks.summary(),
            end_to_end: run.end_to_end.summary(),
            shares: BTreeMap::new(),
        }
    }

    fn producer(&self, index: u32, run: &Arc<Run>) -> Result<BaseProducer<Acks>> {
        let mut config = client(&self.arguments, index);
        config.set("enable.idempotence", "true");
        for setting in &self.arguments.producer_setting {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| anyhow!("{setting} is not of the form NAME=VALUE"))?;
            config.set(name, value);
        }
        config
            .create_with_context(Acks(Arc::clone(run)))
            .context("cannot make a producer")
    }

    /// Each reads its share of the partitions from where they end now.
    fn consumers(&self) -> Result<Vec<BaseConsumer>> {
        let count = self.arguments.consumers;
        (0..count)
            .map(|index| {
                let mut config = client(&self.arguments, index);
                config
                    .set("group.id", "aquifer-bench")
                    .set("enable.auto.commit", "false");
                let consumer: BaseConsumer = config.create().context("cannot make a consumer")?;
                let mut mine = TopicPartitionList::new();
                for partition in 0..self.partitions {
                    if partition.unsigned_abs() % count == index {
                        let topic = &self.arguments.topic;
                        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
                        mine.add_partition_offset(topic, partition, Offset::Offset(end))?;
                    }
                }
                consumer.assign(&mine)?;
                Ok(consumer)
            })
            .collect()
    }
}

fn client(arguments: &Arguments, index: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &arguments.bootstrap);
    let ids = &arguments.client_id;
    let turn = usize::try_from(index).unwrap_or(0) % ids.len().max(1);
    if let Some(id) = ids.get(turn) {
        config.set("client.id", id);
    }
    config
}

fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the load panicked"))?
}

/// One producer: each record is sent when it is due, or as soon after as the client takes it.
fn write(
    run: &Run,
    load: &Arguments,
    index: u32,
    producer: &BaseProducer<Acks>,
    megabytes: Option<f64>,
) -> Result<()> {
    let bytes = usize::try_from(load.record_bytes).unwrap_or(usize::MAX);
    let interval =
        megabytes.map(|m| Duration::from_secs_f64(f64::from(load.record_bytes) / (m * 1e6)));
    let mut payloads = Payloads::new(u64::from(index) + 1);
    let mut value = Vec::with_capacity(bytes);
    let mut sent = 0u64;
    loop {
        let now = run.begin.elapsed();
        let due = match interval {
            Some(interval) => Duration::from_secs_f64(interval.as_secs_f64() * number(sent)),
            None => now,
        };
        if due >= run.end {
            break;
        }
        if due > now {
            producer.poll(Duration::ZERO);
            std::thread::sleep((due - now).min(TICK));
            continue;
        }
        payloads.fill(&mut value, bytes, due);
        let opaque = usize::try_from(due.as_nanos()).unwrap_or(usize::MAX);
        let record: BaseRecord<'_, (), [u8], usize> =
            BaseRecord::with_opaque_to(&load.topic, opaque).payload(&value);
        if !send(producer, record, run)? {
            break;
        }
        sent += 1;
        run.sent.fetch_add(1, Ordering::Relaxed);
        if sent.is_multiple_of(64) {
            producer.poll(Duration::ZERO);
        }
    }
    producer
        .flush(FLUSH_MAX)
        .context("the last records were not acknowledged")
}

/// Waits for room in the client's queue: what is due meanwhile is sent late, and its latency says so.
/// False = the time is up.
fn send(
    producer: &BaseProducer<Acks>,
    mut record: BaseRecord<'_, (), [u8], usize>,
    run: &Run,
) -> Result<bool> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if run.begin.elapsed() >= run.end + FLUSH_MAX {
                    return Ok(false);
                }
                producer.poll(TICK);
                record = back;
            }
            Err((error, _)) => return Err(error).context("a record was not taken"),
        }
    }
}

fn read(run: &Run, consumer: &BaseConsumer) -> Result<()> {
    while !run.stopping.load(Ordering::Acquire) {
        let Some(message) = consumer.poll(Duration::from_millis(20)) else {
            continue;
        };
        let message = match message {
            Ok(message) => message,
            // The client goes on by itself.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            )) => continue,
            Err(error) => return Err(error).context("a consumer failed"),
        };
        let Some(due) = message.payload().and_then(payload::due) else {
            continue;
        };
        run.consumed.fetch_add(1, Ordering::Relaxed);
        if run.is_measured(due) {
            run.end_to_end
                .record(run.begin.elapsed().saturating_sub(due));
        }
    }
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of one run have far fewer than 52 bits"
)]
fn number(count: u64) -> f64 {
    count as f64
}

/// What came of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) offered_megabytes_per_second: Option<f64>,
    /// Acknowledged while it was measured.
    pub(crate) megabytes_per_second: f64,
    pub(crate) records: u64,
    pub(crate) failed: u64,
    /// Acknowledged records that no consumer saw; None without consumers.
    pub(crate) unread: Option<u64>,
    pub(crate) acks: Option<Summary>,
    pub(crate) end_to_end: Option<Summary>,
    /// Mean milliseconds per stage, by the agents.
    pub(crate) shares: BTreeMap<&'static str, f64>,
}

impl Outcome {
    pub(crate) fn header() -> &'static str {
        "offered MB/s | acked MB/s | ack p50 / p95 / p99 / max ms | end to end p50 / p99 ms | failed, unread | stages"
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offered_megabytes_per_second {
            Some(offered) => write!(f, "{offered:.1}")?,
            None => f.write_str("max")?,
        }
        write!(f, " | {:.1} | ", self.megabytes_per_second)?;
        match &self.acks {
            Some(s) => write!(
                f,
                "{:.1} / {:.1} / {:.1} / {:.1}",
                s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms
            )?,
            None => f.write_str("-")?,
        }
        match &self.end_to_end {
            Some(s) => write!(f, " | {:.1} / {:.1}", s.p50_ms, s.p99_ms)?,
            None => f.write_str(" | -")?,
        }
        write!(f, " | {}, {}", self.failed, self.unread.unwrap_or(0))?;
        f.write_str(" |")?;
        for (stage, mean) in &self.shares {
            write!(f, " {stage} {mean:.1}")?;
        }
        Ok(())
    }
}
