// Members of groups in kafkajs, behind the text format of members.py.
import { createInterface } from 'node:readline'

import { packages } from './records.mjs'

const { Kafka, logLevel } = packages('kafkajs')

const say = (kind, name, ...words) => process.stdout.write([kind, name, Date.now(), ...words].join(' ') + '\n')

async function member (bootstrap, topic, description) {
  const [name, groupId, ...settings] = description.split(';')
  const options = Object.fromEntries(settings.map(setting => {
    const [key, value] = setting.split('=')
    return [key, Number(value)]
  }))
  const kafka = new Kafka({ clientId: name, brokers: bootstrap.split(','), logLevel: logLevel.NOTHING,
    retry: { retries: 50, initialRetryTime: 100, maxRetryTime: 1000 } })
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, metadataMaxAge: 2000,
    maxWaitTimeInMs: 200, ...options })
  const { GROUP_JOIN, REBALANCING, CRASH } = consumer.events
  consumer.on(REBALANCING, () => say('O', name, '-'))
  consumer.on(GROUP_JOIN, ({ payload }) => {
    say('O', name, (payload.memberAssignment[topic] ?? []).sort((a, b) => a - b).join(',') || '-')
  })
  consumer.on(CRASH, ({ payload }) => say('E', name, payload.error.message))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => say('M', name, partition, message.offset)
  })
  return consumer
}

const [bootstrap, topic, ...descriptions] = process.argv.slice(2)
const members = await Promise.all(descriptions.map(description => member(bootstrap, topic, description)))
const orders = createInterface({ input: process.stdin })
orders.on('line', async () => {
  await Promise.all(members.map(consumer => consumer.disconnect()))
  process.exit(0)
})
orders.on('close', () => setTimeout(() => process.exit(1), 20_000))
