//! AlterConfigs and IncrementalAlterConfigs: what becomes of the state. The rules themselves are tested where
//! they are, in `aquifer_metadata_api::config::alter`.

use kafka_protocol::{
    messages::{
        AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
        ListConfigResourcesRequest,
        alter_configs_request::{AlterConfigsResource, AlterableConfig},
        describe_configs_request::DescribeConfigsResource,
    },
    protocol::StrBytes,
};

use crate::{
    event::Event,
    state::{
        Budgets, State,
        budget::PARTITION_BYTES,
        decide,
        tests::world::{Alterations, Log, World, alter_request, appended, create_request, plain},
    },
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const GROUP: i8 = 32;

fn altered(world: &mut World, request: &IncrementalAlterConfigsRequest) -> Vec<(i16, String)> {
    let decided = decide::incremental_alter_configs(&world.state, request);
    let responses = world.decided(decided).0.responses.into_iter();
    responses
        .map(|response| {
            let text = response.error_message.map(|text| text.to_string());
            (response.error_code, text.unwrap_or_default())
        })
        .collect()
}

fn overrides(world: &World, name: &str) -> Vec<(String, String)> {
    let topic = world.state.topic_by_name(name).unwrap();
    topic.view().configs.into_iter().collect()
}

fn pairs(configs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    configs.iter().map(owned).collect()
}

#[test]
fn configs_are_altered_one_by_one() {
    let mut world = World::new();
    world.create_with("t", 1, &[("retention.ms", "1000")]);
    let steps: [(Alterations<'_>, &[(&str, &str)]); 5] = [
        (
            &[("segment.ms", 0, Some("5")), ("retention.ms", 1, None)],
            &[("segment.ms", "5")],
        ),
        (
            &[("cleanup.policy", 2, Some("compact"))],
            &[("cleanup.policy", "delete,compact"), ("segment.ms", "5")],
        ),
        (
            &[("cleanup.policy", 3, Some("delete"))],
            &[("cleanup.policy", "compact"), ("segment.ms", "5")],
        ),
        (
            &[("no.such.config", 1, None)],
            &[("cleanup.policy", "compact"), ("segment.ms", "5")],
        ),
        (&[("cleanup.policy", 1, None), ("segment.ms", 1, None)], &[]),
    ];
    for (configs, expected) in steps {
        world.alter("t", configs);
        assert_eq!(overrides(&world, "t"), pairs(expected), "{configs:?}");
    }
}

#[test]
fn refusals_are_kafkas_and_change_nothing() {
    let mut world = World::new();
    world.create("t", 1);
    let cases: [(i8, &str, Alterations<'_>, i16, &str); 18] = [
        (
            TOPIC,
            "t",
            &[("nope", 0, Some("1"))],
            40,
            "Unknown topic config name: nope",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", 0, Some("soon"))],
            40,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", 2, Some("5"))],
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            TOPIC,
            "t",
            &[("retention.ms", 0, None), ("segment.ms", 3, None)],
            42,
            "Null value not supported for : retention.ms, segment.ms",
        ),
        (
            TOPIC,
            "t",
            &[("segment.ms", 0, Some("5")), ("segment.ms", 0, Some("5"))],
            42,
            "Error due to duplicate config keys",
        ),
        (
            TOPIC,
            "nope",
            &[("retention.ms", 0, Some("5"))],
            3,
            "The topic 'nope' does not exist.",
        ),
        (
            TOPIC,
            "nope",
            &[("retention.ms", 0, Some("soon"))],
            40,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            TOPIC,
            "",
            &[("retention.ms", 0, Some("5"))],
            42,
            "Default topic resources are not allowed.",
        ),
        (
            TOPIC,
            "a b",
            &[("retention.ms", 0, Some("5"))],
            17,
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            BROKER,
            "",
            &[("num.partitions", 0, Some("5"))],
            42,
            "Cannot update these configs dynamically: Set(num.partitions)",
        ),
        (
            BROKER,
            "",
            &[("log.retention.ms", 0, Some("soon"))],
            42,
            "Invalid value soon for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            BROKER,
            "",
            &[("log.retention.ms", 2, Some("5"))],
            40,
            "Config value append is not allowed for config key: log.retention.ms",
        ),
        (
            BROKER,
            "",
            &[("log.retention.ms", 9, Some("5"))],
            42,
            "Unknown operations type 9",
        ),
        (
            BROKER,
            "x",
            &[("log.retention.ms", 0, Some("5"))],
            42,
            "Node id must be an integer, but it is: x",
        ),
        (
            BROKER,
            "1",
            &[("log.retention.ms", 0, Some("5"))],
            42,
            "--entity-default",
        ),
        (
            LOGGER,
            "1",
            &[("root", 0, Some("INFO"))],
            40,
            "Logger root does not exist!",
        ),
        (
            GROUP,
            "g",
            &[("x", 0, Some("1"))],
            40,
            "Unknown group config name: x",
        ),
        (77, "x", &[], 42, "Unknown resource type 77"),
    ];
    let before = world.state.fingerprint();
    for (kind, name, configs, code, text) in cases {
        let (found, message) = altered(&mut world, &alter_request(kind, name, configs)).remove(0);
        assert_eq!(found, code, "{kind} {name:?} {configs:?}: {message}");
        assert!(message.contains(text), "{message}");
    }
    assert_eq!(world.state.fingerprint(), before);
}

#[test]
fn resources_of_a_request_are_altered_each_for_itself() {
    let mut world = World::new();
    world.create("a", 1);
    world.create("b", 1);
    let resources = [
        ("a", "retention.ms", "5"),
        ("b", "retention.ms", "soon"),
        ("twice", "retention.ms", "5"),
        ("twice", "retention.ms", "5"),
    ];
    let resources = resources.map(|(topic, config, value)| {
        let request = alter_request(TOPIC, topic, &[(config, 0, Some(value))]);
        request.resources.into_iter().next().unwrap()
    });
    let mut request = IncrementalAlterConfigsRequest::default().with_resources(resources.to_vec());
    let brokers = alter_request(BROKER, "", &[("log.retention.ms", 0, Some("60000"))]);
    request.resources.extend(brokers.resources);
    let codes: Vec<i16> = altered(&mut world, &request).iter().map(|a| a.0).collect();
    assert_eq!(codes, [0, 40, 42, 42, 0]);
    assert_eq!(overrides(&world, "a"), pairs(&[("retention.ms", "5")]));
    assert_eq!(overrides(&world, "b"), []);
    assert_eq!(world.state.broker_configs()["log.retention.ms"], "60000");
}

#[test]
fn validate_only_and_what_is_so_already_write_no_event() {
    let mut world = World::new();
    world.create_with("t", 1, &[("retention.ms", "5")]);
    let same = alter_request(TOPIC, "t", &[("retention.ms", 0, Some("5"))]);
    let decided = decide::incremental_alter_configs(&world.state, &same);
    assert_eq!(
        (decided.events, decided.reply.responses[0].error_code),
        (vec![], 0)
    );
    let other = alter_request(TOPIC, "t", &[("retention.ms", 0, Some("6"))]);
    let other = other.with_validate_only(true);
    let decided = decide::incremental_alter_configs(&world.state, &other);
    assert_eq!(
        (decided.events, decided.reply.responses[0].error_code),
        (vec![], 0)
    );
}

#[test]
fn the_older_request_replaces_all_configs() {
    let mut world = World::new();
    world.create_with("t", 1, &[("retention.ms", "1000"), ("segment.ms", "5")]);
    world.alter_brokers(&[("log.retention.ms", 0, Some("60000"))]);
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let resource = |kind, name, configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_value(value.map(text))
        });
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs.collect())
    };
    let resources = vec![
        resource(TOPIC, "t", &[("segment.ms", Some("7"))]),
        resource(BROKER, "", &[]),
        resource(TOPIC, "nope", &[]),
        resource(LOGGER, "1", &[]),
    ];
    let request = AlterConfigsRequest::default().with_resources(resources);
    let decided = decide::alter_configs(&world.state, &request);
    let (reply, _) = world.decided(decided);
    let codes: Vec<i16> = reply.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 0, 3, 42]);
    assert_eq!(overrides(&world, "t"), pairs(&[("segment.ms", "7")]));
    assert!(world.state.broker_configs().is_empty());
}

#[test]
fn timestamp_types_hold_from_their_alteration_on_whoever_sets_them() {
    let mut log = Log::empty();
    let of_brokers = "log.message.timestamp.type";
    let is_timed = |log: &mut Log| {
        let outcome = log.send(plain(1));
        let end = log.end_offset();
        outcome != appended(end - 1)
    };
    assert!(!is_timed(&mut log));
    log.world
        .alter_brokers(&[(of_brokers, 0, Some("LogAppendTime"))]);
    assert!(is_timed(&mut log));
    log.world
        .alter("log", &[("message.timestamp.type", 0, Some("CreateTime"))]);
    assert!(!is_timed(&mut log));
    log.world
        .alter("log", &[("message.timestamp.type", 1, None)]);
    assert!(is_timed(&mut log));
    // a new leader finds it so
    let pages = log.world.state.all_pages();
    log.world.state = State::from_pages(Budgets::default(), &pages).unwrap();
    assert!(is_timed(&mut log));
    log.world.alter_brokers(&[(of_brokers, 1, None)]);
    assert!(!is_timed(&mut log));
    let server = (of_brokers.to_owned(), "LogAppendTime".to_owned());
    log.world.state.set_server_configs([server].into());
    assert!(is_timed(&mut log));
}

#[test]
fn configs_of_a_topic_that_is_gone_are_not_set() {
    let mut world = World::new();
    let topic = world.create("t", 1);
    world.delete("t");
    let before = world.state.all_pages();
    world.take(vec![Event::TopicConfigsSet {
        topic,
        configs: [("retention.ms".to_owned(), "5".to_owned())].into(),
    }]);
    assert_eq!(world.state.all_pages(), before);
}

/// Nothing bounded what the configs of topics add up to: of some hundred topics with values of 32 KB each, the
/// reset of a watch was larger than a message may be, and no agent could connect any more.
#[test]
fn regression_configs_of_topics_count_towards_the_budget() {
    let mut world = World::with_budgets(Budgets {
        partition_bytes: 2 * PARTITION_BYTES + 200,
        ..Budgets::default()
    });
    world.create("a", 1);
    world.create("b", 1);
    let padded = |bytes: usize| format!("{:>bytes$}", 5);
    let set = |world: &mut World, topic: &str, bytes: usize| {
        let value = padded(bytes);
        let request = alter_request(TOPIC, topic, &[("retention.ms", 0, Some(value.as_str()))]);
        altered(world, &request)[0].0
    };
    assert_eq!(set(&mut world, "a", 100), 0);
    assert_eq!(set(&mut world, "b", 100), 44);
    assert_eq!(set(&mut world, "a", 1), 0, "less is always granted");
    assert_eq!(set(&mut world, "b", 100), 0);
    assert_eq!(
        world.state.usage().partition_bytes,
        2 * PARTITION_BYTES + 13 + 112
    );
    let value = padded(80);
    let request = create_request("c", 1, &[("retention.ms", value.as_str())]);
    let decided = decide::create_topics(&world.state, &world.rand, &request);
    assert_eq!(decided.reply.topics[0].error_code, 44);
    let pages = world.state.all_pages();
    let loaded = State::from_pages(*world.state.budgets(), &pages).unwrap();
    assert_eq!(loaded.usage(), world.state.usage());
    world.delete("a");
    world.delete("b");
    assert_eq!(world.state.usage().partition_bytes, 0);
}

fn described(
    state: &State,
    kind: i8,
    name: &str,
    keys: Option<&[&'static str]>,
) -> Result<Vec<(String, String, i8)>, i16> {
    let keys = keys.map(|keys| {
        let keys = keys.iter().copied();
        keys.map(StrBytes::from_static_str).collect()
    });
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name.to_owned()))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let result = decide::describe_group_configs(state, &request)
        .results
        .remove(0);
    assert_eq!(result.resource_name.as_str(), name);
    if result.error_code != 0 {
        return Err(result.error_code);
    }
    let configs = result.configs.into_iter().map(|config| {
        assert_eq!(config.synonyms.len(), 1, "{config:?}");
        assert!(config.documentation.is_some_and(|text| !text.is_empty()));
        let value = config.value.unwrap_or_default();
        (
            config.name.to_string(),
            value.to_string(),
            config.config_source,
        )
    });
    Ok(configs.collect())
}

fn configured(state: &State) -> Vec<String> {
    let listed = decide::list_group_configs(state, &ListConfigResourcesRequest::default());
    let resources = listed.config_resources.into_iter();
    resources
        .map(|resource| {
            assert_eq!(resource.resource_type, GROUP);
            resource.resource_name.to_string()
        })
        .collect()
}

#[test]
fn configs_of_groups_are_set_described_and_listed() {
    let mut world = World::new();
    let session = "consumer.session.timeout.ms";
    let of = |state: &State| described(state, GROUP, "g", Some(&["consumer.session.timeout.ms"]));
    let one = |value: &str, source| Ok(vec![(session.to_owned(), value.to_owned(), source)]);
    assert_eq!(of(&world.state), one("45000", 5));
    assert_eq!(configured(&world.state), [""; 0]);
    let set = alter_request(GROUP, "g", &[(session, 0, Some("50000"))]);
    assert_eq!(altered(&mut world, &set), [(0, String::new())]);
    assert_eq!(altered(&mut world, &set), [(0, String::new())]);
    assert_eq!(of(&world.state), one("50000", 8));
    assert_eq!(configured(&world.state), ["g"]);
    assert_eq!(described(&world.state, GROUP, "h", None).unwrap().len(), 11);
    assert_eq!(
        described(&world.state, GROUP, "h", Some(&[]))
            .unwrap()
            .len(),
        11
    );
    assert_eq!(described(&world.state, GROUP, "", None), Err(42));
    assert_eq!(described(&world.state, TOPIC, "t", None), Err(42));
    let unset = alter_request(GROUP, "g", &[(session, 1, None)]);
    assert_eq!(altered(&mut world, &unset), [(0, String::new())]);
    assert_eq!(of(&world.state), one("45000", 5));
    assert_eq!(configured(&world.state), [""; 0]);
}

#[test]
fn configs_of_groups_do_not_need_the_group_and_outlive_it() {
    let mut world = World::new();
    let set = alter_request(
        GROUP,
        "g",
        &[("consumer.heartbeat.interval.ms", 0, Some("6000"))],
    );
    altered(&mut world, &set);
    let group = world.state.next_group();
    let name = "g".to_owned();
    world.take(vec![
        Event::GroupCreated { group, name },
        Event::GroupDeleted { group },
    ]);
    let configs = world.state.group_configs("g").unwrap();
    assert_eq!(configs["consumer.heartbeat.interval.ms"], "6000");
    let pages = world.state.all_pages();
    let loaded = State::from_pages(Budgets::default(), &pages).unwrap();
    assert_eq!(loaded.group_configs("g"), Some(configs));
}
