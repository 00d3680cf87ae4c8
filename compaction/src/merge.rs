//! Merging: the same batches, in fewer and larger runs.
//!
//! Extents that follow one another are a *range*. It becomes a run, or a few where it is larger than a run may be,
//! and is swapped by itself. Ranges are ended where extents end, and early rather than late: a range whose objects
//! are durable waits for nothing.

use std::collections::BTreeSet;

use aquifer_format::{
    ids::{ObjectId, Offset, PartitionId},
    limits::{JOB_EXTENTS_MAX, JOB_PARTITIONS_MAX, RUN_EXPANDED_BYTES_MAX, SWAP_EXTENTS_MAX},
    object::AbortedTransaction,
};
use aquifer_metadata_api::{
    MetadataError,
    extent::Extent,
    upkeep::{Inputs, InputsReply, InputsRequest, JobKind, MergeRange},
};

pub use crate::worker::Tally;
use crate::worker::{
    Batch, Begun, JobError, JobLease, Outputs, Source, Swaps, WrittenRun, overlapping,
};

/// Extents in one range at most: half of what a swap takes, so that another fits beside it.
const RANGE_EXTENTS_MAX: usize = SWAP_EXTENTS_MAX / 2;
const _: () = assert!(RANGE_EXTENTS_MAX <= JOB_EXTENTS_MAX);

/// Does a job of merging: of objects of level 0, or of ranges.
///
/// # Errors
/// See [`JobError`].
pub async fn merge(
    lease: &JobLease,
    source: &mut Source,
    outputs: &mut Outputs,
    swaps: &mut Swaps,
) -> Result<(), JobError> {
    let (partitions, ranges): (Vec<_>, Option<&[MergeRange]>) = match &lease.job().kind {
        JobKind::MergeObjects { objects, .. } => {
            let partitions = source.partitions(objects).await?;
            let from_the_first = partitions.into_iter().map(|id| (id, Offset(0)));
            (from_the_first.collect(), None)
        }
        JobKind::MergeRanges { ranges, .. } => (firsts(ranges), Some(ranges.as_slice())),
        JobKind::Clean(_) | JobKind::Delete { .. } => return Ok(()),
    };
    let mut merging = Merging {
        source,
        outputs,
        swaps,
        ranges,
        open: None,
        sent: 0,
    };
    for chunk in partitions.chunks(JOB_PARTITIONS_MAX) {
        let mut wanted = chunk.to_vec();
        while !wanted.is_empty() {
            let reply = ask(lease, &wanted).await?;
            merging.answer(&reply).await?;
            wanted = rest(&wanted, &reply)?;
        }
    }
    merging.end().await
}

/// Where the ranges of each partition begin.
fn firsts(ranges: &[MergeRange]) -> Vec<(PartitionId, Offset)> {
    let mut firsts: Vec<(PartitionId, Offset)> = Vec::new();
    for range in ranges {
        if firsts.last().is_none_or(|last| last.0 != range.partition) {
            firsts.push((range.partition, range.from));
        }
    }
    firsts
}

async fn ask(lease: &JobLease, wanted: &[(PartitionId, Offset)]) -> Result<InputsReply, JobError> {
    lease
        .asked(|token| {
            lease.metadata().job_inputs(InputsRequest {
                token,
                partitions: wanted.to_vec(),
            })
        })
        .await
}

/// What is still to be asked for.
fn rest(
    wanted: &[(PartitionId, Offset)],
    reply: &InputsReply,
) -> Result<Vec<(PartitionId, Offset)>, JobError> {
    let Some((partition, offset)) = reply.next else {
        return Ok(Vec::new());
    };
    let done = wanted.iter().take_while(|(id, _)| *id != partition).count();
    let mut rest = wanted.get(done..).unwrap_or_default().to_vec();
    let goes_on = rest.first_mut().is_some_and(|first| {
        let is_further = done > 0 || offset > first.1;
        first.1 = offset;
        is_further
    });
    if goes_on {
        Ok(rest)
    } else {
        Err(JobError::Metadata(MetadataError::Refused {
            reason: format!("the leader tells inputs of {partition} at {offset} again and again"),
        }))
    }
}

/// A range that is being written.
#[derive(Debug)]
struct OpenRange {
    partition: PartitionId,
    from: Offset,
    /// Where its last whole extent ends.
    to: Offset,
    run_bytes_max: usize,
    cleaned: bool,
    runs: Vec<WrittenRun>,
    inputs: Vec<ObjectId>,
    aborted: BTreeSet<AbortedTransaction>,
    /// Where the open run begins and ends so far; None = none is open.
    run: Option<(Offset, Offset)>,
    /// What was read for the open run.
    tally: Tally,
}

struct Merging<'a> {
    source: &'a Source,
    outputs: &'a mut Outputs,
    swaps: &'a mut Swaps,
    /// None = objects of level 0 are merged.
    ranges: Option<&'a [MergeRange]>,
    open: Option<OpenRange>,
    /// How many objects were durable when swaps were sent last.
    sent: usize,
}

impl Merging<'_> {
    async fn answer(&mut self, reply: &InputsReply) -> Result<(), JobError> {
        self.source
            .plan(reply.partitions.iter().flat_map(|inputs| &inputs.extents));
        for inputs in &reply.partitions {
            if inputs.breaks.len() != inputs.extents.len() {
                return Err(JobError::Metadata(MetadataError::Refused {
                    reason: "the leader does not tell where ranges of inputs begin".to_owned(),
                }));
            }
            let goes_on = reply.next.is_some_and(|(id, _)| id == inputs.partition);
            self.partition(inputs, goes_on).await?;
        }
        Ok(())
    }

    /// Merges what there is of a partition; `goes_on`: the next answer has more of it.
    async fn partition(&mut self, inputs: &Inputs, goes_on: bool) -> Result<(), JobError> {
        let mut begin = 0;
        while begin < inputs.extents.len() {
            let behind = begin.saturating_add(1);
            let further = inputs.breaks.iter().skip(behind);
            let end = behind.saturating_add(further.take_while(|breaks| !**breaks).count());
            let is_last = end >= inputs.extents.len();
            let continues = begin == 0 && !inputs.breaks.first().is_some_and(|breaks| *breaks);
            let joins = continues
                && self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.partition == inputs.partition);
            let segment = inputs.extents.get(begin..end).unwrap_or_default();
            begin = end;
            // One merged extent alone would become one merged extent.
            let is_alone = segment.len() == 1 && !joins && !(is_last && goes_on);
            if self.ranges.is_some() && is_alone {
                continue;
            }
            if !joins {
                self.end_range().await?;
            }
            self.segment(inputs, segment).await?;
        }
        Ok(())
    }

    /// Merges extents that follow one another.
    async fn segment(&mut self, inputs: &Inputs, extents: &[Extent]) -> Result<(), JobError> {
        let source = self.source;
        let mut reader = source.reader(inputs, extents);
        while let Some(begun) = reader.begin().await? {
            self.begin_extent(inputs.partition, &begun).await?;
            while let Some(batch) = reader.batch().await? {
                self.push(&batch).await?;
            }
            if let Some(open) = self.open.as_mut() {
                open.to = begun.extent.end_offset;
            }
        }
        Ok(())
    }

    async fn begin_extent(
        &mut self,
        partition: PartitionId,
        begun: &Begun,
    ) -> Result<(), JobError> {
        let extent = &begun.extent;
        let run_bytes = self.outputs.run_expanded_bytes();
        let is_old = self.outputs.is_old();
        let ends = self.open.as_ref().is_some_and(|open| {
            let raw_bytes = usize::try_from(extent.raw_bytes).unwrap_or(usize::MAX);
            let fits = run_bytes.saturating_add(raw_bytes) <= open.run_bytes_max;
            // Seven eighths are enough: then no run is cut within an extent, which would join two ranges.
            let is_full = !fits && run_bytes >= open.run_bytes_max / 8 * 7;
            is_full
                || is_old
                || open.inputs.len() >= RANGE_EXTENTS_MAX
                || (begun.cleaned && !open.cleaned)
                || open.run_bytes_max != self.run_bytes_max(partition, extent)
        });
        if ends {
            self.end_range().await?;
        }
        let run_bytes_max = self.run_bytes_max(partition, extent);
        let open = self.open.get_or_insert_with(|| OpenRange {
            partition,
            from: extent.base_offset,
            to: extent.base_offset,
            run_bytes_max,
            cleaned: begun.cleaned,
            runs: Vec::new(),
            inputs: Vec::new(),
            aborted: BTreeSet::new(),
            run: None,
            tally: Tally::default(),
        });
        open.inputs.push(extent.object);
        open.aborted.extend(begun.aborted.iter().copied());
        Ok(())
    }

    fn run_bytes_max(&self, partition: PartitionId, extent: &Extent) -> usize {
        let range = self.ranges.and_then(|ranges| {
            let key = (partition, extent.base_offset);
            let behind = ranges.partition_point(|range| (range.partition, range.from) <= key);
            ranges.get(behind.checked_sub(1)?)
        });
        range
            .and_then(|range| usize::try_from(range.run_bytes_max).ok())
            .unwrap_or(RUN_EXPANDED_BYTES_MAX)
            .min(RUN_EXPANDED_BYTES_MAX)
    }

    async fn push(&mut self, batch: &Batch) -> Result<(), JobError> {
        let run_bytes = self.outputs.run_expanded_bytes();
        let Some(open) = self.open.as_ref() else {
            return Ok(());
        };
        if let Some((base_offset, _)) = open.run {
            let bytes = run_bytes.saturating_add(batch.batch.bytes.len());
            let offsets = batch.end_offset.0.saturating_sub(base_offset.0);
            if bytes > open.run_bytes_max || u32::try_from(offsets).is_err() {
                self.end_run().await?;
            }
        }
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        match &mut open.run {
            Some((_, end)) => *end = batch.end_offset,
            None => {
                self.outputs.begin_run(open.partition, open.cleaned).await?;
                open.run = Some((batch.base_offset, batch.end_offset));
                open.tally = Tally::default();
            }
        }
        open.tally.add(&batch.batch.header, batch.batch.bytes.len());
        self.outputs.push(&batch.batch).await
    }

    /// Ends the open run, and compares what was written with what was read.
    async fn end_run(&mut self) -> Result<(), JobError> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        let Some((base_offset, end_offset)) = open.run.take() else {
            return Ok(());
        };
        let aborted = overlapping(&open.aborted, base_offset, end_offset);
        let written = self.outputs.end_run(aborted).await?;
        let offsets = (written.run.base_offset, written.run.end_offset);
        if written.tally != open.tally || offsets != (base_offset, end_offset) {
            return Err(JobError::Mismatch {
                partition: open.partition,
                what: format!(
                    "read: {:?} with the offsets from {base_offset} to {end_offset}; written: {:?} with those from \
                     {} to {}",
                    open.tally, written.tally, offsets.0, offsets.1
                ),
            });
        }
        open.runs.push(written);
        Ok(())
    }

    /// Ends the open range, and has swapped what is durable.
    async fn end_range(&mut self) -> Result<(), JobError> {
        self.end_run().await?;
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        if !open.runs.is_empty() {
            self.swaps.add(
                open.partition,
                (open.from, open.to),
                open.runs,
                open.inputs,
                None,
            );
        }
        if self.outputs.is_old() {
            self.outputs.finish().await?;
        }
        if self.outputs.objects.len() > self.sent {
            self.sent = self.outputs.objects.len();
            self.swaps.send(&self.outputs.objects, true).await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), JobError> {
        self.end_range().await?;
        self.outputs.finish().await?;
        self.swaps.send(&self.outputs.objects, true).await
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::ids::{PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::*;

    fn id(partition: i32) -> PartitionId {
        PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(partition))
    }

    #[test]
    fn inputs_are_asked_for_until_there_are_no_more() {
        let wanted = [(id(0), Offset(0)), (id(1), Offset(0)), (id(2), Offset(5))];
        let reply = |next| InputsReply {
            partitions: Vec::new(),
            next,
        };
        for (next, expected) in [
            (None, Some(vec![])),
            (
                Some((id(1), Offset(0))),
                Some(vec![(id(1), Offset(0)), (id(2), Offset(5))]),
            ),
            (Some((id(2), Offset(9))), Some(vec![(id(2), Offset(9))])),
            (
                Some((id(0), Offset(3))),
                Some(vec![
                    (id(0), Offset(3)),
                    (id(1), Offset(0)),
                    (id(2), Offset(5)),
                ]),
            ),
            // It would go on for ever.
            (Some((id(0), Offset(0))), None),
            (Some((id(7), Offset(0))), None),
        ] {
            assert_eq!(rest(&wanted, &reply(next)).ok(), expected, "{next:?}");
        }
    }

    #[test]
    fn each_partition_is_asked_for_from_its_first_range() {
        let range = |partition, from| MergeRange {
            partition: id(partition),
            from: Offset(from),
            to: Offset(from + 10),
            run_bytes_max: 1,
        };
        let ranges = [range(0, 5), range(0, 50), range(3, 0)];
        assert_eq!(firsts(&ranges), [(id(0), Offset(5)), (id(3), Offset(0))]);
    }
}
