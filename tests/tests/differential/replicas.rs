//! Replicas, rights and metrics: ElectLeaders, reassignments, ACLs, telemetry.

use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    ElectLeadersRequest, GetTelemetrySubscriptionsRequest, ListPartitionReassignmentsRequest,
    PushTelemetryRequest,
    alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
    create_acls_request::AclCreation,
    delete_acls_request::DeleteAclsFilter,
    elect_leaders_request::TopicPartitions,
    list_partition_reassignments_request::ListPartitionReassignmentsTopics,
};
use uuid::Uuid;

use crate::case::{Ask, Case, case, generated, name, text};

/// ElectLeaders, preferred and unclean.
pub(crate) fn elect_leaders() -> Vec<Case> {
    let of = |ask: &Ask<'_>, kind: i8, topics: Option<&[(&str, &[i32])]>| {
        let one = |(topic, partitions): &(&str, &[i32])| {
            TopicPartitions::default()
                .with_topic(name(topic))
                .with_partitions(partitions.to_vec())
        };
        let request = ElectLeadersRequest::default()
            .with_timeout_ms(10_000)
            .with_topic_partitions(topics.map(|topics| topics.iter().map(one).collect()));
        if ask.version < 1 && kind == 0 {
            request
        } else {
            request.with_election_type(kind)
        }
    };
    vec![
        case("preferred", move |ask| {
            of(ask, 0, Some(&[("present", &[0, 1])]))
        }),
        case("unclean", move |ask| of(ask, 1, Some(&[("present", &[0])]))),
        case("kind-unknown", move |ask| {
            of(ask, 9, Some(&[("present", &[0])]))
        }),
        case("all", move |ask| of(ask, 0, None)),
        case("nothing", move |ask| of(ask, 0, Some(&[]))),
        case("missing", move |ask| {
            of(ask, 0, Some(&[("missing", &[0]), ("present", &[9])]))
        }),
        case("twice", move |ask| {
            of(ask, 0, Some(&[("present", &[0, 0])]))
        }),
        generated(6, move |ask| {
            let kind = if ask.version < 1 {
                0
            } else {
                ask.random.pick(&[0, 1])
            };
            let mut topics = Vec::new();
            for topic in ask.random.among(&["present", "empty", "missing"]) {
                topics.push((topic, ask.random.pick(&[&[0][..], &[0, 1], &[9], &[-1]])));
            }
            of(ask, kind, Some(topics.as_slice()))
        }),
    ]
}

/// AlterPartitionReassignments.
pub(crate) fn alter_partition_reassignments() -> Vec<Case> {
    let of = |topic: &str, partitions: &[(i32, Option<&[i32]>)]| {
        let one = |(partition, replicas): &(i32, Option<&[i32]>)| {
            let replicas = replicas.map(|r| r.iter().map(|&id| id.into()).collect());
            ReassignablePartition::default()
                .with_partition_index(*partition)
                .with_replicas(replicas)
        };
        let topic = ReassignableTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions.iter().map(one).collect());
        AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![topic])
    };
    vec![
        case("same", move |_| of("present", &[(0, Some(&[0]))])),
        case("cancel-nothing", move |_| of("present", &[(0, None)])),
        case("nowhere", move |_| of("present", &[(0, Some(&[]))])),
        case("to-nobody", move |_| of("present", &[(0, Some(&[99]))])),
        case("to-one-below-0", move |_| {
            of("present", &[(0, Some(&[-1]))])
        }),
        case("twice-there", move |_| of("present", &[(0, Some(&[0, 0]))])),
        case("missing-topic", move |_| of("missing", &[(0, Some(&[0]))])),
        case("missing-partition", move |_| {
            of("present", &[(9, Some(&[0])), (0, Some(&[0]))])
        }),
        case("nothing", |_| {
            AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000)
        }),
        case("factor-may-not-change", move |_| {
            of("present", &[(0, Some(&[0]))]).with_allow_replication_factor_change(false)
        }),
        generated(8, move |ask| {
            let topic = ask.random.pick(&["present", "present", "missing"]);
            let chosen = ask
                .random
                .pick(&[&[0][..], &[1], &[9], &[0, 1], &[1, 9], &[-1]]);
            let choices: [Option<&[i32]>; 4] = [Some(&[0]), None, Some(&[]), Some(&[99])];
            let mut partitions = Vec::new();
            for partition in chosen {
                partitions.push((*partition, ask.random.pick(&choices)));
            }
            of(topic, &partitions)
        }),
    ]
}

/// ListPartitionReassignments.
pub(crate) fn list_partition_reassignments() -> Vec<Case> {
    let of = |topics: Option<&[(&str, &[i32])]>| {
        let one = |(topic, partitions): &(&str, &[i32])| {
            ListPartitionReassignmentsTopics::default()
                .with_name(name(topic))
                .with_partition_indexes(partitions.to_vec())
        };
        ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(topics.map(|topics| topics.iter().map(one).collect()))
    };
    vec![
        case("all", move |_| of(None)),
        case("some", move |_| of(Some(&[("present", &[0, 1])]))),
        case("missing", move |_| {
            of(Some(&[("missing", &[0]), ("present", &[9])]))
        }),
        case("nothing", move |_| of(Some(&[]))),
        generated(6, move |ask| {
            let mut topics = Vec::new();
            for topic in ask.random.among(&["present", "empty", "missing"]) {
                topics.push((topic, ask.random.pick(&[&[0][..], &[0, 1], &[9], &[-1]])));
            }
            of(Some(topics.as_slice()))
        }),
    ]
}

/// DescribeAcls without an authorizer.
pub(crate) fn describe_acls() -> Vec<Case> {
    let of = |resource, pattern, operation, permission| {
        DescribeAclsRequest::default()
            .with_resource_type_filter(resource)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(pattern)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(operation)
            .with_permission_type(permission)
    };
    vec![
        case("any", move |_| of(1, 1, 1, 1)),
        case("topics", move |_| {
            of(2, 3, 3, 3).with_resource_name_filter(Some(text("t")))
        }),
        case("kinds-unknown", move |_| of(0, 0, 0, 0)),
        case("kinds-none", move |_| of(77, 77, 77, 77)),
        generated(6, move |ask| {
            let (kind, pattern) = (ask.random.pick(&[1, 2, 3, 4]), ask.random.pick(&[1, 3, 4]));
            let operation = ask.random.pick(&[1, 3, 4]);
            of(kind, pattern, operation, ask.random.pick(&[1, 2, 3]))
        }),
    ]
}

/// CreateAcls without an authorizer.
pub(crate) fn create_acls() -> Vec<Case> {
    let of = |kind: i8, principal: &str| {
        let one = AclCreation::default()
            .with_resource_type(kind)
            .with_resource_name(text("t"))
            .with_resource_pattern_type(3)
            .with_principal(text(principal))
            .with_host(text("*"))
            .with_operation(3)
            .with_permission_type(3);
        CreateAclsRequest::default().with_creations(vec![one.clone(), one])
    };
    vec![
        case("two", move |_| of(2, "User:a")),
        case("bad-principal", move |_| of(2, "a")),
        case("kind-unknown", move |_| of(0, "User:a")),
        case("kind-any", move |_| of(1, "User:a")),
        case("nothing", |_| CreateAclsRequest::default()),
        generated(4, move |ask| {
            let kind = ask.random.pick(&[2, 3, 4]);
            of(kind, ask.random.pick(&["User:a", "User:*", "Team:a"]))
        }),
    ]
}

/// DeleteAcls without an authorizer.
pub(crate) fn delete_acls() -> Vec<Case> {
    let of = |kind| {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(kind)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(1)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        DeleteAclsRequest::default().with_filters(vec![filter.clone(), filter])
    };
    vec![
        case("any", move |_| of(1)),
        case("kind-unknown", move |_| of(0)),
        case("nothing", |_| DeleteAclsRequest::default()),
        generated(4, move |ask| of(ask.random.pick(&[1, 2, 3, 4]))),
    ]
}

const CLIENT: u128 = 0x1357_9bdf_0246_4ace_8135_79bd_f024_68ac;

/// GetTelemetrySubscriptions of clients, new and known.
pub(crate) fn get_telemetry_subscriptions() -> Vec<Case> {
    let of = |id| GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id);
    vec![
        case("new", move |_| of(Uuid::nil())),
        case("known", move |_| of(Uuid::from_u128(CLIENT))),
        case("known-again-at-once", move |_| of(Uuid::from_u128(CLIENT))),
    ]
}

/// PushTelemetry with and without what it needs.
pub(crate) fn push_telemetry() -> Vec<Case> {
    let of = |id: u128, subscription, codec, metrics: &'static [u8]| {
        PushTelemetryRequest::default()
            .with_client_instance_id(Uuid::from_u128(id))
            .with_subscription_id(subscription)
            .with_compression_type(codec)
            .with_metrics(metrics.into())
    };
    // a client that has just been given an id and its subscription
    let subscribed = move |ask: &mut Ask<'_>, codec, metrics| {
        let request = GetTelemetrySubscriptionsRequest::default();
        let given = ask.side.connection.call(0, &request);
        assert_eq!(given.error_code, 0, "a new client is given a subscription");
        let id = given.client_instance_id.as_u128();
        of(id, given.subscription_id, codec, metrics)
    };
    vec![
        case("no-client", move |_| of(0, 1, 0, b"")),
        case("reserved-client", move |_| of(1, 1, 0, b"")),
        case("unknown-client", move |_| of(CLIENT + 1, 1, 0, b"")),
        case("unknown-client-terminating", move |_| {
            of(CLIENT + 2, 1, 0, b"").with_terminating(true)
        }),
        case("unknown-subscription", move |_| of(CLIENT, 1, 0, b"x")),
        case("unknown-codec", move |_| of(CLIENT + 3, 1, 9, b"x")),
        case("not-compressed-so", move |_| of(CLIENT + 4, 1, 4, b"x")),
        case("subscribed", move |ask| subscribed(ask, 0, b"")),
        case("subscribed-terminating", move |ask| {
            subscribed(ask, 0, b"").with_terminating(true)
        }),
        case("subscribed-other-subscription", move |ask| {
            let right = subscribed(ask, 0, b"");
            let other = right.subscription_id ^ 1;
            right.with_subscription_id(other)
        }),
        case("subscribed-no-metrics", move |ask| {
            subscribed(ask, 0, b"nothing")
        }),
        case("subscribed-unknown-codec", move |ask| {
            subscribed(ask, 9, b"nothing")
        }),
        case("subscribed-not-compressed-so", move |ask| {
            subscribed(ask, 4, b"nothing")
        }),
        case("subscribed-too-large", move |ask| {
            subscribed(ask, 0, &[0; 2 << 20])
        }),
        case("subscribed-twice", move |ask| {
            let request = subscribed(ask, 0, b"");
            let _ = ask.side.connection.call(0, &request);
            request
        }),
    ]
}
