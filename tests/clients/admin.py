#!/usr/bin/env python3
"""The admin calls of confluent-kafka against one broker: a line `CASE JSON` per call, with what it answered or
`{"error": NAME}`. The cases are the same with every broker; nothing here knows what is right."""
import enum
import json
import sys
from concurrent.futures import Future

from confluent_kafka import ElectionType, IsolationLevel, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient,
                                   AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourcePatternType, ResourceType, ScramCredentialInfo,
                                   ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion)

# elect_leaders takes no such argument, against what its documentation says.
TIMEOUT = {"request_timeout": 10}


def plain(value):
    """An answer as JSON has it: objects by their public attributes, what is keyed by objects as pairs."""
    if isinstance(value, Future):
        try:
            return plain(value.result(15))
        except KafkaException as e:
            return {"error": e.args[0].name()}
    if isinstance(value, BaseException):
        return {"error": type(value).__name__}
    if value is None or isinstance(value, (str, int, float, bool)) and not isinstance(value, enum.Enum):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key if isinstance(key, str) else text(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "name") and callable(value.name):
        return {"error": value.name()}
    names = [name for name in dir(value) if not name.startswith("_") and not callable(getattr(value, name))]
    return {name: plain(getattr(value, name)) for name in names}


def text(key):
    if isinstance(key, TopicPartition):
        return f"{key.topic}-{key.partition}"
    if isinstance(key, ConfigResource):
        return f"{key.restype.name}-{key.name}"
    return str(key)


def topic(name, partitions=1, factor=-1, **more):
    return NewTopic(name, num_partitions=partitions, replication_factor=factor, **more)


def resource(kind, name, changes=()):
    entries = [ConfigEntry(key, value, incremental_operation=operation) for key, operation, value in changes]
    return ConfigResource(kind, name, incremental_configs=entries or None)


def cases(admin, bootstrap):
    """Names and calls, in the order in which they are made."""
    topics, broker = ConfigResource.Type.TOPIC, ConfigResource.Type.BROKER
    operations, pattern = AlterConfigOpType, ResourcePatternType.LITERAL
    acl = AclBinding(ResourceType.TOPIC, "made", pattern, "User:a", "*", AclOperation.READ, AclPermissionType.ALLOW)
    acl_filter = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                                  AclPermissionType.ANY)
    first, second = TopicPartition("made", 0), TopicPartition("made", 1)

    def create(*new, **more):
        return lambda: admin.create_topics(list(new), operation_timeout=10, **TIMEOUT, **more)

    def grow(name, total, **more):
        return lambda: admin.create_partitions([NewPartitions(name, total)], operation_timeout=10, **TIMEOUT, **more)

    def configs(*of):
        return lambda: admin.describe_configs(list(of), **TIMEOUT)

    def change(*of, **more):
        return lambda: admin.incremental_alter_configs(list(of), **TIMEOUT, **more)

    def offsets(spec, *partitions, **more):
        return lambda: admin.list_offsets({partition: spec for partition in partitions}, **TIMEOUT, **more)

    def delete(partition, offset):
        return lambda: admin.delete_records([TopicPartition("made", partition, offset)], **TIMEOUT)

    def scram(change):
        return lambda: admin.alter_user_scram_credentials([change], **TIMEOUT)

    return [
        ("create-topics/one", create(topic("made", 3, config={"retention.ms": "-1"}))),
        ("create-topics/exists", create(topic("made"))),
        ("create-topics/bad-name", create(topic("a/b"))),
        ("create-topics/three-replicas", create(topic("tripled", 1, 3))),
        ("delete-topics/three-replicas", lambda: admin.delete_topics(["tripled"], operation_timeout=10, **TIMEOUT)),
        ("create-topics/no-partition", create(topic("none", 0))),
        ("create-topics/unknown-config", create(topic("bad", config={"nothing.like.it": "1"}))),
        ("create-topics/assigned", create(topic("assigned", 2, replica_assignment=[[0], [0]]))),
        ("create-topics/validated", create(topic("validated"), validate_only=True)),
        ("create-topics/several", create(topic("x"), topic("y"), topic("x y"))),
        ("produce", lambda: produce(bootstrap)),
        ("list-topics/all", lambda: admin.list_topics(timeout=10)),
        ("list-topics/one", lambda: admin.list_topics("made", timeout=10)),
        ("describe-topics/some", lambda: admin.describe_topics(TopicCollection(["made", "missing", "a/b"]),
                                                               include_authorized_operations=True, **TIMEOUT)),
        ("describe-cluster", lambda: admin.describe_cluster(include_authorized_operations=True, **TIMEOUT)),
        ("create-partitions/more", grow("made", 4)),
        ("create-partitions/fewer", grow("made", 2)),
        ("create-partitions/missing", grow("missing", 2)),
        ("create-partitions/validated", grow("made", 9, validate_only=True)),
        ("describe-configs/topic", configs(resource(topics, "made"))),
        ("describe-configs/topic-missing", configs(resource(topics, "missing"))),
        ("describe-configs/broker", configs(resource(broker, "0"))),
        # librdkafka waits for that broker
        ("describe-configs/broker-missing",
         lambda: admin.describe_configs([resource(broker, "77")], request_timeout=1)),
        ("incremental-alter-configs/set", change(resource(topics, "made", [("flush.ms", operations.SET, "5")]))),
        ("incremental-alter-configs/append",
         change(resource(topics, "made", [("cleanup.policy", operations.APPEND, "compact")]))),
        ("incremental-alter-configs/subtract",
         change(resource(topics, "made", [("cleanup.policy", operations.SUBTRACT, "compact")]))),
        ("incremental-alter-configs/delete", change(resource(topics, "made", [("flush.ms", operations.DELETE, None)]))),
        ("incremental-alter-configs/unknown", change(resource(topics, "made", [("x", operations.SET, "5")]))),
        ("incremental-alter-configs/bad", change(resource(topics, "made", [("flush.ms", operations.SET, "week")]))),
        ("incremental-alter-configs/missing", change(resource(topics, "missing", [("flush.ms", operations.SET, "5")]))),
        ("incremental-alter-configs/broker",
         change(resource(broker, "0", [("log.retention.ms", operations.SET, "5000")]), validate_only=True)),
        ("alter-configs/topic",
         lambda: admin.alter_configs([ConfigResource(topics, "made", set_config={"retention.bytes": "77"})], **TIMEOUT)),
        ("describe-configs/topic-altered", configs(resource(topics, "made"))),
        ("list-offsets/latest", offsets(OffsetSpec.latest(), first, second)),
        ("list-offsets/earliest", offsets(OffsetSpec.earliest(), first, second)),
        ("list-offsets/max-timestamp", offsets(OffsetSpec.max_timestamp(), first, second)),
        ("list-offsets/from-time", offsets(OffsetSpec.for_timestamp(1), first, second)),
        ("list-offsets/committed",
         offsets(OffsetSpec.latest(), first, isolation_level=IsolationLevel.READ_COMMITTED)),
        ("delete-records/one", delete(0, 1)),
        ("delete-records/beyond", delete(0, 99)),
        ("delete-records/all", delete(0, -1)),
        ("list-offsets/deleted", offsets(OffsetSpec.earliest(), first)),
        ("elect-leaders/preferred", lambda: admin.elect_leaders(ElectionType.PREFERRED, [first])),
        ("elect-leaders/missing", lambda: admin.elect_leaders(ElectionType.UNCLEAN, [TopicPartition("missing", 0)])),
        ("elect-leaders/all", lambda: admin.elect_leaders(ElectionType.PREFERRED, None)),
        ("create-acls", lambda: admin.create_acls([acl], **TIMEOUT)),
        ("describe-acls", lambda: admin.describe_acls(acl_filter, **TIMEOUT)),
        ("delete-acls", lambda: admin.delete_acls([acl_filter], **TIMEOUT)),
        ("cluster-id", lambda: {"cluster_id": admin.cluster_id(timeout=10)}),
        ("list-groups", lambda: admin.list_groups(timeout=10)),
        ("list-consumer-groups", lambda: admin.list_consumer_groups(**TIMEOUT)),
        ("describe-consumer-groups", lambda: admin.describe_consumer_groups(["some"], **TIMEOUT)),
        ("describe-user-scram-credentials", lambda: admin.describe_user_scram_credentials(["some"], **TIMEOUT)),
        ("alter-user-scram-credentials/set", scram(UserScramCredentialUpsertion(
            "some", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"secret", b"salt"))),
        ("alter-user-scram-credentials/delete",
         scram(UserScramCredentialDeletion("some", ScramMechanism.SCRAM_SHA_256))),
        ("delete-topics/one", lambda: admin.delete_topics(["x"], operation_timeout=10, **TIMEOUT)),
        ("delete-topics/missing", lambda: admin.delete_topics(["missing", "a/b"], operation_timeout=10, **TIMEOUT)),
        ("list-topics/rest", lambda: dict.fromkeys(admin.list_topics(timeout=10).topics, True)),
    ]


def produce(bootstrap):
    """Three records with fixed times, and where they went."""
    placed = []
    producer = Producer({"bootstrap.servers": bootstrap})
    for index in range(3):
        producer.produce("made", value=b"v", partition=0, timestamp=1_000 * (index + 1),
                         on_delivery=lambda error, message: placed.append(error.name() if error else message.offset()))
        producer.flush(10)
    return placed


def main(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for name, call in cases(admin, bootstrap):
        try:
            answer = plain(call())
        except KafkaException as e:
            answer = {"error": e.args[0].name()}
        except (TypeError, ValueError) as e:
            answer = {"refused": str(e)}
        print(name, json.dumps(answer, sort_keys=True), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
