// @platformatic/kafka behind the text formats of client.py (produce, consume) and admin.py (admin).
//
// What consumes has no group: its client fetches from each partition's leader, and decodes what comes.
import { packages, printCases, printRecord, readRecords, settings } from './records.mjs'

const { Admin, Consumer, Producer } = await import(packages.resolve('@platformatic/kafka'))

const connection = bootstrap => ({ clientId: 'aquifer-tests', bootstrapBrokers: [bootstrap], retries: 2, retryDelay: 100 })

async function produce (bootstrap, topic, path, options) {
  const producer = new Producer({ ...connection(bootstrap), idempotent: options.idempotent === 'true' })
  const metadata = await producer.metadata({ topics: [topic] })
  const partitions = metadata.topics.get(topic).partitions.length
  const records = readRecords(path)
  // A batch per partition: which record got which offset follows from the batch's.
  for (let first = 0; first < records.length; first += 50) {
    const messages = records.slice(first, first + 50).map(({ key, value, headers }, place) => {
      const pairs = headers.map(([name, content]) => [Buffer.from(name), content])
      return { topic, partition: (first + place) % partitions, key, value, headers: new Map(pairs) }
    })
    const { offsets } = await producer.send({ messages, acks: -1, compression: options['compression.type'] ?? 'none' })
    for (const { partition, offset } of offsets) {
      const its = messages.map((message, place) => [message, first + place]).filter(([m]) => m.partition === partition)
      its.forEach(([, index], place) => console.log(`${index} ${partition} ${offset + BigInt(place)}`))
    }
  }
  await producer.close()
}

async function consume (bootstrap, topic, count) {
  const consumer = new Consumer({ ...connection(bootstrap), groupId: 'unused', maxWaitTime: 200 })
  consumer.topics.trackAll(topic)
  const metadata = await consumer.metadata({ topics: [topic] })
  const { id, partitions } = metadata.topics.get(topic)
  const next = partitions.map(() => 0n)
  const deadline = Date.now() + 30_000
  let seen = 0
  while (seen < count && Date.now() < deadline) {
    for (const node of new Set(partitions.map(({ leader }) => leader))) {
      const wanted = partitions.map(({ leader }, partition) => ({ leader, partition })).filter(p => p.leader === node)
      const { responses } = await consumer.fetch({ node, topics: [{ topicId: id, partitions: wanted.map(({ partition }) => (
        { partition, currentLeaderEpoch: -1, fetchOffset: next[partition], lastFetchedEpoch: -1,
          partitionMaxBytes: 1 << 20 })) }] })
      for (const { partitionIndex, records } of responses.flatMap(({ partitions }) => partitions)) {
        for (const batch of records ?? []) {
          for (const { offsetDelta, key, value, headers } of batch.records) {
            const offset = batch.firstOffset + BigInt(offsetDelta)
            if (offset >= next[partitionIndex]) {
              next[partitionIndex] = offset + 1n
              printRecord(partitionIndex, offset, key, value, [...headers])
              seen++
            }
          }
        }
      }
    }
  }
  await consumer.close()
}

async function administer (bootstrap) {
  const admin = new Admin(connection(bootstrap))
  const [TOPIC, BROKER] = [2, 4]
  const [SET, DELETE, APPEND] = [0, 1, 2]
  const create = (name, more) => () => admin.createTopics({ topics: [name], partitions: 1, replicas: 1, ...more })
  const grow = (name, count, validateOnly = false) => () => (
    admin.createPartitions({ topics: [{ name, count }], validateOnly }))
  const configs = (resourceType, resourceName, configurationKeys = null) => () => (
    admin.describeConfigs({ resources: [{ resourceType, resourceName, configurationKeys }], includeSynonyms: true }))
  const change = (resourceName, name, configOperation, value) => () => (
    admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName,
      configs: [{ name, configOperation, value }] }] }))
  const alter = (resourceName, name, value) => () => (
    admin.alterConfigs({ resources: [{ resourceType: TOPIC, resourceName, configs: [{ name, value }] }] }))
  const offsets = timestamp => () => admin.listOffsets({ topics: [{ name: 'made',
    partitions: [0, 1].map(partitionIndex => ({ partitionIndex, timestamp })) }] })
  const cut = offset => () => admin.deleteRecords({ topics: [{ name: 'made', partitions: [{ partition: 0, offset }] }] })
  const acl = { resourceType: 2, resourceName: 'made', resourcePatternType: 3, principal: 'User:a', host: '*',
    operation: 3, permissionType: 3 }
  const filter = { resourceType: 1, resourceName: null, resourcePatternType: 1, principal: null, host: null,
    operation: 1, permissionType: 1 }
  const anyUser = { entityType: 'user', matchType: 2 }
  const listed = async () => Object.fromEntries((await admin.listTopics()).map(name => [name, true]))
  await printCases([
    ['create-topics/one', create('made', { partitions: 3, configs: [{ name: 'retention.ms', value: '-1' }] })],
    ['create-topics/exists', create('made')],
    ['create-topics/bad-name', create('a/b')],
    ['create-topics/three-replicas', create('tripled', { replicas: 3 })],
    ['delete-topics/three-replicas', () => admin.deleteTopics({ topics: ['tripled'] })],
    ['create-topics/no-partition', create('none', { partitions: 0 })],
    ['create-topics/unknown-config', create('bad', { configs: [{ name: 'x', value: '1' }] })],
    ['create-topics/assigned', create('assigned', { partitions: -1, replicas: -1,
      assignments: [{ partition: 0, brokers: [0] }] })],
    ['produce', () => produceThree(bootstrap)],
    ['list-topics', listed],
    ['metadata/one', () => admin.metadata({ topics: ['made'] })],
    ['metadata/missing', () => admin.metadata({ topics: ['missing'] })],
    ['create-partitions/more', grow('made', 4)],
    ['create-partitions/fewer', grow('made', 2)],
    ['create-partitions/missing', grow('missing', 2)],
    ['create-partitions/validated', grow('made', 9, true)],
    ['describe-configs/topic', configs(TOPIC, 'made')],
    ['describe-configs/some', configs(TOPIC, 'made', ['retention.ms', 'x'])],
    ['describe-configs/missing', configs(TOPIC, 'missing')],
    ['describe-configs/broker', configs(BROKER, '0')],
    ['incremental-alter-configs/set', change('made', 'flush.ms', SET, '5')],
    ['incremental-alter-configs/append', change('made', 'cleanup.policy', APPEND, 'compact')],
    ['incremental-alter-configs/delete', change('made', 'cleanup.policy', DELETE)],
    ['incremental-alter-configs/unknown', change('made', 'x', SET, '5')],
    ['incremental-alter-configs/missing', change('missing', 'flush.ms', SET, '5')],
    ['describe-configs/altered', configs(TOPIC, 'made', ['retention.ms', 'flush.ms', 'cleanup.policy'])],
    ['alter-configs/topic', alter('made', 'retention.bytes', '77')],
    ['alter-configs/bad', alter('made', 'retention.bytes', 'much')],
    ['list-offsets/latest', offsets(-1n)],
    ['list-offsets/earliest', offsets(-2n)],
    ['list-offsets/max-timestamp', offsets(-3n)],
    ['list-offsets/from-time', offsets(2_000n)],
    ['delete-records/one', cut(1n)],
    ['delete-records/beyond', cut(99n)],
    ['delete-records/all', cut(-1n)],
    ['list-offsets/deleted', offsets(-2n)],
    ['describe-log-dirs', () => admin.describeLogDirs({ topics: [{ name: 'made', partitions: [0, 1] }] })],
    ['create-acls', () => admin.createAcls({ creations: [acl] })],
    ['describe-acls', () => admin.describeAcls({ filter })],
    ['delete-acls', () => admin.deleteAcls({ filters: [filter] })],
    ['list-groups', () => admin.listGroups()],
    ['describe-client-quotas', () => admin.describeClientQuotas({ components: [anyUser], strict: false })],
    ['alter-client-quotas', () => admin.alterClientQuotas({ validateOnly: true, entries: [{
      entities: [{ entityType: 'user', entityName: 'a' }], ops: [{ key: 'producer_byte_rate', value: 1000, remove: false }] }] })],
    ['delete-topics/one', () => admin.deleteTopics({ topics: ['assigned'] })],
    ['delete-topics/missing', () => admin.deleteTopics({ topics: ['missing'] })],
    ['list-topics/rest', listed]
  ], named)
  await admin.close()
}

/** The names of the errors that brokers answered, else what the client itself says. */
function named (error) {
  const all = error => [error, ...(error.errors ?? []).flatMap(all), ...(error.cause ? all(error.cause) : [])]
  const names = all(error).map(({ apiId }) => apiId).filter(Boolean).sort()
  return [...new Set(names)].join(' ') || error.code
}

async function produceThree (bootstrap) {
  const producer = new Producer(connection(bootstrap))
  const messages = [1_000n, 2_000n, 3_000n].map(timestamp => (
    { topic: 'made', partition: 0, value: Buffer.from('v'), timestamp }))
  const acknowledged = await producer.send({ messages, acks: -1 })
  await producer.close()
  return acknowledged
}

const [verb, bootstrap, topic, what, ...more] = process.argv.slice(2)
await { produce, consume, admin: administer }[verb](bootstrap, topic, what, settings(more))
