use aquifer_metadata_api::{
    Metadata,
    config::{TOPIC_CONFIGS, broker::BROKER_CONFIGS},
    fake::Fake,
    kafka::KafkaCall,
    register::{AgentAddress, RegisterRequest},
};
use aquifer_store::Ports;
use kafka_protocol::{
    messages::{
        AlterConfigsRequest, AlterConfigsResponse, ApiKey, DescribeConfigsResponse,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, MetadataRequest,
        MetadataResponse, TopicName, alter_configs_request,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
        incremental_alter_configs_request,
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};

use super::*;
use crate::testing::{
    Client, broker,
    groups::{self, Outcome},
    settings,
};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

fn of(resources: Vec<DescribeConfigsResource>) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default()
        .with_resources(resources)
        .with_include_synonyms(true)
}

async fn ask(
    client: &mut Client,
    version: i16,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResult> {
    let answer: DescribeConfigsResponse =
        client.call(ApiKey::DescribeConfigs, version, request).await;
    answer.results
}

async fn one(client: &mut Client, kind: i8, name: &str) -> DescribeConfigsResult {
    let request = of(vec![resource(kind, name, None)]);
    ask(client, 4, &request).await.remove(0)
}

/// Value and source of a config.
fn value(result: &DescribeConfigsResult, name: &str) -> (Option<String>, i8) {
    let config = result.configs.iter().find(|c| c.name.as_str() == name);
    let config = config.unwrap_or_else(|| panic!("{name} is described"));
    let value = config.value.as_ref().map(ToString::to_string);
    (value, config.config_source)
}

async fn set(client: &mut Client, kind: i8, name: &str, config: &str, value: &str) -> i16 {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig::default()
        .with_name(text(config))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let api = ApiKey::IncrementalAlterConfigs;
    let answer: IncrementalAlterConfigsResponse = client.call(api, 1, &request).await;
    answer.responses[0].error_code
}

#[tokio::test]
async fn a_topics_configs_are_described_in_every_version() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[("retention.ms", "60000")]);
    let mut client = Client::connect(&broker);
    for version in 1..=4 {
        for (synonyms, documentation) in [(false, false), (true, version >= 3)] {
            let request = of(vec![resource(TOPIC, "t", None)])
                .with_include_synonyms(synonyms)
                .with_include_documentation(documentation);
            let results = ask(&mut client, version, &request).await;
            let result = &results[0];
            assert_eq!((result.error_code, results.len()), (0, 1), "v{version}");
            assert_eq!(result.configs.len(), TOPIC_CONFIGS.len());
            assert_eq!(value(result, "retention.ms"), (Some("60000".to_owned()), 1));
            assert_eq!(
                value(result, "cleanup.policy"),
                (Some("delete".to_owned()), 5)
            );
            for config in &result.configs {
                assert!(!config.read_only && !config.is_sensitive);
                assert!(synonyms || config.synonyms.is_empty());
                let documented = config.documentation.as_ref().is_some_and(|d| !d.is_empty());
                assert_eq!(documented, documentation, "v{version} {}", config.name);
                assert_eq!(config.config_type > 0, version >= 3);
            }
            let retention = result.configs.iter().find(|c| &*c.name == "retention.ms");
            assert_eq!(retention.unwrap().synonyms.is_empty(), !synonyms);
        }
    }
}

#[tokio::test]
async fn names_choose_and_no_names_mean_all() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for (keys, expected) in [
        (
            Some(&["retention.ms", "nix", "cleanup.policy", "retention.ms"][..]),
            2,
        ),
        (Some(&["nix"][..]), 0),
        (Some(&[][..]), TOPIC_CONFIGS.len()),
        (None, TOPIC_CONFIGS.len()),
    ] {
        let results = ask(&mut client, 4, &of(vec![resource(TOPIC, "t", keys)])).await;
        assert_eq!(results[0].configs.len(), expected, "{keys:?}");
    }
    // The same resource twice is described twice.
    let twice = of(vec![
        resource(TOPIC, "t", Some(&["retention.ms"])),
        resource(TOPIC, "t", Some(&["cleanup.policy"])),
    ]);
    let results = ask(&mut client, 2, &twice).await;
    let names: Vec<_> = results.iter().map(|r| r.configs[0].name.as_str()).collect();
    assert_eq!(names, ["retention.ms", "cleanup.policy"]);
}

#[tokio::test]
async fn what_cannot_be_described_says_why() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    for (kind, name, code) in [
        (TOPIC, "nowhere", 3),
        (TOPIC, "a b", 17),
        (TOPIC, "", 17),
        (BROKER, "9999", 42),
        (BROKER, "x", 42),
        (BROKER, "-1", 42),
        (BROKER_LOGGER, "", 42),
        (BROKER_LOGGER, "9999", 42),
        (CLIENT_METRICS, "", 42),
        (GROUP, "", 42),
        (0, "t", 42),
        (3, "t", 42),
    ] {
        let result = one(&mut client, kind, name).await;
        assert_eq!(result.error_code, code, "{kind} {name:?}");
        assert_eq!((result.resource_type, &*result.resource_name), (kind, name));
        assert!(result.configs.is_empty());
    }
    // One type that is unknown spoils the whole request, as in Kafka.
    let request = of(vec![resource(99, "x", None), resource(GROUP, "g", None)]);
    let codes = ask(&mut client, 4, &request).await;
    let codes: Vec<_> = codes.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [42, 42]);
}

#[tokio::test]
async fn brokers_are_described_by_every_live_node() {
    let mut settings = settings();
    settings.address.node_ids = 2;
    settings.auto_create_topics = false;
    settings.broker_configs = [("log.retention.hours".to_owned(), "24".to_owned())].into();
    let (broker, fake) = broker(settings).await;
    let other = register(&fake, &broker.settings.address).await;
    let watch = fake.watch(other.1, None).await.unwrap();
    broker.view.catch_up().await.unwrap();
    let mut client = Client::connect(&broker);
    let own = broker.session.registration().slot.0 * 16;
    for (id, host, port) in [
        (own, "agent.test", 9092),
        (own + 1, "agent.test", 9093),
        (other.0 * 16, "other.test", 9092),
    ] {
        let result = one(&mut client, BROKER, &id.to_string()).await;
        assert_eq!(result.error_code, 0);
        assert_eq!(result.configs.len(), BROKER_CONFIGS.len());
        let at = |text: String, source| (Some(text), source);
        assert_eq!(value(&result, "node.id"), at(id.to_string(), 4));
        let address = format!("PLAINTEXT://{host}:{port}");
        assert_eq!(value(&result, "advertised.listeners"), at(address, 4));
        assert_eq!(
            value(&result, "auto.create.topics.enable"),
            at("false".to_owned(), 4)
        );
        assert_eq!(
            value(&result, "log.retention.hours"),
            at("24".to_owned(), 4)
        );
        assert_eq!(value(&result, "num.partitions"), at("1".to_owned(), 5));
        let logger = one(&mut client, BROKER_LOGGER, &id.to_string()).await;
        assert_eq!((logger.error_code, logger.configs.len()), (0, 0));
    }
    drop(watch);
}

async fn register(fake: &Fake, like: &AgentAddress) -> (u32, aquifer_format::ids::SessionId) {
    let request = RegisterRequest {
        previous_slot: None,
        agent: AgentAddress {
            host: "other.test".to_owned(),
            ..like.clone()
        },
        seen: None,
    };
    let registration = fake.register(request).await.unwrap();
    (registration.slot.0, registration.session)
}

#[tokio::test]
async fn dynamic_broker_configs_reach_every_topic_without_an_override() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("own", 1, &[("retention.ms", "60000")]);
    fake.create_topic("default", 1, &[]);
    let mut client = Client::connect(&broker);
    assert!(one(&mut client, BROKER, "").await.configs.is_empty());
    assert_eq!(
        set(&mut client, BROKER, "", "log.retention.ms", "5000").await,
        0
    );
    let retention = |name: &str| broker.view.topic_by_name(name).unwrap().config.retention_ms;
    assert_eq!(
        (retention("own"), retention("default")),
        (Some(60_000), Some(5_000))
    );
    fake.create_topic("later", 1, &[]);
    let default = one(&mut client, BROKER, "").await;
    assert_eq!(default.configs.len(), 1);
    assert_eq!(
        value(&default, "log.retention.ms"),
        (Some("5000".to_owned()), 3)
    );
    let later = one(&mut client, TOPIC, "later").await;
    assert_eq!(value(&later, "retention.ms"), (Some("5000".to_owned()), 3));
    assert_eq!(retention("later"), Some(5_000));
    // A reset brings them again; what is gone is gone everywhere.
    fake.break_watches();
    let request = AlterConfigsRequest::default().with_resources(vec![
        alter_configs_request::AlterConfigsResource::default().with_resource_type(BROKER),
    ]);
    let answer: AlterConfigsResponse = client.call(ApiKey::AlterConfigs, 2, &request).await;
    assert_eq!(answer.responses[0].error_code, 0);
    let week = Some(7 * 24 * 3_600_000);
    assert_eq!(
        (retention("own"), retention("default")),
        (Some(60_000), week)
    );
    assert!(one(&mut client, BROKER, "").await.configs.is_empty());
}

#[tokio::test]
async fn altered_configs_hold_at_once() {
    let (broker, fake) = broker(settings()).await;
    fake.create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for (kind, name, config, text, code) in [
        (TOPIC, "t", "max.message.bytes", "1234", 0),
        (TOPIC, "t", "max.message.bytes", "much", 40),
        (TOPIC, "nowhere", "max.message.bytes", "1234", 3),
        (BROKER, "", "num.partitions", "4", 42),
        (BROKER, "0", "log.retention.ms", "4", 42),
    ] {
        assert_eq!(
            set(&mut client, kind, name, config, text).await,
            code,
            "{name} {config}"
        );
    }
    let topic = broker.view.topic_by_name("t").unwrap();
    assert_eq!(topic.config.max_message_bytes, 1234);
}

#[tokio::test]
async fn client_metrics_have_kafkas_defaults() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let metrics = one(&mut client, CLIENT_METRICS, "m").await;
    assert_eq!(metrics.configs.len(), 3);
    assert_eq!(
        value(&metrics, "interval.ms"),
        (Some("300000".to_owned()), 5)
    );
    assert!(
        metrics
            .configs
            .iter()
            .all(|config| config.synonyms.is_empty())
    );
}

/// A leader that gives each group two configs, the second one of which is named after it, and refuses `bad`.
fn describes_groups(_: usize, call: &KafkaCall) -> Outcome {
    let request: DescribeConfigsRequest = groups::request(call);
    let config = |name: StrBytes| {
        let synonym = DescribeConfigsSynonym::default().with_name(name.clone());
        DescribeConfigsResourceResult::default()
            .with_name(name)
            .with_value(Some(text("1")))
            .with_synonyms(vec![synonym])
            .with_documentation(Some(text("what it does")))
    };
    let results = request.resources.into_iter().map(|group| {
        assert_eq!(group.resource_type, GROUP);
        let result = DescribeConfigsResult::default()
            .with_resource_type(GROUP)
            .with_resource_name(group.resource_name.clone());
        if group.resource_name.as_str() == "bad" {
            return result.with_error_code(42);
        }
        result.with_configs(vec![config(text("of.all")), config(group.resource_name)])
    });
    let described = DescribeConfigsResponse::default().with_results(results.collect());
    groups::answer(call.api, &described)
}

#[tokio::test]
async fn groups_are_described_by_the_leader_in_the_order_of_the_request() {
    let (broker, leader) = groups::broker(settings(), Ports::system(), describes_groups).await;
    leader.fake().create_topic("t", 1, &[]);
    let mut client = Client::connect(&broker);
    for version in 1..=4 {
        for flag in [false, true] {
            let request = of(vec![
                resource(GROUP, "a", None),
                resource(TOPIC, "t", Some(&["retention.ms"])),
                resource(GROUP, "", None),
                resource(GROUP, "b", Some(&["b", "c"])),
                resource(GROUP, "bad", None),
            ])
            .with_include_synonyms(flag)
            .with_include_documentation(flag && version >= 3);
            let results = ask(&mut client, version, &request).await;
            let told = results.iter().map(|r| {
                let names = r.configs.iter().map(|c| c.name.to_string());
                (r.error_code, names.collect::<Vec<_>>().join(" "))
            });
            let expected = [
                (0, "of.all a"),
                (0, "retention.ms"),
                (42, ""),
                (0, "b"),
                (42, ""),
            ];
            let expected = expected.map(|(code, names)| (code, names.to_owned()));
            assert_eq!(told.collect::<Vec<_>>(), expected, "v{version}");
            let config = &results[0].configs[0];
            assert_eq!(config.synonyms.len(), usize::from(flag));
            let documented = config.documentation.as_ref().is_some_and(|d| !d.is_empty());
            assert_eq!(documented, flag && version >= 3);
        }
    }
}

#[tokio::test]
async fn many_groups_are_asked_for_in_bounded_calls() {
    let (broker, leader) = groups::broker(settings(), Ports::system(), describes_groups).await;
    let mut client = Client::connect(&broker);
    let names: Vec<_> = (0..600).map(|n| format!("g{n}")).collect();
    let resources = names.iter().map(|name| resource(GROUP, name, None));
    let results = ask(&mut client, 4, &of(resources.collect())).await;
    for (result, name) in results.iter().zip(&names) {
        assert_eq!(result.resource_name.as_str(), name);
        assert_eq!(result.configs[1].name.as_str(), name);
    }
    assert_eq!((results.len(), leader.calls().len()), (600, 3));
    // Who names an unknown type of resource is not answered at all.
    let request = of(vec![resource(99, "x", None), resource(GROUP, "g", None)]);
    ask(&mut client, 4, &request).await;
    assert_eq!(leader.calls().len(), 3);
}

#[tokio::test]
async fn groups_are_not_described_where_the_leader_refuses() {
    let (broker, leader) = groups::broker(settings(), Ports::system(), |_, _| {
        Outcome::Fail(MetadataError::Refused {
            reason: "the test says so".to_owned(),
        })
    })
    .await;
    let mut client = Client::connect(&broker);
    let request = of(vec![resource(GROUP, "a", None), resource(GROUP, "b", None)]);
    let results = ask(&mut client, 4, &request).await;
    for result in &results {
        assert_eq!((result.error_code, result.configs.len()), (-1, 0));
    }
    assert_eq!((results.len(), leader.calls().len()), (2, 1));
}

#[tokio::test]
async fn topics_are_not_created_where_the_broker_config_says_so() {
    let mut settings = settings();
    settings.broker_configs = [("auto.create.topics.enable".to_owned(), "false".to_owned())].into();
    let (broker, _fake) = broker(settings).await;
    let mut client = Client::connect(&broker);
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text("t"))));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &request).await;
    assert_eq!(answer.topics[0].error_code, 3);
}

#[tokio::test]
async fn nothing_is_described_while_the_leader_cannot_be_asked() {
    let (broker, fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    fake.set_unavailable(Some(false));
    assert_eq!(one(&mut client, BROKER, "").await.error_code, 41);
}

#[tokio::test]
async fn regression_the_longest_names_are_answered() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    let long = "x".repeat(32_767);
    for version in 1..=4 {
        let resources = [TOPIC, BROKER, BROKER_LOGGER].map(|kind| resource(kind, &long, None));
        let results = ask(&mut client, version, &of(resources.into())).await;
        let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [17, 42, 42], "v{version}");
    }
}

#[tokio::test]
async fn regression_that_there_be_no_connections_can_be_taken_back() {
    let (broker, _fake) = broker(settings()).await;
    let mut client = Client::connect(&broker);
    assert_eq!(
        set(&mut client, BROKER, "", "max.connections", "0").await,
        0
    );
    drop(client);
    while broker.open_connections() > 0 {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(&broker);
    assert_eq!(
        set(&mut client, BROKER, "", "max.connections", "9").await,
        0
    );
}
