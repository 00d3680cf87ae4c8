//! What keeps a cluster's bucket small: jobs of compactors, swaps, deletions, and topics that can come back.
//!
//! The leader plans. A worker leases a job, asks for the extents that it is about, writes objects, and *swaps*
//! ranges of offsets: each range is decided by itself, and only what still lies in the objects that the job
//! read is replaced. So a swap never loses a record, whoever else did what meanwhile; leases and tokens only
//! keep two workers from doing the same work.

mod job;
mod objects;
mod swap;
mod trash;

use async_trait::async_trait;

pub use self::{
    job::{
        Clean, Finish, Inputs, InputsReply, InputsRequest, Job, JobKind, JobOutcome, JobToken,
        LastRecord, LeaseReply, LeaseRequest, MergeRange, Renewal, Renewed, WorkKinds, WorkerId,
    },
    objects::{ListedObject, ObjectsReply, ObjectsRequest},
    swap::{MergedExtent, RangeOutcome, SwapObject, SwapRange, SwapReply, SwapRequest},
    trash::{DeletedTopic, DeletedTopics, RestoreTopic, RestoredTopic},
};
use crate::{client::Metadata, error::MetadataError};

/// The metadata service, as compactors and operators see it. Cancel safety and errors as in [`Metadata`];
/// every call may be made again.
#[async_trait]
pub trait Upkeep: Metadata {
    /// Asks for a job. Asking again while the worker has one gives that one again (an answer was lost).
    async fn lease_job(&self, request: LeaseRequest) -> Result<LeaseReply, MetadataError>;

    /// Says that the worker is at its job. A new leader takes over jobs that are renewed before it hands out
    /// others for the same inputs.
    async fn renew_job(&self, renewal: Renewal) -> Result<Renewed, MetadataError>;

    /// The extents of a job. Exact, as [`Metadata::locate`]; it shows topics that were deleted and can come
    /// back, too. At most [`aquifer_format::limits::JOB_PARTITIONS_MAX`] partitions are asked for at once, and
    /// at most [`aquifer_format::limits::JOB_EXTENTS_MAX`] extents answered; [`InputsReply::next`] says where
    /// to go on.
    async fn job_inputs(&self, request: InputsRequest) -> Result<InputsReply, MetadataError>;

    /// Puts merged extents in the place of others. Each range has an outcome of its own. Doing the same again
    /// tells [`RangeOutcome::Done`] of ranges that are in place already.
    async fn swap(&self, request: SwapRequest) -> Result<SwapReply, MetadataError>;

    /// Ends a job.
    async fn finish_job(&self, finish: Finish) -> Result<(), MetadataError>;

    /// Objects that the metadata knows, in order of ids.
    async fn objects(&self, request: ObjectsRequest) -> Result<ObjectsReply, MetadataError>;

    /// Topics that were deleted and can be restored.
    async fn deleted_topics(&self) -> Result<DeletedTopics, MetadataError>;

    /// Brings a deleted topic back, with its id, records and committed offsets. What cannot be is
    /// [`MetadataError::Refused`] with the reason.
    async fn restore_topic(&self, request: RestoreTopic) -> Result<RestoredTopic, MetadataError>;
}
