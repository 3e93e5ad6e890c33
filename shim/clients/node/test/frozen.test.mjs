// Goal: a process that stood still (a frozen function, a long computation) takes what came
// meanwhile for what it is. Method: the process stands still while a server in another process
// answers, or goes away.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { stat } from 'node:fs'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { sleep } from '../test-support/index.mjs'

// Lets the process stand still.
const block = ms => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

// A server that answers after 200 ms, and the second half of a value after another 200 ms. Its port
// is the first argument. When its input ends, it closes.
const SLOW = `
  import http from 'node:http'
  const server = http.createServer((request, response) => {
    request.resume().on('end', () => setTimeout(() => {
      if (request.method !== 'GET') return response.end('{"committed":true,"version":"1-1"}')
      response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': 200_000 }).write(Buffer.alloc(100_000))
      setTimeout(() => response.end(Buffer.alloc(100_000)), 200)
    }, Number(process.argv[2])))
  })
  server.listen(Number(process.argv[1]), '127.0.0.1', () => console.log(server.address().port))
  if (process.argv[3] !== 'stays') process.stdin.resume().on('end', () => process.exit())
`

// Starts the server again on a port, by a program that prints its process's ID once it listens.
const AGAIN = `
  const { spawn } = require('node:child_process')
  const [, source, port] = process.argv
  const begin = () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', source, port, '0', 'stays'], { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
    child.stdout.once('data', () => { console.log(child.pid); process.exit() })
    child.on('exit', () => setTimeout(begin, 20))
  }
  setTimeout(begin, 100)
`

// Starts the server. Returns its port, and a function that ends it.
async function start (ms, port = 0) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SLOW, `${port}`, `${ms}`], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const [line] = await new Promise(resolve => lines.once('line', (...given) => resolve(given)))
  return { port: Number(line), stop: () => child.kill('SIGKILL') }
}

test('an answer that came while the process stood still is heard', async () => {
  const { port, stop } = await start(200)
  const client = new Client(`http://127.0.0.1:${port}`, { callTimeoutMs: 400, runMsMax: 400 })
  // Timers are looked at next, before the sockets.
  const still = ms => sleep(ms).then(() => new Promise(resolve => setImmediate(() => { block(1_000); resolve() })))
  for (const begun of [0, 50, 100]) {
    const [ran] = await Promise.all([client.put('k', 'v'), still(begun)])
    assert.equal(ran.version, '1-1')
    const [value] = await Promise.all([client.get('k'), still(begun)])
    assert.equal(value.bytes.length, 200_000)
    // The second half of the value comes while the process stands still.
    const { stream } = await client.stream('k')
    const [len] = await Promise.all([(async () => { let len = 0; for await (const piece of stream) len += piece.length; return len })(), still(begun)])
    assert.equal(len, 200_000)
  }
  client.close()
  stop()
})

test('silence while the process stood still is silence', async () => {
  const { port, stop } = await start(60_000)
  const client = new Client(`http://127.0.0.1:${port}`, { callTimeoutMs: 300, runMsMax: 300 })
  const put = client.put('k', 'v')
  setTimeout(() => setImmediate(() => block(1_000)), 50)
  await assert.rejects(put, error => error instanceof aft.Unknown && /nothing was sent or received for 300 ms/.test(error.message))
  client.close()
  stop()
})

test('a connection that the server closed while the process stood still is not used', async () => {
  for (const within of ['check', 'timers', 'poll']) {
    const { port, stop } = await start(0)
    const client = new Client(`http://127.0.0.1:${port}`, { runMsMax: 2_000 })
    await client.put('k', 'v')
    // The event loop is in one of its phases when the process stands still and the call is made.
    const made = new Promise((resolve, reject) => {
      const go = () => {
        stop()
        // Another process listens on the port as soon as it is free.
        const child = spawnSync(process.execPath, ['-e', AGAIN, SLOW, `${port}`], { timeout: 20_000 })
        assert.equal(child.status, 0, `${child.stderr}`)
        client.put('k', 'w').then(resolve, reject).finally(() => process.kill(Number(child.stdout)))
      }
      if (within === 'check') setImmediate(go)
      else if (within === 'timers') setTimeout(go, 1)
      else stat('.', go)
    })
    assert.equal((await made).version, '1-1', within)
    client.close()
  }
})
