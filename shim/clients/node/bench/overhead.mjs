// Measures what the client costs above Node's own http module: the same calls, one at a time, over
// one connection that stays open, in one process, in turn.
//
//     AFT_URL=http://127.0.0.1:7400 node bench/overhead.mjs

import { randomUUID } from 'node:crypto'
import http from 'node:http'

import { Client } from '../index.mjs'

const ROUNDS = 60
const CALLS = 50
const WARM_UP_ROUNDS = 10

const server = new URL(process.env.AFT_URL ?? 'http://127.0.0.1:7400')
const client = new Client(server.origin, { session: false })
const agent = new http.Agent({ keepAlive: true })
const key = `bench-${randomUUID()}`

function bare (method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Length': body.length }
    const request = http.request({ hostname: server.hostname, port: server.port, agent, method, path, headers }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk)).on('end', () => resolve(Buffer.concat(chunks)))
    })
    request.on('error', reject).end(body)
  })
}

const value = Buffer.alloc(100, 'x')
const calls = {
  get: [() => bare('GET', `/v1/keys/${key}`), () => client.get(key)],
  put: [() => bare('PUT', `/v1/keys/${key}`, value), () => client.put(key, value)]
}

const median = numbers => numbers.sort((a, b) => a - b)[numbers.length >> 1]

// Returns the median time of a call and the mean time of the processor, both in µs.
async function measure (call, times) {
  const before = process.cpuUsage()
  for (let nth = 0; nth < CALLS; nth += 1) {
    const since = performance.now()
    await call()
    times.latency.push(1_000 * (performance.now() - since))
  }
  const { user, system } = process.cpuUsage(before)
  times.cpu.push((user + system) / CALLS)
}

await client.put(key, value)
console.log('call  measure   bare µs  client µs  difference µs')
for (const [name, both] of Object.entries(calls)) {
  const times = both.map(() => ({ latency: [], cpu: [] }))
  for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1) {
    if (round === WARM_UP_ROUNDS) for (const each of times) { each.latency.length = 0; each.cpu.length = 0 }
    // Both take turns, and neither is always first.
    for (const at of round % 2 === 0 ? [0, 1] : [1, 0]) await measure(both[at], times[at])
  }
  for (const what of ['latency', 'cpu']) {
    const [one, other] = times.map(each => median(each[what]))
    const columns = [[one, 8], [other, 10], [other - one, 14]].map(([number, width]) => number.toFixed(0).padStart(width))
    console.log(`${name.padEnd(5)} ${what.padEnd(8)} ${columns.join(' ')}`)
  }
}
await client.delete(key)
client.close()
agent.destroy()
