//! Log compaction: of each key the newest record stays (Kafka's `Cleaner`).
//!
//! Invariant: ranges of a log are swapped in order, and none behind one that was not. A tombstone that is
//! dropped at last is dropped together with, or after, everything that it is the tombstone of.

mod filter;
mod keys;
mod pieces;
mod round;
mod spill;
#[cfg(test)]
mod testing;
mod transactions;
mod writer;

use aquifer_metadata_api::{
    extent::Extent,
    upkeep::{Clean, Inputs, InputsRequest, JobKind},
};
use metrics::counter;

pub use self::{
    filter::{Filter, FilterCounts},
    keys::KeyIndex,
    spill::{FolderSpill, MemorySpill, Spill},
    transactions::CleanedTransactions,
};
use self::{
    round::{Ended, Log, Round},
    writer::Writer,
};
use crate::worker::{JobError, JobLease, Outputs, RunSource, Source, Swaps};

/// Does a job of log compaction.
///
/// # Errors
/// See [`JobError`].
pub async fn clean(
    lease: &JobLease,
    source: &mut Source,
    outputs: &mut Outputs,
    swaps: &mut Swaps,
    keys: &mut KeyIndex,
) -> Result<(), JobError> {
    let JobKind::Clean(job) = lease.job().kind else {
        return Ok(());
    };
    let work = clean_log(lease, job, source, outputs, swaps, keys);
    let done = tokio::select! {
        biased;
        lost = lease.lost() => Err(lost),
        done = work => done,
    };
    let cleared = keys.clear();
    done.and(cleared)
}

async fn clean_log(
    lease: &JobLease,
    job: Clean,
    source: &Source,
    outputs: &mut Outputs,
    swaps: &mut Swaps,
    keys: &mut KeyIndex,
) -> Result<(), JobError> {
    let Some(inputs) = inputs(lease, &job).await? else {
        return Ok(());
    };
    let (Some(first), Some(last)) = (inputs.extents.first(), inputs.extents.last()) else {
        return Ok(());
    };
    let job = Clean {
        from: first.base_offset,
        first_dirty: job.first_dirty.max(first.base_offset),
        to: last.end_offset,
        ..job
    };
    let log = SourceLog {
        source,
        inputs: &inputs,
    };
    let aborted = source.aborted(&inputs.extents).await?;
    let ended = {
        let mut writer = Writer::new(job.partition, outputs, swaps);
        let round = Round {
            job,
            extents: &inputs.extents,
            last_records: inputs.last_records.iter().copied().collect(),
            aborted,
            log: &log,
            keys,
            sink: &mut writer,
            piece_bytes: pieces::PIECE_BYTES,
        };
        Box::pin(round.run()).await?
    };
    if !ended.swapped {
        // What is open belongs to ranges that must not be swapped any more.
        outputs.abort().await;
    }
    tell(&job, &ended);
    Ok(())
}

fn tell(job: &Clean, ended: &Ended) {
    let counts = &ended.counts;
    counter!("aquifer_compactor_cleaned_records_total", "stays" => "yes")
        .increment(counts.records_out);
    counter!("aquifer_compactor_cleaned_records_total", "stays" => "no")
        .increment(counts.records_in.saturating_sub(counts.records_out));
    tracing::info!(
        partition = %job.partition,
        from = %job.from,
        end = %ended.end,
        records = counts.records_in,
        left = counts.records_out,
        "compacted a log"
    );
    if counts.keyless > 0 {
        tracing::warn!(
            partition = %job.partition,
            records = counts.keyless,
            "records without a key were removed: they cannot be in a compacted topic"
        );
    }
    if !ended.swapped {
        tracing::info!(
            partition = %job.partition,
            "the log changed while it was compacted; the next round goes on"
        );
    }
}

/// Asks for all extents of the job, as far as they can be compacted. None = the partition is gone.
async fn inputs(lease: &JobLease, job: &Clean) -> Result<Option<Inputs>, JobError> {
    let mut all: Option<Inputs> = None;
    let mut from = job.from;
    loop {
        let mut reply = lease
            .asked(|token| {
                lease.metadata().job_inputs(InputsRequest {
                    token,
                    partitions: vec![(job.partition, from)],
                })
            })
            .await?;
        let Some(mut more) = reply
            .partitions
            .pop()
            .filter(|inputs| inputs.partition == job.partition)
        else {
            return Ok(all);
        };
        let goes_on = take_cleanable(&mut more, job, all.is_none());
        match &mut all {
            None => all = Some(more),
            Some(all) => {
                all.extents.append(&mut more.extents);
                all.breaks.append(&mut more.breaks);
            }
        }
        match reply.next {
            Some((partition, next)) if goes_on && partition == job.partition && next > from => {
                from = next;
            }
            _ => return Ok(all),
        }
    }
}

/// Leaves what lies within the job, up to the first extent in front of which there is one that is not merged.
/// Whether that is all of it.
fn take_cleanable(inputs: &mut Inputs, job: &Clean, is_first: bool) -> bool {
    let fits = |(at, (extent, breaks)): &(usize, (&Extent, &bool))| {
        let is_begin = is_first && *at == 0;
        extent.end_offset <= job.to && (is_begin || !**breaks)
    };
    let pairs = inputs.extents.iter().zip(&inputs.breaks).enumerate();
    let fit = pairs.take_while(fits).count();
    let goes_on = fit == inputs.extents.len();
    inputs.extents.truncate(fit);
    inputs.breaks.truncate(fit);
    goes_on
}

struct SourceLog<'a> {
    source: &'a Source,
    inputs: &'a Inputs,
}

impl Log for SourceLog<'_> {
    fn run(&self, extents: &[Extent]) -> Box<dyn RunSource + '_> {
        self.source.plan(extents);
        self.source.run(self.inputs, extents)
    }
}
