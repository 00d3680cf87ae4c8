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
