#!/usr/bin/env python3
"""Members of groups for tests (confluent-kafka, that is librdkafka), several in one process.

`members.py BOOTSTRAP TOPIC NAME;GROUP;SETTING=VALUE;... ...` runs a member per description until a line comes on
stdin, upon which all leave. Lines, each with the member's name and milliseconds since 1970:
`O NAME MS PARTITIONS` what it has from now on (`-` = nothing), `M NAME MS PARTITION OFFSET` a record that it
processed and commits next, `G NAME MS GENERATION MEMBER` where the client tells, `F NAME MS WHY` a commit that
failed, `E NAME MS WHY` what should not be.
"""
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

PASSING = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)


def say(kind, name, *words):
    # one write per line, as threads share the pipe
    os.write(1, (" ".join(map(str, (kind, name, int(time.time() * 1000), *words))) + "\n").encode())


class Member(threading.Thread):
    def __init__(self, bootstrap, topic, description):
        super().__init__(daemon=True)
        self.name, group, *settings = description.split(";")
        conf = {"bootstrap.servers": bootstrap, "group.id": group, "client.id": self.name,
                "enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 2000}
        conf.update(setting.split("=", 1) for setting in settings)
        self.incremental = conf.get("partition.assignment.strategy") == "cooperative-sticky" \
            or conf.get("group.protocol") == "consumer"
        self.topic, self.owned, self.leaving = topic, set(), False
        self.uncommitted = {}
        self.consumer = Consumer(conf)

    def changed(self):
        say("O", self.name, ",".join(map(str, sorted(self.owned))) or "-")

    def assigned(self, consumer, partitions):
        added = {p.partition for p in partitions}
        self.owned = self.owned | added if self.incremental else added
        self.changed()

    def revoked(self, consumer, partitions):
        self.commit()
        self.lost(consumer, partitions)

    def lost(self, consumer, partitions):
        gone = {p.partition for p in partitions}
        self.owned -= gone
        self.uncommitted = {p: offset for p, offset in self.uncommitted.items() if p not in gone}
        self.changed()

    def run(self):
        self.consumer.subscribe([self.topic], on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.lost)
        while not self.leaving:
            message = self.consumer.poll(0.1)
            if message is not None and not message.error():
                say("M", self.name, message.partition(), message.offset())
                self.uncommitted[message.partition()] = message.offset() + 1
            elif message is not None and message.error().code() not in PASSING:
                say("E", self.name, message.error())
            self.commit()
        self.commit()
        self.consumer.close()

    def commit(self):
        """What fails, as during a rebalance, goes again, at the latest before its partition does."""
        if not self.uncommitted:
            return
        offsets = [TopicPartition(self.topic, p, offset) for p, offset in self.uncommitted.items()]
        try:
            self.consumer.commit(offsets=offsets, asynchronous=False)
            self.uncommitted = {}
        except KafkaException as e:
            say("F", self.name, e.args[0].name())


def main(bootstrap, topic, *descriptions):
    members = [Member(bootstrap, topic, description) for description in descriptions]
    for member in members:
        member.start()
    if not sys.stdin.readline():
        os._exit(1)  # nobody is left who could want anything
    for member in members:
        member.leaving = True
    for member in members:
        member.join(30)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
