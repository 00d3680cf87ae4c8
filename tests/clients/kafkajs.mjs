// kafkajs behind the text formats of client.py (produce, consume) and admin.py (admin).
//
// What consumes has no group: kafkajs's own connections fetch, and it decodes what comes.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'

import { packages, printCases, printRecord, readRecords, settings } from './records.mjs'

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, CompressionCodecs, CompressionTypes,
  ConfigResourceTypes, Kafka, ResourcePatternTypes, logLevel } = packages('kafkajs')

CompressionCodecs[CompressionTypes.Snappy] = packages('kafkajs-snappy')
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zstdCompressSync(encoder.buffer),
  decompress: async buffer => zstdDecompressSync(buffer)
})
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  zstd: CompressionTypes.ZSTD }

const connect = bootstrap => new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 2 } })

async function produce (bootstrap, topic, path, options) {
  const kafka = connect(bootstrap)
  const admin = kafka.admin()
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  const partitions = topics[0].partitions.length
  await admin.disconnect()
  const producer = kafka.producer({ allowAutoTopicCreation: false, idempotent: options.idempotent === 'true' })
  await producer.connect()
  const records = readRecords(path)
  // A batch per partition: which record got which offset follows from the batch's.
  for (let first = 0; first < records.length; first += 50) {
    const batches = new Map()
    for (let index = first; index < Math.min(first + 50, records.length); index++) {
      const { key, value, headers } = records[index]
      const partition = index % partitions
      const batch = batches.get(partition) ?? []
      batches.set(partition, [...batch, { index, message: { partition, key, value, headers: merged(headers) } }])
    }
    const messages = [...batches.values()].flat().map(({ message }) => message)
    const acknowledged = await producer.send({ topic, messages, acks: -1, compression: codecs[options['compression.type'] ?? 'none'] })
    for (const { partition, baseOffset } of acknowledged) {
      batches.get(partition).forEach(({ index }, place) => {
        console.log(`${index} ${partition} ${BigInt(baseOffset) + BigInt(place)}`)
      })
    }
  }
  await producer.disconnect()
}

/** kafkajs takes headers by name, and lists for those that occur again. */
function merged (pairs) {
  const headers = {}
  for (const [name, value] of pairs) {
    headers[name] = name in headers ? [headers[name], value].flat() : value
  }
  return headers
}

async function consume (bootstrap, topic, count) {
  const kafka = connect(bootstrap)
  const symbol = Object.getOwnPropertySymbols(kafka).find(symbol => String(symbol).includes('createCluster'))
  const cluster = kafka[symbol]({ metadataMaxAge: 300_000, allowAutoTopicCreation: false })
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  const next = new Map(cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => [partitionId, 0n]))
  const deadline = Date.now() + 30_000
  let seen = 0
  while (seen < count && Date.now() < deadline) {
    for (const [nodeId, ids] of Object.entries(cluster.findLeaderForPartitions(topic, [...next.keys()]))) {
      const broker = await cluster.findBroker({ nodeId })
      const partitions = ids.map(partition => (
        { partition, fetchOffset: next.get(partition).toString(), maxBytes: 1 << 20 }))
      const { responses } = await broker.fetch({ maxWaitTime: 200, minBytes: 1, isolationLevel: 1,
        topics: [{ topic, partitions }] })
      for (const { partition, messages } of responses.flatMap(({ partitions }) => partitions)) {
        for (const { offset, key, value, headers } of messages) {
          if (BigInt(offset) >= next.get(partition)) {
            next.set(partition, BigInt(offset) + 1n)
            printRecord(partition, offset, key, value, Object.entries(headers ?? {})
              .flatMap(([name, content]) => [content].flat().map(one => [name, one])))
            seen++
          }
        }
      }
    }
  }
  await cluster.disconnect()
}

async function administer (bootstrap) {
  const kafka = connect(bootstrap)
  const admin = kafka.admin()
  await admin.connect()
  const { TOPIC, BROKER } = ConfigResourceTypes
  const topic = (name, more) => ({ topics: [{ topic: name, numPartitions: 1, replicationFactor: -1, ...more }] })
  const create = (name, more, options) => () => admin.createTopics({ ...topic(name, more), ...options })
  const configs = (type, name, more) => () => (
    admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name, ...more }] }))
  const alter = (type, name, entries, validateOnly = false) => () => (
    admin.alterConfigs({ validateOnly, resources: [{ type, name, configEntries: entries }] }))
  const grow = (name, count) => () => admin.createPartitions({ topicPartitions: [{ topic: name, count }] })
  const cut = (name, offset) => () => admin.deleteTopicRecords({ topic: name, partitions: [{ partition: 0, offset }] })
  const acl = { resourceType: AclResourceTypes.TOPIC, resourceName: 'made', principal: 'User:a', host: '*',
    resourcePatternType: ResourcePatternTypes.LITERAL, operation: AclOperationTypes.READ,
    permissionType: AclPermissionTypes.ALLOW }
  const listed = async () => Object.fromEntries((await admin.listTopics()).map(name => [name, true]))
  await printCases([
    ['create-topics/one', create('made', { numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '-1' }] })],
    ['create-topics/exists', create('made')],
    ['create-topics/bad-name', create('a/b')],
    ['create-topics/three-replicas', create('tripled', { replicationFactor: 3 })],
    ['delete-topics/three-replicas', () => admin.deleteTopics({ topics: ['tripled'] })],
    ['create-topics/no-partition', create('none', { numPartitions: 0 })],
    ['create-topics/unknown-config', create('bad', { configEntries: [{ name: 'x', value: '1' }] })],
    ['create-topics/assigned', create('assigned', { numPartitions: -1,
      replicaAssignment: [{ partition: 0, replicas: [0] }] })],
    ['create-topics/validated', create('validated', {}, { validateOnly: true, waitForLeaders: false })],
    ['produce', () => produceThree(kafka)],
    ['list-topics', listed],
    ['fetch-topic-metadata/one', () => admin.fetchTopicMetadata({ topics: ['made'] })],
    ['fetch-topic-metadata/missing', () => admin.fetchTopicMetadata({ topics: ['missing'] })],
    ['fetch-topic-metadata/bad-name', () => admin.fetchTopicMetadata({ topics: ['a/b'] })],
    ['fetch-topic-metadata/all', () => admin.fetchTopicMetadata()],
    ['describe-cluster', () => admin.describeCluster()],
    ['create-partitions/more', grow('made', 4)],
    ['create-partitions/fewer', grow('made', 2)],
    ['create-partitions/missing', grow('missing', 2)],
    ['fetch-topic-offsets/one', () => admin.fetchTopicOffsets('made')],
    ['fetch-topic-offsets/by-timestamp', () => admin.fetchTopicOffsetsByTimestamp('made', 2_000)],
    ['fetch-topic-offsets/late-timestamp', () => admin.fetchTopicOffsetsByTimestamp('made', 9_000)],
    ['describe-configs/topic', configs(TOPIC, 'made')],
    ['describe-configs/some', configs(TOPIC, 'made', { configNames: ['retention.ms', 'x'] })],
    ['describe-configs/missing', configs(TOPIC, 'missing')],
    ['describe-configs/broker', configs(BROKER, '0')],
    ['alter-configs/topic', alter(TOPIC, 'made', [{ name: 'flush.ms', value: '5' }])],
    ['alter-configs/validated', alter(TOPIC, 'made', [{ name: 'flush.ms', value: '6' }], true)],
    ['alter-configs/unknown', alter(TOPIC, 'made', [{ name: 'x', value: '5' }])],
    ['alter-configs/bad', alter(TOPIC, 'made', [{ name: 'flush.ms', value: 'week' }])],
    ['alter-configs/missing', alter(TOPIC, 'missing', [{ name: 'flush.ms', value: '5' }])],
    ['describe-configs/altered', configs(TOPIC, 'made', { configNames: ['retention.ms', 'flush.ms'] })],
    ['delete-topic-records/one', cut('made', '1')],
    ['delete-topic-records/beyond', cut('made', '99')],
    ['delete-topic-records/all', cut('made', '-1')],
    ['fetch-topic-offsets/deleted', () => admin.fetchTopicOffsets('made')],
    ['create-acls', () => admin.createAcls({ acl: [acl] })],
    ['describe-acls', () => admin.describeAcls(acl)],
    ['delete-acls', () => admin.deleteAcls({ filters: [acl] })],
    ['alter-partition-reassignments/same', () => admin.alterPartitionReassignments({
      topics: [{ topic: 'made', partitionAssignment: [{ partition: 0, replicas: [0] }] }] })],
    ['alter-partition-reassignments/nobody', () => admin.alterPartitionReassignments({
      topics: [{ topic: 'made', partitionAssignment: [{ partition: 0, replicas: [9] }] }] })],
    ['list-partition-reassignments', () => admin.listPartitionReassignments({})],
    ['list-groups', () => admin.listGroups()],
    ['describe-groups', () => admin.describeGroups(['some'])],
    ['delete-topics/one', () => admin.deleteTopics({ topics: ['assigned'] })],
    ['delete-topics/missing', () => admin.deleteTopics({ topics: ['missing'] })],
    ['list-topics/rest', listed]
  ], named)
  await admin.disconnect()
}

/** What the error that ended a call is called: of several (one per topic or resource), all. */
function named (error) {
  const errors = error.errors ?? error.cause?.errors ?? []
  const names = errors.map(({ type, name }) => type ?? name).sort().join(' ')
  return names || error.type || error.cause?.type || error.name
}

async function produceThree (kafka) {
  const producer = kafka.producer()
  await producer.connect()
  const messages = [1_000, 2_000, 3_000].map(timestamp => ({ partition: 0, value: 'v', timestamp: String(timestamp) }))
  const acknowledged = await producer.send({ topic: 'made', messages })
  await producer.disconnect()
  return acknowledged
}

const [verb, bootstrap, topic, what, ...more] = process.argv.slice(2)
await { produce, consume, admin: administer }[verb](bootstrap, topic, what, settings(more))
