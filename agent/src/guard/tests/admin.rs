//! Requests of administrators' tools and of clients about themselves, as the crate encodes them.

use kafka_protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, CreateAclsRequest,
    CreatePartitionsRequest, DeleteAclsRequest, DeleteRecordsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeUserScramCredentialsRequest,
    ElectLeadersRequest, GetTelemetrySubscriptionsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListPartitionReassignmentsRequest,
    PushTelemetryRequest, UpdateFeaturesRequest, alter_configs_request as alter,
    alter_partition_reassignments_request as reassign, create_acls_request as create_acls,
    create_partitions_request as partitions, delete_acls_request as delete_acls,
    delete_records_request as records, describe_client_quotas_request as quotas,
    describe_configs_request as configs, describe_log_dirs_request as dirs,
    describe_producers_request as producers, describe_quorum_request as quorum,
    describe_user_scram_credentials_request as scram, elect_leaders_request as elect,
    incremental_alter_configs_request as incremental, list_partition_reassignments_request as list,
    update_features_request as features,
};

use super::{
    ApiKey, BoxedStrategy, BrokerId, Bytes, Just, Strategy, any, decode_as, encoded, long_text,
    option, text, topic, uuid, vec,
};

/// A body of the API at the version; None = it is none of these.
pub(super) fn body(api: ApiKey, version: i16) -> Option<BoxedStrategy<Vec<u8>>> {
    Some(match api {
        ApiKey::DescribeAcls => describe_acls(version),
        ApiKey::CreateAcls => create_acls(version),
        ApiKey::DeleteAcls => delete_acls(version),
        ApiKey::CreatePartitions => create_partitions(version),
        ApiKey::DescribeConfigs => describe_configs(version),
        ApiKey::AlterConfigs => alter_configs(version),
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs(version),
        ApiKey::ListConfigResources => list_config_resources(version),
        ApiKey::DeleteRecords => delete_records(version),
        ApiKey::DescribeLogDirs
        | ApiKey::ElectLeaders
        | ApiKey::ListPartitionReassignments
        | ApiKey::DescribeProducers
        | ApiKey::DescribeQuorum => of_partitions(api, version),
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments(version),
        ApiKey::UpdateFeatures => update_features(version),
        ApiKey::DescribeClientQuotas => describe_client_quotas(version),
        ApiKey::DescribeUserScramCredentials => describe_user_scram_credentials(version),
        ApiKey::GetTelemetrySubscriptions => uuid()
            .prop_map(move |id| {
                let request = GetTelemetrySubscriptionsRequest::default();
                encoded(&request.with_client_instance_id(id), version)
            })
            .boxed(),
        ApiKey::PushTelemetry => push_telemetry(version),
        ApiKey::ListGroups => list_groups(version),
        _ => return None,
    })
}

/// Decodes with the crate; None = it is none of these APIs.
pub(super) fn decode(api: ApiKey, version: i16, bytes: &[u8]) -> Option<Result<usize, String>> {
    Some(match api {
        ApiKey::DescribeAcls => decode_as::<DescribeAclsRequest>(bytes, version),
        ApiKey::CreateAcls => decode_as::<CreateAclsRequest>(bytes, version),
        ApiKey::DeleteAcls => decode_as::<DeleteAclsRequest>(bytes, version),
        ApiKey::CreatePartitions => decode_as::<CreatePartitionsRequest>(bytes, version),
        ApiKey::DescribeConfigs => decode_as::<DescribeConfigsRequest>(bytes, version),
        ApiKey::AlterConfigs => decode_as::<AlterConfigsRequest>(bytes, version),
        ApiKey::IncrementalAlterConfigs => {
            decode_as::<IncrementalAlterConfigsRequest>(bytes, version)
        }
        ApiKey::ListConfigResources => decode_as::<ListConfigResourcesRequest>(bytes, version),
        ApiKey::DeleteRecords => decode_as::<DeleteRecordsRequest>(bytes, version),
        ApiKey::DescribeLogDirs => decode_as::<DescribeLogDirsRequest>(bytes, version),
        ApiKey::ElectLeaders => decode_as::<ElectLeadersRequest>(bytes, version),
        ApiKey::ListPartitionReassignments => {
            decode_as::<ListPartitionReassignmentsRequest>(bytes, version)
        }
        ApiKey::DescribeProducers => decode_as::<DescribeProducersRequest>(bytes, version),
        ApiKey::DescribeQuorum => decode_as::<DescribeQuorumRequest>(bytes, version),
        ApiKey::AlterPartitionReassignments => {
            decode_as::<AlterPartitionReassignmentsRequest>(bytes, version)
        }
        ApiKey::UpdateFeatures => decode_as::<UpdateFeaturesRequest>(bytes, version),
        ApiKey::DescribeClientQuotas => decode_as::<DescribeClientQuotasRequest>(bytes, version),
        ApiKey::DescribeUserScramCredentials => {
            decode_as::<DescribeUserScramCredentialsRequest>(bytes, version)
        }
        ApiKey::GetTelemetrySubscriptions => {
            decode_as::<GetTelemetrySubscriptionsRequest>(bytes, version)
        }
        ApiKey::PushTelemetry => decode_as::<PushTelemetryRequest>(bytes, version),
        ApiKey::ListGroups => decode_as::<ListGroupsRequest>(bytes, version),
        _ => return None,
    })
}

fn describe_acls(version: i16) -> BoxedStrategy<Vec<u8>> {
    (any::<i8>(), option::of(text()), option::of(long_text()))
        .prop_map(move |(kind, name, principal)| {
            let request = DescribeAclsRequest::default()
                .with_resource_type_filter(kind)
                .with_resource_name_filter(name.clone())
                .with_pattern_type_filter(kind)
                .with_principal_filter(principal)
                .with_host_filter(name)
                .with_operation(kind)
                .with_permission_type(kind);
            encoded(&request, version)
        })
        .boxed()
}

fn create_acls(version: i16) -> BoxedStrategy<Vec<u8>> {
    let creation = (any::<i8>(), text(), long_text()).prop_map(|(kind, name, principal)| {
        create_acls::AclCreation::default()
            .with_resource_type(kind)
            .with_resource_name(name.clone())
            .with_resource_pattern_type(kind)
            .with_principal(principal)
            .with_host(name)
            .with_operation(kind)
    });
    vec(creation, 0..4)
        .prop_map(move |all| encoded(&CreateAclsRequest::default().with_creations(all), version))
        .boxed()
}

fn delete_acls(version: i16) -> BoxedStrategy<Vec<u8>> {
    let filter = (any::<i8>(), option::of(text()), option::of(text())).prop_map(
        |(kind, name, principal)| {
            delete_acls::DeleteAclsFilter::default()
                .with_resource_type_filter(kind)
                .with_resource_name_filter(name.clone())
                .with_pattern_type_filter(kind)
                .with_principal_filter(principal)
                .with_host_filter(name)
        },
    );
    vec(filter, 0..4)
        .prop_map(move |all| encoded(&DeleteAclsRequest::default().with_filters(all), version))
        .boxed()
}

fn create_partitions(version: i16) -> BoxedStrategy<Vec<u8>> {
    let assignment = vec(any::<i32>(), 0..4).prop_map(|ids| {
        let ids = ids.into_iter().map(BrokerId).collect();
        partitions::CreatePartitionsAssignment::default().with_broker_ids(ids)
    });
    let wanted = (topic(), any::<i32>(), option::of(vec(assignment, 0..4))).prop_map(
        |(name, count, assignments)| {
            partitions::CreatePartitionsTopic::default()
                .with_name(name)
                .with_count(count)
                .with_assignments(assignments)
        },
    );
    (vec(wanted, 0..4), any::<bool>())
        .prop_map(move |(topics, dry)| {
            let request = CreatePartitionsRequest::default().with_topics(topics);
            encoded(&request.with_validate_only(dry), version)
        })
        .boxed()
}

fn describe_configs(version: i16) -> BoxedStrategy<Vec<u8>> {
    let resource =
        (any::<i8>(), text(), option::of(vec(long_text(), 0..4))).prop_map(|(kind, name, keys)| {
            configs::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_configuration_keys(keys)
        });
    (vec(resource, 0..4), any::<bool>())
        .prop_map(move |(resources, flag)| {
            let request = DescribeConfigsRequest::default()
                .with_resources(resources)
                .with_include_synonyms(flag)
                .with_include_documentation(flag && version >= 3);
            encoded(&request, version)
        })
        .boxed()
}

fn alter_configs(version: i16) -> BoxedStrategy<Vec<u8>> {
    let config = (text(), option::of(long_text())).prop_map(|(name, value)| {
        alter::AlterableConfig::default()
            .with_name(name)
            .with_value(value)
    });
    let resource = (any::<i8>(), text(), vec(config, 0..4)).prop_map(|(kind, name, configs)| {
        alter::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs)
    });
    vec(resource, 0..4)
        .prop_map(move |all| encoded(&AlterConfigsRequest::default().with_resources(all), version))
        .boxed()
}

fn incremental_alter_configs(version: i16) -> BoxedStrategy<Vec<u8>> {
    let config =
        (text(), any::<i8>(), option::of(long_text())).prop_map(|(name, operation, value)| {
            incremental::AlterableConfig::default()
                .with_name(name)
                .with_config_operation(operation)
                .with_value(value)
        });
    let resource = (any::<i8>(), text(), vec(config, 0..4)).prop_map(|(kind, name, configs)| {
        incremental::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs)
    });
    vec(resource, 0..4)
        .prop_map(move |all| {
            let request = IncrementalAlterConfigsRequest::default().with_resources(all);
            encoded(&request, version)
        })
        .boxed()
}

fn list_config_resources(version: i16) -> BoxedStrategy<Vec<u8>> {
    let types = if version == 0 {
        Just(Vec::new()).boxed()
    } else {
        vec(any::<i8>(), 0..6).boxed()
    };
    types
        .prop_map(move |types| {
            let request = ListConfigResourcesRequest::default().with_resource_types(types);
            encoded(&request, version)
        })
        .boxed()
}

fn delete_records(version: i16) -> BoxedStrategy<Vec<u8>> {
    let partition = (any::<i32>(), any::<i64>()).prop_map(|(index, offset)| {
        records::DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(offset)
    });
    let wanted = (topic(), vec(partition, 0..4)).prop_map(|(name, partitions)| {
        records::DeleteRecordsTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    vec(wanted, 0..4)
        .prop_map(move |all| encoded(&DeleteRecordsRequest::default().with_topics(all), version))
        .boxed()
}

/// Requests that name topics and their partitions, and little else.
fn of_partitions(api: ApiKey, version: i16) -> BoxedStrategy<Vec<u8>> {
    let wanted = (topic(), vec(any::<i32>(), 0..5));
    (option::of(vec(wanted, 0..4)), any::<i8>())
        .prop_map(move |(topics, number)| {
            let all = topics.clone().unwrap_or_default().into_iter();
            match api {
                ApiKey::DescribeLogDirs => {
                    let one = |(name, indexes)| {
                        dirs::DescribableLogDirTopic::default()
                            .with_topic(name)
                            .with_partitions(indexes)
                    };
                    let topics = topics.map(|_| all.map(one).collect());
                    encoded(
                        &DescribeLogDirsRequest::default().with_topics(topics),
                        version,
                    )
                }
                ApiKey::ElectLeaders => {
                    let one = |(name, indexes)| {
                        elect::TopicPartitions::default()
                            .with_topic(name)
                            .with_partitions(indexes)
                    };
                    let request = ElectLeadersRequest::default()
                        .with_election_type(if version >= 1 { number } else { 0 })
                        .with_topic_partitions(topics.map(|_| all.map(one).collect()));
                    encoded(&request, version)
                }
                ApiKey::ListPartitionReassignments => {
                    let one = |(name, indexes)| {
                        list::ListPartitionReassignmentsTopics::default()
                            .with_name(name)
                            .with_partition_indexes(indexes)
                    };
                    let request = ListPartitionReassignmentsRequest::default()
                        .with_topics(topics.map(|_| all.map(one).collect()));
                    encoded(&request, version)
                }
                ApiKey::DescribeProducers => {
                    let one = |(name, indexes)| {
                        producers::TopicRequest::default()
                            .with_name(name)
                            .with_partition_indexes(indexes)
                    };
                    let topics = all.map(one).collect();
                    encoded(
                        &DescribeProducersRequest::default().with_topics(topics),
                        version,
                    )
                }
                _ => {
                    let one = |index| quorum::PartitionData::default().with_partition_index(index);
                    let topics = all.map(|(name, indexes)| {
                        quorum::TopicData::default()
                            .with_topic_name(name)
                            .with_partitions(indexes.into_iter().map(one).collect())
                    });
                    let request = DescribeQuorumRequest::default();
                    encoded(&request.with_topics(topics.collect()), version)
                }
            }
        })
        .boxed()
}

fn alter_partition_reassignments(version: i16) -> BoxedStrategy<Vec<u8>> {
    let partition = (any::<i32>(), option::of(vec(any::<i32>(), 0..4))).prop_map(|(index, ids)| {
        reassign::ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(ids.map(|ids| ids.into_iter().map(BrokerId).collect()))
    });
    let wanted = (topic(), vec(partition, 0..4)).prop_map(|(name, partitions)| {
        reassign::ReassignableTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    (vec(wanted, 0..4), any::<bool>())
        .prop_map(move |(topics, flag)| {
            let request = AlterPartitionReassignmentsRequest::default()
                .with_topics(topics)
                .with_allow_replication_factor_change(flag || version < 1);
            encoded(&request, version)
        })
        .boxed()
}

fn update_features(version: i16) -> BoxedStrategy<Vec<u8>> {
    let update = (text(), any::<i16>(), any::<i8>()).prop_map(move |(name, level, kind)| {
        let update = features::FeatureUpdateKey::default()
            .with_feature(name)
            .with_max_version_level(level);
        if version >= 1 {
            update.with_upgrade_type(kind)
        } else {
            update.with_allow_downgrade(kind > 0)
        }
    });
    (vec(update, 0..4), any::<bool>())
        .prop_map(move |(updates, dry)| {
            let request = UpdateFeaturesRequest::default()
                .with_feature_updates(updates)
                .with_validate_only(dry && version >= 1);
            encoded(&request, version)
        })
        .boxed()
}

fn describe_client_quotas(version: i16) -> BoxedStrategy<Vec<u8>> {
    let component = (text(), any::<i8>(), option::of(text())).prop_map(|(kind, how, name)| {
        quotas::ComponentData::default()
            .with_entity_type(kind)
            .with_match_type(how)
            .with_match(name)
    });
    (vec(component, 0..4), any::<bool>())
        .prop_map(move |(components, strict)| {
            let request = DescribeClientQuotasRequest::default()
                .with_components(components)
                .with_strict(strict);
            encoded(&request, version)
        })
        .boxed()
}

fn describe_user_scram_credentials(version: i16) -> BoxedStrategy<Vec<u8>> {
    let user = text().prop_map(|name| scram::UserName::default().with_name(name));
    option::of(vec(user, 0..4))
        .prop_map(move |users| {
            let request = DescribeUserScramCredentialsRequest::default().with_users(users);
            encoded(&request, version)
        })
        .boxed()
}

fn push_telemetry(version: i16) -> BoxedStrategy<Vec<u8>> {
    (uuid(), any::<i32>(), any::<i8>(), vec(any::<u8>(), 0..200))
        .prop_map(move |(id, subscription, codec, metrics)| {
            let request = PushTelemetryRequest::default()
                .with_client_instance_id(id)
                .with_subscription_id(subscription)
                .with_terminating(codec > 0)
                .with_compression_type(codec)
                .with_metrics(Bytes::from(metrics));
            encoded(&request, version)
        })
        .boxed()
}

fn list_groups(version: i16) -> BoxedStrategy<Vec<u8>> {
    (vec(text(), 0..4), vec(long_text(), 0..4))
        .prop_map(move |(states, types)| {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request = request.with_states_filter(states);
            }
            if version >= 5 {
                request = request.with_types_filter(types);
            }
            encoded(&request, version)
        })
        .boxed()
}
