//! Which names new topics may have.

use aquifer_metadata_api::topic_name::{self, TopicNameError};
use kafka_protocol::ResponseError;

use super::refusal::Refusal;

/// Why a topic name is refused; the texts are what Kafka's tools show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error(transparent)]
    Illegal(TopicNameError),
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides { name: String, existing: String },
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::new(ResponseError::InvalidTopicException, error.to_string())
    }
}

pub(super) fn check(name: &str) -> Result<(), NameError> {
    topic_name::check(name).map_err(NameError::Illegal)
}
