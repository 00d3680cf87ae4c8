#!/usr/bin/env python3
"""A Kafka client for tests (confluent-kafka, that is librdkafka) that speaks one plain text format.

A record is `KEY VALUE HEADERS`: a field is `-` (null), `=` (empty) or hex; HEADERS is `-` or
`NAME:VALUE` joined by commas, NAME in hex. `produce` reads records from a file and prints `INDEX PARTITION
OFFSET` per acknowledgement or `E INDEX MESSAGE` per failure; `consume` prints `PARTITION OFFSET KEY VALUE
HEADERS`. Settings of the client follow as `name=value`.
"""
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition


def decode(field):
    if field == "-":
        return None
    return b"" if field == "=" else bytes.fromhex(field)


def encode(value):
    if value is None:
        return "-"
    return value.hex() or "="


def decode_headers(text):
    if text == "-":
        return []
    pairs = (item.split(":") for item in text.split(","))
    return [(bytes.fromhex(name).decode(), decode(value)) for name, value in pairs]


def encode_headers(headers):
    if not headers:
        return "-"
    return ",".join(f"{name.encode().hex()}:{encode(value)}" for name, value in headers)


def settings(pairs):
    return dict(pair.split("=", 1) for pair in pairs)


def produce(bootstrap, topic, path, pairs):
    """Rate: the pseudo setting `test.rate` (records a second), so that kills fall into the run."""
    conf = {"bootstrap.servers": bootstrap, "enable.idempotence": True, **settings(pairs)}
    rate = float(conf.pop("test.rate", 0))
    producer = Producer(conf)
    failed = 0

    def report(index):
        def on_delivery(error, message):
            nonlocal failed
            if error is None:
                print(index, message.partition(), message.offset(), flush=True)
            else:
                failed += 1
                print("E", index, error, flush=True)
        return on_delivery

    start = time.monotonic()
    with open(path, encoding="ascii") as lines:
        for index, line in enumerate(lines):
            key, value, headers = line.split()
            while rate and index / rate > time.monotonic() - start:
                producer.poll(0.01)
            while True:
                try:
                    producer.produce(topic, value=decode(value), key=decode(key),
                                     headers=decode_headers(headers), on_delivery=report(index))
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
    left = producer.flush(300)
    return 1 if failed or left else 0


def consume(bootstrap, topic, count, pairs):
    """Reads COUNT records of all partitions from the beginning, or until `test.idle` seconds without one."""
    conf = {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
            "auto.offset.reset": "error", "enable.partition.eof": False, **settings(pairs)}
    idle = float(conf.pop("test.idle", 30))
    consumer = Consumer(conf)
    deadline = time.monotonic() + 60
    partitions = {}
    while not partitions and time.monotonic() < deadline:
        found = consumer.list_topics(topic, timeout=10).topics.get(topic)
        partitions = found.partitions if found and not found.error else {}
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    last, seen, out = time.monotonic(), 0, sys.stdout
    while seen < int(count) and time.monotonic() - last < idle:
        for message in consumer.consume(500, 0.2):
            if message.error():
                if message.error().code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                    continue
                print("E", message.error(), file=sys.stderr, flush=True)
                if not message.error().retriable():
                    return 1
                continue
            out.write(f"{message.partition()} {message.offset()} {encode(message.key())} "
                      f"{encode(message.value())} {encode_headers(message.headers())}\n")
            seen += 1
            last = time.monotonic()
        out.flush()
    consumer.close()
    return 0


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    sys.exit({"produce": produce, "consume": consume}[verb](*rest[:3], rest[3:]))
