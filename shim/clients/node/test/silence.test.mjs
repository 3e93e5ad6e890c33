// Goal: a call ends when its connection is silent, and not because it is long; connections that
// were idle for too long are not used. Method: a slow line in front of the real server, servers
// that stop, and clocks that the test sets.

import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { SERVER, URL_OF_SERVER, answering, fresh, listen, sleep, text, timed } from '../test-support/index.mjs'

// Starts a line that passes `bytesPerS` in each direction.
async function slow (bytesPerS, use) {
  const open = new Set()
  const pass = async (from, to) => {
    let [len, since] = [0, 0]
    for await (const chunk of from) {
      for (let at = 0; at < chunk.length; at += 4_096) {
        const piece = chunk.subarray(at, at + 4_096)
        to.write(piece)
        // After a pause the line does not catch up.
        since = Math.max(since, performance.now() - 1_000 * len / bytesPerS)
        len += piece.length
        const ms = since + 1_000 * len / bytesPerS - performance.now()
        if (ms > 0) await sleep(ms)
      }
    }
    to.end()
  }
  const line = net.createServer({ noDelay: true, highWaterMark: 4_096 }, client => {
    const server = net.connect({ host: SERVER.hostname, port: SERVER.port, noDelay: true })
    for (const [one, other] of [[client, server], [server, client]]) {
      open.add(one)
      one.on('error', () => other.destroy())
      pass(one, other).catch(() => other.destroy())
    }
  })
  try {
    return await use(await listen(line))
  } finally {
    open.forEach(socket => socket.destroy())
    line.close()
  }
}

test('a large value passes a slow line in both directions', async () => {
  const value = Buffer.alloc(2 << 20, 7)
  await slow(2 << 20, async url => {
    const client = new Client(url, { callTimeoutMs: 500 })
    const key = fresh()
    const put = await timed(() => client.put(key, value))
    assert.ok(put.outcome.version, `${put.outcome}`)
    const get = await timed(() => client.get(key))
    assert.ok(value.equals(get.outcome.bytes), `${get.outcome}`)
    const run = await timed(() => client.run(null, t => t.put(key, value)))
    assert.equal(run.outcome.attempts, 1, `${run.outcome}`)
    for (const { ms } of [put, get, run]) assert.ok(ms > 750, `the call took longer than the silence that it may have: ${ms}`)
    client.close()
  })
})

test('silence ends a call in each of its phases', async () => {
  const value = Buffer.alloc(8 << 20)
  const stopAfter = count => net.createServer(socket => {
    let len = 0
    socket.on('error', () => {}).on('data', chunk => {
      if (len === 0) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      len += chunk.length
      if (len > count) socket.pause()
    })
  })
  const halfAnswer = net.createServer(socket => {
    socket.on('error', () => {}).on('data', () => socket.write('HTTP/1.1 200 OK\r\nAft-Version: 1-1\r\nContent-Length: 10\r\n\r\n12345'))
  })
  for (const [server, call, Kind] of [
    [stopAfter(0), client => client.get('k'), aft.Unavailable], [stopAfter(0), client => client.put('k', 'v'), aft.Unknown],
    [stopAfter(1 << 20), client => client.put('k', value), aft.Unavailable], [halfAnswer, client => client.get('k'), aft.Unavailable]
  ]) {
    const client = new Client(await listen(server), { callTimeoutMs: 200, runMsMax: 300 })
    const { ms, outcome } = await timed(() => call(client))
    assert.ok(outcome instanceof Kind && /nothing was sent or received for \d+ ms/.test(outcome.message), `${outcome}`)
    assert.ok(ms < 2_000, `${ms}`)
    client.close()
    server.close()
  }
})

// Returns a client with one idle connection to a server that counts its connections.
async function idling (use) {
  let connections = 0
  const server = http.createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': 1 }).end('v')
  })
  server.on('connection', () => { connections += 1 })
  const client = new Client(await listen(server))
  await client.get('k')
  await sleep(20)
  try {
    await use({ client, server, count: () => connections, pool: client._transport.pool })
  } finally {
    client.close()
    server.closeAllConnections()
    server.close()
  }
}

test('an idle connection is not used after a freeze', async () => {
  for (const [wall, monotonic, isUsed] of [[1_000, 1_000, true], [25_000, 10, false], [10, 25_000, false], [-5_000, 10, false]]) {
    await idling(async ({ client, count, pool }) => {
      const now = pool.now()
      pool.now = () => ({ wall: now.wall + wall, monotonic: now.monotonic + monotonic })
      await client.get('k')
      assert.equal(count(), isUsed ? 1 : 2, `${wall} ms by the wall clock, ${monotonic} by the other`)
    })
  }
})

test('a read meets a dead connection without a failure', async () => {
  // The server closes a connection with the second call on it, as if it had been idle for too long.
  const calls = new Map()
  const handler = (request, response) => {
    const nth = (calls.get(request.socket) ?? 0) + 1
    calls.set(request.socket, nth)
    if (nth > 1) return request.socket.destroy()
    response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': 1 }).end('v')
  }
  await answering(handler, async url => {
    const client = new Client(url, { runMsMax: 0 })
    for (let times = 0; times < 5; times += 1) assert.equal(text(await client.get('k')), 'v')
    assert.equal(calls.size, 5)
    // What commits is not sent again.
    await assert.rejects(client.put('k', 'v'), aft.Unknown)
    client.close()
  })
})

test('defaults are documented', async () => {
  const client = new Client(URL_OF_SERVER)
  assert.deepEqual([client._transport.callTimeoutMs, client._transport.connectTimeoutMs, client._options.runMsMax], [30_000, 5_000, 60_000])
  client.close()
})

test('nothing is left behind by a call', async () => {
  const client = new Client(URL_OF_SERVER, { callTimeoutMs: 3_000 })
  const before = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  for (const len of [1, 100_000, 1 << 20]) {
    for (let times = 0; times < 5; times += 1) await client.put(fresh(), Buffer.alloc(len))
  }
  await sleep(50)
  assert.equal(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length, before)
  client.close()
})
