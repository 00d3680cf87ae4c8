//! What a metadata process is doing, for whoever serves its callers.

use std::sync::Arc;

use crate::local::LocalMetadata;

/// The role of a metadata process; published in a `tokio::sync::watch` channel.
#[derive(Clone, Debug)]
pub enum Role {
    /// It leads: this is the service. It may have stopped meanwhile; its calls say so then.
    Leader(Arc<LocalMetadata>),
    /// Another one leads, or nobody yet.
    Standby {
        /// Where the leader can be reached, as far as it is known. It may be gone.
        leader: Option<String>,
    },
    /// It neither leads nor stands by, because to do so would do harm (the journal lost rows, the bucket
    /// is another cluster's, ...). Callers are answered
    /// [`aquifer_metadata_api::MetadataError::LostRows`] with this reason, so that agents leave their
    /// witnesses in the bucket and clients are turned away.
    Refusing {
        /// What is wrong, and what to do about it.
        reason: String,
    },
}

impl Role {
    /// Whether it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self, Self::Leader(_))
    }
}
