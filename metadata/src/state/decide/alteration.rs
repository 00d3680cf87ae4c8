//! Altering configs: the rules of [`aquifer_metadata_api::config::alter`], held against the state.

use aquifer_metadata_api::config::{
    Configs,
    alter::{self, Altered, CONFIG_VALUE_BYTES_MAX, Known, Resource, Unnamed},
};
use kafka_protocol::ResponseError;

use super::{partition_budget::PartitionBudget, refusal::Refusal};
use crate::{event::Event, state::entity::State};

impl Known for State {
    fn topic_configs(&self, name: &str) -> Option<&Configs> {
        let topic = self.topics.get(&self.names.get(name)?)?;
        Some(&topic.configs)
    }

    fn group_configs(&self, name: &str) -> Option<&Configs> {
        State::group_configs(self, name)
    }

    fn configured_groups(&self) -> usize {
        State::configured_groups(self).count()
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
    let mut budget = PartitionBudget::new(state);
    let decided = alter::alter(resources, unnamed, state).into_iter();
    decided
        .map(|result| match result {
            Ok(Some(altered)) => event(state, altered, &mut budget),
            Ok(None) => Ok(None),
            Err(alter::Refusal { error, text }) => Err(Refusal::new(error, text)),
        })
        .collect()
}

fn event(
    state: &State,
    altered: Altered,
    budget: &mut PartitionBudget<'_>,
) -> Result<Option<Event>, Refusal> {
    let (name, configs) = match altered {
        Altered::Topic { name, configs } => (name, configs),
        Altered::Brokers(configs) => return Ok(Some(Event::BrokerConfigsSet { configs })),
        Altered::Group { name, configs } => {
            let group = name;
            return Ok(Some(Event::GroupConfigsSet { group, configs }));
        }
    };
    let Some(topic) = state.names.get(&name) else {
        return Ok(None);
    };
    let none = Configs::new();
    let before = state.topic_configs(&name).unwrap_or(&none);
    budget.take_configs(before, &configs)?;
    Ok(Some(Event::TopicConfigsSet { topic, configs }))
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
