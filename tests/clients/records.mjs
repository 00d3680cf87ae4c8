// The plain text format of client.py beside it, and where npm put the packages.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** Loads packages from the folder of the test clients (tests/run --deps installs them). */
export const packages = createRequire(join(process.env.AQUIFER_TEST_DEPS, 'node', 'index.js'))

const decodeField = field => (field === '-' ? null : field === '=' ? Buffer.alloc(0) : Buffer.from(field, 'hex'))

const encodeField = bytes => (bytes == null ? '-' : bytes.length === 0 ? '=' : Buffer.from(bytes).toString('hex'))

/** The records of a file: keys, values and pairs of headers. */
export function readRecords (path) {
  return readFileSync(path, 'ascii').split('\n').filter(line => line !== '').map(line => {
    const [key, value, headers] = line.split(' ')
    const pairs = headers === '-' ? [] : headers.split(',').map(pair => pair.split(':'))
    return {
      key: decodeField(key),
      value: decodeField(value),
      headers: pairs.map(([name, content]) => [Buffer.from(name, 'hex').toString(), decodeField(content)])
    }
  })
}

/** A record that was read, as a line. */
export function printRecord (partition, offset, key, value, headers) {
  const pairs = headers.map(([name, content]) => `${Buffer.from(name).toString('hex')}:${encodeField(content)}`)
  console.log(`${partition} ${offset} ${encodeField(key)} ${encodeField(value)} ${pairs.join(',') || '-'}`)
}

/** Settings of the form `name=value`. */
export const settings = pairs => Object.fromEntries(pairs.map(pair => pair.split(/=(.*)/s).slice(0, 2)))

/** An answer as JSON has it: maps become objects, big numbers text. */
export function plain (value) {
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, item]) => [String(key), plain(item)]))
  }
  if (Array.isArray(value)) {
    return value.map(plain)
  }
  if (typeof value === 'bigint') {
    return value.toString()
  }
  if (Buffer.isBuffer(value)) {
    return value.toString('hex')
  }
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).sort().map(([key, item]) => [key, plain(item)]))
  }
  return value === undefined ? null : value
}

/** Makes calls one after the other and prints a line `CASE JSON` each; `failure` says what an error is called. */
export async function printCases (cases, failure) {
  for (const [name, call] of cases) {
    let answer
    try {
      answer = plain(await call())
    } catch (error) {
      answer = { error: failure(error) }
    }
    console.log(`${name} ${JSON.stringify(answer)}`)
  }
}
