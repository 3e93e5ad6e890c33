// Names and small functions that the tests share. AFT_URL is the URL of a running server.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'

export const URL_OF_SERVER = process.env.AFT_URL
assert.ok(URL_OF_SERVER, 'set AFT_URL to the URL of a running server')
export const SERVER = new URL(URL_OF_SERVER)
export const VECTORS = JSON.parse(readFileSync(new URL('../../vectors.json', import.meta.url)))

// Returns a name that no other test uses, since all tests share one server.
export const fresh = (name = 'r') => `${name}-${randomUUID()}`

export const number = value => value === null ? 0 : Number(value.bytes.toString())
export const text = value => value === null ? null : value.bytes.toString()
export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

export async function increment (t, key) {
  const next = number(await t.get(key)) + 1
  await t.put(key, String(next))
  return next
}

export async function all (listing) {
  const keys = []
  for await (const listed of listing) keys.push(listed.key)
  return keys
}

export const listen = server => new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)))

// Returns true if the server takes a key's name in the query as well as in the path.
export async function serverKnowsQueries () {
  const answer = await fetch(`${URL_OF_SERVER}/v1/key?name=${fresh('never/written')}`)
  return (await answer.json()).code === 'absent'
}

// Serves calls with `handler` while `use` runs, at the URL that `use` gets.
export async function answering (handler, use) {
  const server = http.createServer(handler)
  const url = await listen(server)
  try {
    return await use(url)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

// Returns the time in milliseconds that a call takes, and its error or result.
export async function timed (call) {
  const since = performance.now()
  let outcome
  try { outcome = await call() } catch (why) { outcome = why }
  return { ms: performance.now() - since, outcome }
}
