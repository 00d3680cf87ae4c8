//! Reads what was planned: runs from memory or the bucket, batches within the bounds.

use std::{sync::Arc, time::Duration};

use aquifer_format::ids::{Offset, PartitionId};
use aquifer_metadata_api::{
    extent::{Extent, Watermarks},
    locate::{LocatePartition, LocateRequest},
};
use futures::{StreamExt, stream};
use kafka_protocol::ResponseError;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    BUDGET_UNIT, FetchPath, Fetched, Limits, PartitionAnswer, Wanted,
    cache::{ReadError, Reading},
    index::{PIECE_BYTES, has_pieces, pieces},
    plan::{Found, bytes_max, readable_end},
    run::{Run, Selected, Take},
};
use crate::peers::{Unit, ownership::is_tail};

/// How often a partition is located again because an object was gone, within one request.
const RELOCATIONS_MAX: usize = 3;

/// A response may always have this much, whatever others hold: one batch of a usual size.
const RESPONSE_BYTES_MIN: u64 = 64 * 1024;
/// How long objects are read one after the other for one answer: many small ones may hold less than the
/// client asked for, and it must hear something in time.
const READ_MAX: Duration = Duration::from_millis(500);
/// How long a response waits for the budget before it makes do with [`RESPONSE_BYTES_MIN`].
const BUDGET_WAIT: Duration = Duration::from_secs(1);

/// A partition to be read.
struct Job {
    id: PartitionId,
    /// As they were located.
    extents: Vec<Extent>,
    take: Take,
    /// What is known of the reader.
    reader: Reader,
}

/// How a partition is read.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    /// It goes on where somebody stopped.
    sequential: bool,
    /// Cold units that it has read one after the other.
    cold_units: u32,
    /// The unit that it read last.
    last: Option<Unit>,
    /// It reads all there is: see [`super::FetchSettings::scan_units`].
    scans: bool,
}

impl Reader {
    fn reading(&self, cold: bool) -> Reading {
        if self.scans && cold {
            Reading::Scan
        } else {
            Reading::Usual
        }
    }

    /// It has read an extent to its end.
    fn finished(&mut self, extent: &Extent, cold: bool) {
        let (unit, _) = Unit::of_run(extent.object, extent.run_position, extent.run_bytes);
        let another = self.last.replace(unit) != Some(unit);
        if !cold {
            self.cold_units = 0;
        } else if another {
            self.cold_units = self.cold_units.saturating_add(1);
        }
    }
}

/// What to read of a partition: extents, or pieces of large ones.
struct Cut {
    extents: Vec<Extent>,
    /// Those from here on are not needed now, but perhaps by the next read.
    ahead: usize,
}

/// What came of it.
#[derive(Default)]
struct Done {
    records: Vec<Selected>,
    bytes: u64,
    error: Option<ResponseError>,
    log_start: Option<Offset>,
}

impl FetchPath {
    /// Reads every partition that has something, several at a time.
    pub(super) async fn read(
        &self,
        wanted: &[Wanted],
        found: Vec<Found>,
        limits: &Limits,
    ) -> Fetched {
        let (_, planned) = share_out(wanted, &found, limits);
        let (permit, bytes_max) = self.hold(planned).await;
        let bytes_max = limits.bytes_max.min(bytes_max);
        let limits = &Limits {
            bytes_max,
            ..*limits
        };
        let (shares, _) = share_out(wanted, &found, limits);
        let jobs = found
            .into_iter()
            .zip(shares)
            .map(|(found, share)| async move {
                match (found, share) {
                    (Found::Ready { id, marks, extents }, Some(share)) => {
                        let job = Job::new(id, marks, extents, share, limits);
                        let done = self.read_partition(job).await;
                        (Found::AtEnd { id, marks }, done)
                    }
                    (found, _) => (found, Done::default()),
                }
            });
        let at_once = self.settings.partitions_read_at_once.max(1);
        let results: Vec<(Found, Done)> = stream::iter(jobs).buffered(at_once).collect().await;
        let answers: Vec<PartitionAnswer> = wanted
            .iter()
            .zip(results)
            .map(|(wanted, (found, done))| answer(wanted, &found, done))
            .collect();
        let bytes = answers.iter().map(|answer| answer.records_bytes).sum();
        metrics::counter!("aquifer_fetch_bytes_total").increment(bytes);
        Fetched { answers, permit }
    }

    /// Takes the right to hold `bytes` until the answer is written, or to hold as many as the budget has
    /// for one answer: never more than a quarter of what is free, so that clients that do not read
    /// their answers make those of others smaller and do not stop them.
    async fn hold(&self, bytes: u64) -> (Option<OwnedSemaphorePermit>, u64) {
        if bytes == 0 {
            return (None, u64::MAX);
        }
        let free = u64::try_from(self.budget.available_permits()).unwrap_or(u64::MAX);
        let least = RESPONSE_BYTES_MIN / BUDGET_UNIT;
        let units = bytes.div_ceil(BUDGET_UNIT).min((free / 4).max(least));
        let wanted = u32::try_from(units).unwrap_or(u32::MAX >> 1);
        let permit = Arc::clone(&self.budget).acquire_many_owned(wanted);
        match self.ports.timeout(BUDGET_WAIT, permit).await {
            // The semaphore is never closed.
            Some(permit) => (permit.ok(), units * BUDGET_UNIT),
            None => {
                metrics::counter!("aquifer_fetch_budget_exhausted_total").increment(1);
                (None, RESPONSE_BYTES_MIN)
            }
        }
    }

    async fn read_partition(&self, mut job: Job) -> Done {
        let mut done = Done::default();
        let cold_units = self.positions.lock().cold_units(job.id, job.take.from);
        job.reader = Reader {
            sequential: cold_units.is_some(),
            cold_units: cold_units.unwrap_or(0),
            last: None,
            scans: cold_units.is_some_and(|units| units > self.settings.scan_units),
        };
        for _ in 0..=RELOCATIONS_MAX {
            let read = match self.cut(&job).await {
                Ok(cut) => self.read_extents(&cut, &mut job, &mut done).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(()) => break,
                Err((ReadError::Gone, extent)) => {
                    metrics::counter!("aquifer_fetch_relocated_total").increment(1);
                    self.view.forget_object(job.id, &extent.object);
                    if !self.relocate(&mut job, &mut done).await {
                        break;
                    }
                    done.error = Some(ResponseError::KafkaStorageError);
                }
                Err((error @ (ReadError::Failed { .. } | ReadError::Damaged(_)), extent)) => {
                    tracing::warn!(
                        partition = %job.id, offset = %extent.base_offset, object = ?extent.object, %error,
                        "cannot read records"
                    );
                    done.error = Some(ResponseError::KafkaStorageError);
                    break;
                }
            }
        }
        if !done.records.is_empty() {
            // What was read is in order; the client asks for the rest again.
            done.error = None;
            let mut positions = self.positions.lock();
            positions.add(job.id, job.take.from, job.reader.cold_units);
        }
        done
    }

    /// Cuts large extents into pieces, as far as they are needed now or soon.
    async fn cut(&self, job: &Job) -> Result<Cut, (ReadError, Extent)> {
        let take = &job.take;
        let soon = u64::try_from(self.settings.objects_read_ahead).unwrap_or(0);
        let soon = soon.saturating_mul(u64::from(PIECE_BYTES));
        let mut extents: Vec<Extent> = Vec::new();
        // Bytes of what is there so far.
        let mut bytes = 0u64;
        for extent in &job.extents {
            if !has_pieces(extent) {
                bytes = bytes.saturating_add(bytes_from(extent, take.from));
                extents.push(*extent);
                continue;
            }
            let left = take.bytes_max.saturating_add(soon).saturating_sub(bytes);
            if left == 0 && !extents.is_empty() {
                break;
            }
            let epoch = self.view.upload_epoch();
            let reading = job.reader.reading(!is_tail(&extent.object, epoch));
            let index = self.cache.index(extent, reading).await;
            let index = index.map_err(|error| (error, *extent))?;
            let mut end = take.from;
            for piece in pieces(extent, &index, take.from, left) {
                bytes = bytes.saturating_add(bytes_from(&piece, take.from));
                end = piece.end_offset;
                if piece.base_offset < take.before {
                    extents.push(piece);
                }
            }
            // What follows may only be read once all of this one was.
            if end < extent.end_offset {
                break;
            }
        }
        Ok(Cut::new(extents, take))
    }

    /// Reads extents until the bounds are reached; `job.take` then says how to go on.
    async fn read_extents(
        &self,
        cut: &Cut,
        job: &mut Job,
        done: &mut Done,
    ) -> Result<(), (ReadError, Extent)> {
        let (needed, ahead) = cut.extents.split_at(cut.ahead.min(cut.extents.len()));
        let at_once = self.settings.objects_read_ahead.max(1);
        let mut asked_bucket = false;
        let until = self.ports.clock.now().plus(READ_MAX);
        let epoch = self.view.upload_epoch();
        let reader = job.reader;
        let is_cold = |extent: &Extent| !is_tail(&extent.object, epoch);
        {
            let mut runs = stream::iter(needed.iter().copied())
                .map(|extent| async move {
                    let reading = reader.reading(is_cold(&extent));
                    (extent, self.cache.run(&extent, reading).await)
                })
                .buffered(at_once);
            while let Some((extent, run)) = runs.next().await {
                let (run, asked) = run.map_err(|error| (error, extent))?;
                asked_bucket |= asked;
                take_batches(&run, &extent, &mut job.take, done)
                    .map_err(|error| (error, extent))?;
                // The next extent only if nothing of this one was left out.
                if job.take.from < extent.end_offset {
                    break;
                }
                job.reader.finished(&extent, is_cold(&extent));
                if job.take.bytes_max == 0 {
                    break;
                }
                if asked_bucket && self.ports.clock.now() >= until {
                    break;
                }
            }
        }
        if asked_bucket && reader.sequential {
            let ahead = ahead.iter().filter(|e| e.base_offset >= job.take.from);
            for extent in ahead.take(self.settings.objects_read_ahead) {
                self.cache
                    .read_ahead(extent, reader.reading(is_cold(extent)));
            }
        }
        Ok(())
    }

    /// Asks the leader where the rest is now; false if there is nothing more to read.
    async fn relocate(&self, job: &mut Job, done: &mut Done) -> bool {
        let request = LocateRequest {
            partitions: vec![LocatePartition {
                partition: job.id,
                from: job.take.from,
                max_bytes: job.take.bytes_max,
            }],
        };
        let located = match self.metadata.locate(request).await {
            Ok(reply) => reply.partitions.into_iter().next().flatten(),
            Err(error) => {
                tracing::debug!(%error, "cannot locate again");
                done.error = Some(ResponseError::OffsetNotAvailable);
                return false;
            }
        };
        let Some(located) = located else {
            done.error = Some(ResponseError::UnknownTopicOrPartition);
            return false;
        };
        self.view.observe(job.id, &located.watermarks);
        done.log_start = Some(located.watermarks.log_start);
        if job.take.from < located.watermarks.log_start {
            done.error = Some(ResponseError::OffsetOutOfRange);
            return false;
        }
        self.view
            .keep_extents(job.id, job.take.from, &located.extents);
        job.extents = located.extents;
        job.extents.retain(|e| e.base_offset < job.take.before);
        !job.extents.is_empty()
    }
}

impl Job {
    fn new(
        id: PartitionId,
        marks: Watermarks,
        extents: Vec<Extent>,
        share: Share,
        limits: &Limits,
    ) -> Self {
        Self {
            id,
            extents,
            take: Take {
                from: share.from,
                before: readable_end(&marks, limits.committed),
                bytes_max: share.bytes,
                at_least_one: share.at_least_one,
                leader_epoch: marks.leader_epoch,
            },
            reader: Reader::default(),
        }
    }
}

impl Cut {
    fn new(extents: Vec<Extent>, take: &Take) -> Self {
        let mut bytes = extents.first().map_or(0, |e| bytes_from(e, take.from));
        let needed = extents.iter().skip(1).take_while(|extent| {
            let more = bytes < take.bytes_max;
            bytes += u64::from(extent.raw_bytes);
            more
        });
        let ahead = 1 + needed.count();
        Self { extents, ahead }
    }
}

/// About how many bytes an extent has from an offset on, its batches taken to be alike.
fn bytes_from(extent: &Extent, from: Offset) -> u64 {
    let (base, end) = (extent.base_offset.0, extent.end_offset.0);
    let span = |from: i64| u64::try_from(end.saturating_sub(from)).unwrap_or(0);
    let bytes = u64::from(extent.raw_bytes);
    match (span(from.0.max(base)), span(base).max(1)) {
        (left, all) if left >= all => bytes,
        (left, all) => {
            u64::try_from(u128::from(bytes) * u128::from(left) / u128::from(all)).unwrap_or(bytes)
        }
    }
}

/// Takes what fits of one extent, and moves the bounds on.
fn take_batches(
    run: &Run,
    extent: &Extent,
    take: &mut Take,
    done: &mut Done,
) -> Result<(), ReadError> {
    let bytes = run.select(extent, take, &mut done.records)?;
    done.bytes += bytes;
    take.bytes_max = take.bytes_max.saturating_sub(bytes);
    if bytes > 0 {
        take.at_least_one = false;
    }
    if let Some(last) = done.records.last() {
        take.from = take.from.max(last.end_offset);
    }
    Ok(())
}

/// A partition's part of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    from: Offset,
    bytes: u64,
    at_least_one: bool,
}

/// Divides the response's bytes among the partitions in the order of the request, and adds up what they
/// may hold. Only the first partition that has something gets a batch whatever its size (Kafka's
/// `ReplicaManager.readFromLog`).
fn share_out(wanted: &[Wanted], found: &[Found], limits: &Limits) -> (Vec<Option<Share>>, u64) {
    let mut left = limits.bytes_max;
    let mut planned = 0u64;
    let mut first = true;
    let mut shares = Vec::with_capacity(wanted.len());
    for (wanted, found) in wanted.iter().zip(found) {
        let Found::Ready { extents, .. } = found else {
            shares.push(None);
            continue;
        };
        let most = bytes_max(wanted).min(left);
        if most == 0 && !first {
            shares.push(None);
            continue;
        }
        let share = found.available(most);
        left -= share;
        planned += match extents.first() {
            Some(extent) if first => share.max(u64::from(extent.raw_bytes).min(1024 * 1024)),
            _ => share,
        };
        shares.push(Some(Share {
            from: Offset(wanted.offset),
            bytes: most,
            at_least_one: first,
        }));
        first = false;
    }
    (shares, planned)
}

fn answer(wanted: &Wanted, found: &Found, done: Done) -> PartitionAnswer {
    let error = |code: ResponseError| {
        PartitionAnswer::error(wanted.topic.clone(), wanted.index, code.code())
    };
    let marks = match found {
        Found::Error(code) => return error(*code),
        Found::AtEnd { marks, .. } | Found::Ask { marks, .. } | Found::Ready { marks, .. } => marks,
        Found::Unknown => return error(ResponseError::UnknownServerError),
    };
    if let Some(code) = done.error {
        return error(code);
    }
    PartitionAnswer {
        high_watermark: marks.high_watermark.0,
        last_stable: marks.last_stable.0,
        log_start: done.log_start.unwrap_or(marks.log_start).0,
        records: done.records,
        records_bytes: done.bytes,
        ..PartitionAnswer::error(wanted.topic.clone(), wanted.index, 0)
    }
}
