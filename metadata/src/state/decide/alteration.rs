//! Altering configs: the rules of [`aquifer_metadata_api::config::alter`], held against the state.

use aquifer_metadata_api::config::{
    Configs,
    alter::{self, Altered, CONFIG_VALUE_BYTES_MAX, Known, Resource, Unnamed},
};
use kafka_protocol::ResponseError;

use super::refusal::Refusal;
use crate::{event::Event, state::entity::State};

impl Known for State {
    fn topic_configs(&self, name: &str) -> Option<&Configs> {
        let topic = self.topics.get(&self.names.get(name)?)?;
        Some(&topic.configs)
    }

    fn dynamic_broker_configs(&self) -> &Configs {
        self.broker_configs.dynamic()
    }

    fn broker_configs(&self) -> &Configs {
        self.broker_configs.effective()
    }
}

/// Decides what is asked of `resources`, one result for each. No event: nothing changes.
pub(super) fn alter(
    state: &State,
    resources: &[Resource<'_>],
    unnamed: Unnamed,
) -> Vec<Result<Option<Event>, Refusal>> {
    let event = |altered: Altered| match altered {
        Altered::Topic { name, configs } => {
            let topic = state.names.get(&name)?;
            Some(Event::TopicConfigsSet { topic, configs })
        }
        Altered::Brokers(configs) => Some(Event::BrokerConfigsSet { configs }),
    };
    let decided = alter::alter(resources, unnamed, state).into_iter();
    decided
        .map(|result| match result {
            Ok(altered) => Ok(altered.and_then(event)),
            Err(alter::Refusal { error, text }) => Err(Refusal::new(error, text)),
        })
        .collect()
}

/// Checks the size of a value.
pub(super) fn check_size(value: &str) -> Result<(), Refusal> {
    if value.len() <= CONFIG_VALUE_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "The configuration value cannot be added because it exceeds the maximum value size of {CONFIG_VALUE_BYTES_MAX} bytes."
    );
    Err(Refusal::new(ResponseError::InvalidConfig, text))
}
