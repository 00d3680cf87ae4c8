//! `aquifer produce`: lines become records.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde_json::json;

use crate::{
    arguments::records::{Codec, Produce},
    client::{self, Context},
    key_value::KeyValue,
    output::Printer,
    progress::{Counted, Progress},
};

/// Longest line that is read; a longer one is no record that a cluster would take.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// Failures that are shown one by one.
const FAILURES_SHOWN: u64 = 20;

/// How many records are sent between two looks at what was delivered.
const POLL_EVERY: u64 = 1_000;

/// Runs the command.
pub(crate) fn run(produce: &Produce) -> Result<()> {
    let headers = headers(&produce.header);
    let (input, bytes) = open(produce.file.as_deref())?;
    let producer: BaseProducer<Deliveries> =
        client::create(&config(produce), Deliveries::default())?;
    producer
        .client()
        .fetch_metadata(Some(&produce.topic), client::timeout(&produce.bootstrap))
        .map_err(|error| client::explain(&error, &producer.context().client, &produce.bootstrap))?;
    let progress = Progress::new(Counted::Bytes, bytes, !produce.quiet);
    let mut sender = Sender {
        produce,
        headers,
        producer: &producer,
        progress: &progress,
        lines: 0,
        bytes: 0,
    };
    let read = sender.send_all(input);
    sender.finish();
    let lines = sender.lines;
    progress.end();
    outcome(read, producer.context().summary(produce, lines))
}

/// How it ended: what stopped the reading may be why records were not written.
fn outcome(read: Result<()>, written: Result<()>) -> Result<()> {
    match (read, written) {
        (Err(cause), Err(written)) => Err(cause.context(written)),
        (read, written) => read.and(written),
    }
}

fn config(produce: &Produce) -> rdkafka::ClientConfig {
    let codec = match produce.compression {
        Codec::None => "none",
        Codec::Gzip => "gzip",
        Codec::Snappy => "snappy",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    };
    let delivery_timeout = produce.delivery_timeout.0.as_millis().max(1).to_string();
    client::config(
        &produce.bootstrap,
        &[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("compression.type", codec),
            ("message.timeout.ms", &delivery_timeout),
            // Keys go to the partitions to which the Java client sends them.
            ("partitioner", "murmur2_random"),
            // Batches fill from a file; a lone line waits no longer than this.
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("message.max.bytes", "1000000000"),
            ("queue.buffering.max.kbytes", "131072"),
        ],
    )
}

fn headers(flags: &[KeyValue]) -> Option<OwnedHeaders> {
    if flags.is_empty() {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(flags.len());
    let headers = flags.iter().fold(headers, |headers, header| {
        headers.insert(Header {
            key: &header.key,
            value: Some(&header.value),
        })
    });
    Some(headers)
}

/// The input and, where that is known, its size.
fn open(file: Option<&Path>) -> Result<(Box<dyn BufRead>, Option<u64>)> {
    match file {
        Some(path) if path != Path::new("-") => {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                bail!("{} is a folder", path.display());
            }
            let bytes = meta.is_file().then_some(meta.len());
            Ok((Box::new(BufReader::with_capacity(1 << 20, file)), bytes))
        }
        _ => Ok((Box::new(io::stdin().lock()), None)),
    }
}

struct Sender<'a> {
    produce: &'a Produce,
    headers: Option<OwnedHeaders>,
    producer: &'a BaseProducer<Deliveries>,
    progress: &'a Progress,
    lines: u64,
    bytes: u64,
}

impl Sender<'_> {
    fn send_all(&mut self, mut input: Box<dyn BufRead>) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = io::Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let read =
                read.with_context(|| format!("reading stopped after line {}", self.lines))?;
            if read == 0 {
                return Ok(());
            }
            self.lines += 1;
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            self.bytes += read;
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if read >= LINE_BYTES_MAX {
                bail!("line {} is longer than 128 MiB", self.lines);
            }
            self.send(&line)?;
            if self.lines.is_multiple_of(POLL_EVERY) {
                self.producer.poll(Duration::ZERO);
                self.show();
            }
        }
    }

    fn show(&self) {
        self.progress.at(self.bytes);
        let delivered = self.producer.context().delivered.load(Ordering::Relaxed);
        self.progress
            .say(format!("{delivered} of {} records written", self.lines));
    }

    /// Hands one line to the client; waits while its queue is full.
    fn send(&self, line: &[u8]) -> Result<()> {
        let (key, value) = self.split(line);
        let number = usize::try_from(self.lines).context("too many lines")?;
        let mut record = BaseRecord::with_opaque_to(&self.produce.topic, number);
        record.key = key;
        record.payload = value;
        record.partition = self.produce.partition;
        record.headers.clone_from(&self.headers);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    self.producer.poll(Duration::from_millis(50));
                    self.show();
                }
                Err((KafkaError::MessageProduction(code), _)) => {
                    self.producer.context().failed(number, &code.to_string());
                    if self.producer.client().fatal_error().is_some() {
                        bail!("the client gave up at line {number}: {code}");
                    }
                    return Ok(());
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Key and value of a line.
    fn split<'l>(&self, line: &'l [u8]) -> (Option<&'l [u8]>, Option<&'l [u8]>) {
        let separator = self.produce.key_separator.as_deref().unwrap_or_default();
        let separator = separator.as_bytes();
        let at = (!separator.is_empty())
            .then(|| line.windows(separator.len()).position(|w| w == separator))
            .flatten();
        let (key, value) = match at {
            Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
            None => (None, line),
        };
        let null = self.produce.null_marker.as_deref();
        let is_null = null.is_some_and(|marker| marker.as_bytes() == value);
        (key, (!is_null).then_some(value))
    }

    /// Waits until each record was written or reported as failed; each has a deadline.
    fn finish(&self) {
        while self.producer.in_flight_count() > 0 {
            // An error is a time-out: go on, and show how far it is.
            let _ = self.producer.flush(Duration::from_millis(200));
            self.show();
        }
    }
}

/// What became of the records.
#[derive(Debug, Default)]
struct Deliveries {
    client: Context,
    delivered: AtomicU64,
    failures: AtomicU64,
    /// Keeps lines of the report whole.
    report: Mutex<()>,
}

impl Deliveries {
    fn failed(&self, line: usize, reason: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures <= FAILURES_SHOWN {
            let _whole = self.report.lock();
            eprintln!("aquifer: line {line} was not written: {reason}");
        }
    }

    fn summary(&self, produce: &Produce, lines: u64) -> Result<()> {
        let failures = self.failures.load(Ordering::Relaxed);
        let delivered = self.delivered.load(Ordering::Relaxed);
        let mut printer = Printer::stdout(produce.output);
        if printer.is_json() && !produce.quiet {
            let failed = lines.saturating_sub(delivered);
            let json = json!({ "topic": produce.topic, "written": delivered, "failed": failed });
            printer.say("", &json)?;
        }
        if failures > 0 || delivered != lines {
            let seen = self
                .client
                .last_error()
                .map(|seen| format!(" ({seen})"))
                .unwrap_or_default();
            bail!(
                "{} of {lines} records were not written to {}{seen}",
                lines - delivered,
                produce.topic
            );
        }
        if !produce.quiet && !printer.is_json() {
            eprintln!("{delivered} records written to {}", produce.topic);
        }
        Ok(())
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, line: usize) {
        match result {
            Ok(message) => {
                tracing::trace!(
                    line,
                    partition = message.partition(),
                    offset = message.offset()
                );
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let reason = error
                    .rdkafka_error_code()
                    .map_or_else(|| error.to_string(), |code| code.to_string());
                self.failed(line, &reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_a_line_that_stopped_the_reading_is_named() {
        let failed = |text: &'static str| Err(anyhow::anyhow!(text));
        let said = |read, written| match outcome(read, written) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        assert_eq!(said(Ok(()), Ok(())), "");
        assert_eq!(said(failed("too long"), Ok(())), "too long");
        assert_eq!(said(Ok(()), failed("not written")), "not written");
        assert_eq!(
            said(failed("too long"), failed("not written")),
            "not written: too long"
        );
    }
}
