//! Broker configs that a process is started with (`--broker-config`): the layer below those that are set while
//! the cluster runs.

use aquifer_metadata_api::config::{Configs, Effect, broker};

use crate::{arguments::BrokerConfigs, key_value::KeyValue, settings::nearest};

/// Reads one; a name that Kafka does not know, or a value that it would not start with, is refused.
pub(crate) fn broker_config(text: &str) -> Result<KeyValue, String> {
    let config: KeyValue = text.parse()?;
    let Some(spec) = broker::find(&config.key) else {
        let names = broker::BROKER_CONFIGS.iter().map(|spec| spec.name);
        let nearest = nearest(&config.key, names);
        return Err(format!("there is no broker config {}{nearest}", config.key));
    };
    spec.check(&config.value)
        .map_err(|error| error.to_string())?;
    Ok(config)
}

/// What the process is started with; of a name that is there twice, the last.
pub(crate) fn configs(arguments: &BrokerConfigs) -> Configs {
    let configs = arguments.broker_config.iter();
    configs
        .map(|config| (config.key.clone(), config.value.clone()))
        .collect()
}

/// Says which of them do nothing here, once the log is there.
pub(crate) fn warn_of_idle(configs: &Configs) {
    for (name, why) in idle(configs) {
        tracing::warn!(name, "this --broker-config does nothing here: {why}");
    }
}

fn idle(configs: &Configs) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
    let specs = configs.keys().filter_map(|name| broker::find(name));
    specs.filter_map(|spec| match spec.effect {
        Effect::None(why) => Some((spec.name, why.strip_prefix("no effect: ").unwrap_or(why))),
        Effect::AsInKafka | Effect::Own => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked() {
        let config = broker_config("log.retention.hours=24").unwrap();
        assert_eq!(config.key, "log.retention.hours");
        for (wrong, says) in [
            ("log.retention.hours", "KEY=VALUE"),
            ("log.retention.hour=24", "log.retention.hours?"),
            ("log.retention.hours=soon", "soon"),
            ("num.partitions=0", "0"),
        ] {
            let error = broker_config(wrong).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_last_of_a_name_holds_and_idle_ones_are_known() {
        let read = |text: &str| broker_config(text).unwrap();
        let arguments = BrokerConfigs {
            broker_config: vec![
                read("num.partitions=3"),
                read("log.flush.interval.ms=2000000"),
                read("num.partitions=4"),
            ],
        };
        let configs = configs(&arguments);
        assert_eq!(configs.get("num.partitions").map(String::as_str), Some("4"));
        let idle: Vec<&str> = idle(&configs).map(|(name, _)| name).collect();
        assert_eq!(idle, ["log.flush.interval.ms"]);
    }
}
