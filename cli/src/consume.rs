//! `aquifer consume`: records become lines.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Result, bail};
use aquifer_store::Ports;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    arguments::{OutputForm, records::Consume},
    client::{self, Context},
    progress::{Counted, Progress},
    record_format::{RecordFormat, Shown},
    start_position::From,
    topic,
};

/// Longest wait for the next record before what is buffered has long been shown anyway.
const WAIT: Duration = Duration::from_millis(200);

/// Runs the command.
pub(crate) fn run(consume: &Consume) -> Result<()> {
    let format = match consume.output.output {
        OutputForm::Json => &RecordFormat::Json,
        OutputForm::Text => &consume.format,
    };
    let consumer: BaseConsumer<Context> = client::create(&config(consume), Context::default())?;
    let reader = Reader { consume, consumer };
    let ranges = reader.ranges()?;
    reader.assign(&ranges)?;
    match reader.print(format, &ranges) {
        // A reader that went away (head, say) has seen what it wanted.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn config(consume: &Consume) -> rdkafka::ClientConfig {
    client::config(
        &consume.bootstrap,
        &[
            // The client wants a name though no group is joined and no offset committed.
            ("group.id", "aquifer-consume"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
            ("allow.auto.create.topics", "false"),
            ("check.crcs", "true"),
            ("fetch.wait.max.ms", "500"),
            ("fetch.message.max.bytes", "8388608"),
            ("queued.max.messages.kbytes", "65536"),
        ],
    )
}

/// What is read of a partition.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// First offset.
    from: i64,
    /// The offset after the last one that was there at the start.
    end: i64,
}

struct Reader<'a> {
    consume: &'a Consume,
    consumer: BaseConsumer<Context>,
}

impl Reader<'_> {
    fn explain(&self, error: &KafkaError) -> anyhow::Error {
        client::explain(error, self.consumer.context(), &self.consume.bootstrap)
    }

    fn timeout(&self) -> Duration {
        client::timeout(&self.consume.bootstrap)
    }

    /// The partitions to read, and from where.
    fn ranges(&self) -> Result<BTreeMap<i32, Span>> {
        let name = &self.consume.topic;
        let metadata = self
            .consumer
            .fetch_metadata(Some(name), self.timeout())
            .map_err(|error| self.explain(&error))?;
        let there: Vec<i32> = topic::found(&metadata, name)?
            .partitions()
            .iter()
            .map(rdkafka::metadata::MetadataPartition::id)
            .collect();
        let wanted = if self.consume.partition.is_empty() {
            &there
        } else {
            &self.consume.partition
        };
        if let Some(missing) = wanted.iter().find(|id| !there.contains(id)) {
            bail!(
                "topic {name} has no partition {missing}; it has {}",
                there.len()
            );
        }
        let mut ranges = BTreeMap::new();
        for id in wanted {
            let (first, end) = self
                .consumer
                .fetch_watermarks(name, *id, self.timeout())
                .map_err(|error| self.explain(&error))?;
            let from = match self.consume.from {
                From::Beginning => first,
                From::End => end,
                From::Last(count) => end.saturating_sub(count).max(first),
                From::Offset(offset) if offset > end => {
                    bail!("offset {offset} is not there yet: partition {id} ends at {end}")
                }
                From::Offset(offset) => offset.max(first),
                // Replaced below, for all partitions in one request.
                From::Time(_) | From::Ago(_) => end,
            };
            ranges.insert(*id, Span { from, end });
        }
        if let Some(time) = self.time() {
            self.seek_time(time, &mut ranges)?;
        }
        Ok(ranges)
    }

    /// The time at which to begin, if it is one.
    fn time(&self) -> Option<i64> {
        match self.consume.from {
            From::Time(millis) => Some(millis),
            From::Ago(span) => {
                let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                Some(Ports::system().clock.unix_millis().saturating_sub(span))
            }
            _ => None,
        }
    }

    fn seek_time(&self, time: i64, ranges: &mut BTreeMap<i32, Span>) -> Result<()> {
        let mut wanted = TopicPartitionList::with_capacity(ranges.len());
        for id in ranges.keys() {
            wanted.add_partition_offset(&self.consume.topic, *id, Offset::Offset(time))?;
        }
        let found = self
            .consumer
            .offsets_for_times(wanted, self.timeout())
            .map_err(|error| self.explain(&error))?;
        for element in found.elements() {
            element.error().map_err(|error| self.explain(&error))?;
            if let (Some(range), Offset::Offset(offset)) =
                (ranges.get_mut(&element.partition()), element.offset())
            {
                range.from = offset;
            }
        }
        Ok(())
    }

    fn assign(&self, ranges: &BTreeMap<i32, Span>) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(ranges.len());
        for (id, range) in ranges {
            list.add_partition_offset(&self.consume.topic, *id, Offset::Offset(range.from))?;
        }
        self.consumer
            .assign(&list)
            .map_err(|error| self.explain(&error))
    }

    fn print(&self, format: &RecordFormat, ranges: &BTreeMap<i32, Span>) -> Result<()> {
        let stdout = io::stdout();
        // A bar between lines of records would be of no use to anybody.
        let wanted = !self.consume.quiet && !stdout.is_terminal();
        let progress = Progress::new(Counted::Records, self.total(ranges), wanted);
        let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
        // Partitions whose end at the start has not been reached.
        let mut open: BTreeMap<i32, i64> = ranges
            .iter()
            .filter(|(_, range)| range.from < range.end)
            .map(|(id, range)| (*id, range.end))
            .collect();
        let mut printed = 0;
        let enough = |printed: u64, open: &BTreeMap<i32, i64>| {
            self.consume.count.is_some_and(|count| printed >= count)
                || (self.consume.exit_at_end && open.is_empty())
        };
        while !enough(printed, &open) {
            let next = match self.consumer.poll(Duration::ZERO) {
                None => {
                    out.flush()?;
                    progress.at(printed);
                    self.consumer.poll(WAIT)
                }
                next => next,
            };
            match next {
                None => {}
                Some(Err(KafkaError::PartitionEOF(id))) => {
                    open.remove(&id);
                }
                Some(Err(error)) => self.failed(&error)?,
                Some(Ok(message)) => {
                    let end = open.get(&message.partition()).copied();
                    // After the end at the start: another partition is still being read.
                    let late = end.is_none_or(|end| message.offset() >= end);
                    if !(self.consume.exit_at_end && late) {
                        format.write(&mut out, &Shown::of(&message))?;
                        printed += 1;
                    }
                    if end.is_some_and(|end| message.offset() + 1 >= end) {
                        open.remove(&message.partition());
                    }
                }
            }
        }
        out.flush()?;
        progress.end();
        Ok(())
    }

    /// How many records there are to come, where that is known.
    fn total(&self, ranges: &BTreeMap<i32, Span>) -> Option<u64> {
        let there: i64 = ranges.values().map(|range| range.end - range.from).sum();
        let there = u64::try_from(there).unwrap_or(0);
        match (self.consume.count, self.consume.exit_at_end) {
            (Some(count), true) => Some(count.min(there)),
            (Some(count), false) => Some(count),
            (None, true) => Some(there),
            (None, false) => None,
        }
    }

    /// Errors that the client gets over by itself are left to it.
    fn failed(&self, error: &KafkaError) -> Result<()> {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve,
            ) => {
                tracing::warn!(%error, "the connection broke; trying again");
                Ok(())
            }
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => bail!(
                "the records to read next were deleted meanwhile; begin again with --from beginning"
            ),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                bail!("topic {} was deleted", self.consume.topic)
            }
            _ => Err(self.explain(error)),
        }
    }
}
