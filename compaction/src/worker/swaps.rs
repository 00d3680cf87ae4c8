//! Swapping what is durable, in pieces that the leader decides quickly.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_format::{
    ids::{LeaderTerm, ObjectId, Offset, PartitionId},
    limits::{JOB_OBJECTS_MAX, SWAP_EXTENTS_MAX, SWAP_OBJECTS_MAX, SWAP_RANGES_MAX},
};
use aquifer_metadata_api::{
    MetadataError,
    upkeep::{
        JobToken, MergedExtent, RangeOutcome, SwapObject, SwapRange, SwapReply, SwapRequest,
        WorkerId,
    },
};
use metrics::counter;

use super::{
    JobError, JobLease,
    output::{Output, WrittenRun},
};

#[derive(Clone, Debug)]
struct Waiting {
    partition: PartitionId,
    from: Offset,
    to: Offset,
    runs: Vec<WrittenRun>,
    inputs: BTreeSet<ObjectId>,
    input_extents: usize,
    cleaned_through: Option<Offset>,
}

impl Waiting {
    /// How many objects have to be durable before it can be swapped.
    fn needs(&self) -> usize {
        self.runs
            .iter()
            .map(|written| usize::try_from(written.object).map_or(usize::MAX, |index| index + 1))
            .max()
            .unwrap_or(0)
    }
}

/// Ranges that wait for their objects to be durable, or for a full piece.
#[derive(Debug)]
pub struct Swaps {
    lease: JobLease,
    waiting: Vec<Waiting>,
    /// Ranges that were swapped.
    pub done: u64,
    /// Ranges whose output is dead.
    pub dead: u64,
}

impl Swaps {
    /// None yet.
    #[must_use]
    pub fn new(lease: JobLease) -> Self {
        Self {
            lease,
            waiting: Vec::new(),
            done: 0,
            dead: 0,
        }
    }

    /// Adds a range; its runs may lie in several objects. `inputs`: the object of each of its extents.
    pub fn add(
        &mut self,
        partition: PartitionId,
        (from, to): (Offset, Offset),
        runs: Vec<WrittenRun>,
        inputs: impl IntoIterator<Item = ObjectId>,
        cleaned_through: Option<Offset>,
    ) {
        let mut input_extents = 0;
        let inputs = inputs.into_iter().inspect(|_| input_extents += 1).collect();
        self.waiting.push(Waiting {
            partition,
            from,
            to,
            runs,
            inputs,
            input_extents,
            cleaned_through,
        });
    }

    /// Sends those whose objects, the first ones of `objects`, are durable: full pieces, or all of them if
    /// `last`.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn send(&mut self, objects: &[Output], last: bool) -> Result<(), JobError> {
        let (mut ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|range| range.needs() <= objects.len());
        self.waiting = waiting;
        ready.sort_by_key(|range| (range.partition, range.from));
        while !ready.is_empty() {
            let piece = piece_of(&ready);
            if piece == ready.len() && piece < SWAP_RANGES_MAX && !last {
                break;
            }
            let rest = ready.split_off(piece);
            self.swap(ready, objects).await?;
            ready = rest;
        }
        self.waiting.append(&mut ready);
        Ok(())
    }

    /// Swaps a piece; what the leader had no time to look at is sent again.
    async fn swap(&mut self, piece: Vec<Waiting>, objects: &[Output]) -> Result<(), JobError> {
        let mut pieces = vec![piece];
        while let Some(piece) = pieces.pop() {
            let reply = self.ask(&piece, objects).await?;
            if reply.outcomes.len() != piece.len() {
                return Err(JobError::Metadata(MetadataError::Refused {
                    reason: format!(
                        "the leader told {} outcomes of {} ranges",
                        reply.outcomes.len(),
                        piece.len()
                    ),
                }));
            }
            // A leader that looked at no more than its bound says `Changed` of the ranges behind it.
            let first_changed = reply
                .outcomes
                .iter()
                .position(|outcome| *outcome == RangeOutcome::Changed);
            let unlooked = first_changed.filter(|first| {
                *first > 0
                    && reply
                        .outcomes
                        .iter()
                        .skip(*first)
                        .all(|outcome| *outcome == RangeOutcome::Changed)
            });
            let decided = unlooked.unwrap_or(piece.len());
            let mut fenced = false;
            for outcome in reply.outcomes.iter().take(decided) {
                fenced |= *outcome == RangeOutcome::Fenced;
                self.count(*outcome);
            }
            if fenced {
                return Err(JobError::Lost);
            }
            if decided < piece.len() {
                pieces.push(piece.into_iter().skip(decided).collect());
            }
        }
        Ok(())
    }

    fn count(&mut self, outcome: RangeOutcome) {
        let name = match outcome {
            RangeOutcome::Done => "done",
            RangeOutcome::Gone => "gone",
            RangeOutcome::Changed => "changed",
            RangeOutcome::Fenced => "fenced",
            RangeOutcome::TooOld => "too_old",
            RangeOutcome::Useless => "useless",
        };
        if outcome == RangeOutcome::Done {
            self.done += 1;
        } else {
            self.dead += 1;
        }
        counter!("aquifer_compactor_ranges_total", "outcome" => name).increment(1);
    }

    async fn ask(&self, piece: &[Waiting], objects: &[Output]) -> Result<SwapReply, JobError> {
        let lease = &self.lease;
        let request = request_of(lease.worker(), piece, objects);
        loop {
            let mut used = None;
            let asking = lease.asked(|token| {
                used = Some(token);
                lease.metadata().swap(SwapRequest {
                    token,
                    ..request.clone()
                })
            });
            let reply = asking.await?;
            // A new leader knows no token but its own, and gives one to whoever has the job.
            let fenced = reply.outcomes.contains(&RangeOutcome::Fenced);
            let Some(token) = used.filter(|_| fenced) else {
                return Ok(reply);
            };
            if lease.refresh(token).await? == token {
                return Ok(reply);
            }
        }
    }
}

/// How many of the first ranges make a piece: at least one, within every bound of a request.
fn piece_of(ranges: &[Waiting]) -> usize {
    let mut extents = 0;
    let mut outputs = 0;
    let mut inputs = BTreeSet::new();
    let mut objects = BTreeSet::new();
    let within = ranges.iter().take(SWAP_RANGES_MAX).take_while(|range| {
        extents += range.input_extents;
        outputs += range.runs.len();
        inputs.extend(range.inputs.iter().copied());
        objects.extend(range.runs.iter().map(|written| written.object));
        extents <= SWAP_EXTENTS_MAX
            && outputs <= SWAP_EXTENTS_MAX
            && inputs.len() <= JOB_OBJECTS_MAX
            && objects.len() <= SWAP_OBJECTS_MAX
    });
    within.count().max(1)
}

fn request_of(worker: WorkerId, piece: &[Waiting], objects: &[Output]) -> SwapRequest {
    let mut named = BTreeMap::new();
    for written in piece.iter().flat_map(|range| &range.runs) {
        named.entry(written.object).or_insert(0);
    }
    let mut told = Vec::new();
    for ((index, position), number) in named.iter_mut().zip(0u32..) {
        let output = usize::try_from(*index).ok().and_then(|i| objects.get(i));
        if let Some(output) = output {
            *position = number;
            told.push(SwapObject {
                id: output.id,
                bytes: output.bytes,
                locations: vec![0],
            });
        }
    }
    let extent = |written: &WrittenRun| MergedExtent {
        object: named.get(&written.object).copied().unwrap_or(u32::MAX),
        run_position: written.run.position,
        run_bytes: written.run.stored_bytes,
        raw_bytes: written.run.expanded_bytes,
        base_offset: written.run.base_offset,
        end_offset: written.run.end_offset,
        max_timestamp: written.run.max_timestamp,
    };
    let ranges = piece
        .iter()
        .map(|range| SwapRange {
            partition: range.partition,
            from: range.from,
            to: range.to,
            extents: range.runs.iter().map(extent).collect(),
            cleaned_through: range.cleaned_through,
        })
        .collect();
    let inputs: BTreeSet<ObjectId> = piece
        .iter()
        .flat_map(|range| range.inputs.iter().copied())
        .collect();
    SwapRequest {
        worker,
        // That of the moment is put in as it is sent.
        token: JobToken {
            term: LeaderTerm(0),
            number: 0,
        },
        objects: told,
        inputs: inputs.into_iter().collect(),
        ranges,
    }
}

#[cfg(test)]
mod tests {
    use aquifer_format::{
        ids::{Incarnation, ObjectLevel, PartitionIndex, TopicId, UploadEpoch, WriterSlot},
        object::StreamedRun,
    };
    use uuid::Uuid;

    use super::*;
    use crate::worker::Tally;

    fn id(level: ObjectLevel, unique: u64) -> ObjectId {
        ObjectId {
            incarnation: Incarnation(1),
            upload_epoch: UploadEpoch(1),
            writer: WriterSlot::COMPACTOR,
            level,
            unique,
        }
    }

    /// A range whose output is a run of this object, of `extents` in objects from `inputs` on.
    fn range(at: i64, object: u32, extents: u32, inputs: u64) -> Waiting {
        let partition = PartitionId::new(TopicId(Uuid::from_u128(1)), PartitionIndex(0));
        let run = StreamedRun {
            partition,
            position: 8,
            stored_bytes: 100,
            expanded_bytes: 100,
            batches: 1,
            records: 10,
            base_offset: Offset(at),
            end_offset: Offset(at + 10),
            max_timestamp: 5,
        };
        Waiting {
            partition,
            from: Offset(at),
            to: Offset(at + 10),
            runs: vec![WrittenRun {
                object,
                run,
                tally: Tally::default(),
            }],
            inputs: (0..u64::from(extents.min(2)))
                .map(|place| id(ObjectLevel::L0, inputs + place))
                .collect(),
            input_extents: usize::try_from(extents).unwrap(),
            cleaned_through: None,
        }
    }

    #[test]
    fn a_piece_keeps_every_bound_of_a_request() {
        let many = |count: usize, of: &dyn Fn(i64) -> Waiting| -> Vec<Waiting> {
            (0..i64::try_from(count).unwrap()).map(of).collect()
        };
        let unsigned = |at: i64| at.unsigned_abs();
        for (ranges, expected) in [
            (many(3, &|at| range(at * 10, 0, 2, 0)), 3),
            (many(600, &|at| range(at * 10, 0, 2, 0)), SWAP_RANGES_MAX),
            (many(5, &|at| range(at * 10, 0, 8_192, 0)), 2),
            (many(1, &|at| range(at * 10, 0, 20_000, 0)), 1),
            (
                many(100, &|at| range(at * 10, 0, 2, unsigned(at) * 2)),
                JOB_OBJECTS_MAX / 2,
            ),
            (
                many(100, &|at| range(at * 10, u32::try_from(at).unwrap(), 2, 0)),
                SWAP_OBJECTS_MAX,
            ),
        ] {
            assert_eq!(piece_of(&ranges), expected);
        }
    }

    #[test]
    fn a_request_names_only_the_objects_of_its_ranges() {
        let objects: Vec<Output> = (0..4)
            .map(|unique| Output {
                id: id(ObjectLevel::L1, unique),
                bytes: unique,
            })
            .collect();
        let piece = [range(0, 1, 2, 70), range(10, 3, 1, 60), range(20, 1, 1, 70)];
        let request = request_of(WorkerId(9), &piece, &objects);
        let named: Vec<u64> = request.objects.iter().map(|named| named.bytes).collect();
        assert_eq!(named, [1, 3]);
        let of_ranges: Vec<u32> = request
            .ranges
            .iter()
            .map(|range| range.extents[0].object)
            .collect();
        assert_eq!(of_ranges, [0, 1, 0]);
        let inputs: Vec<u64> = request.inputs.iter().map(|input| input.unique).collect();
        assert_eq!(inputs, [60, 70, 71]);
        assert_eq!(request.worker, WorkerId(9));
    }
}
