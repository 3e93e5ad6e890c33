// Goal: a connection over TLS that is refused is reported at once as not sent, and the certificates
// that the caller names are used. Method: TLS servers of the test, which pass calls on to the real
// server, with certificates that the test makes.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { makeCertificate, makeRoot } from '../test-support/certificates.mjs'
import { SERVER, answering, fresh, listen, text, timed } from '../test-support/index.mjs'

const root = makeRoot('root')
const other = makeRoot('other')
const server = makeCertificate(root, 'server')
const own = makeCertificate(root, 'client')
const stranger = makeCertificate(other, 'stranger')

// Starts a TLS server in front of the real one. Returns the URL and the number of bytes that it
// read.
async function secure ({ certificate, key }, options, use) {
  const read = { len: 0 }
  const door = tls.createServer({ cert: readFileSync(certificate), key: readFileSync(key), ...options }, socket => {
    const up = net.connect({ host: SERVER.hostname, port: SERVER.port })
    socket.on('data', chunk => { read.len += chunk.length })
    socket.pipe(up).pipe(socket)
    for (const each of [socket, up]) each.on('error', () => { socket.destroy(); up.destroy() })
    door.sockets.add(socket).add(up)
  })
  door.sockets = new Set()
  door.on('tlsClientError', () => {})
  const url = (await listen(door)).replace('http:', 'https:')
  try {
    await use(url, read)
  } finally {
    door.sockets.forEach(socket => socket.destroy())
    door.close()
  }
}

// Starts a server that demands a client certificate, and rejects others with an alert. (Node's own
// server closes the connection without one.)
async function demanding (version, use) {
  const port = await new Promise(resolve => {
    const free = net.createServer().listen(0, '127.0.0.1', () => { const { port } = free.address(); free.close(() => resolve(port)) })
  })
  const child = spawn('openssl', ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', server.certificate, '-key', server.key, '-CAfile',
    root.certificate, '-Verify', '1', '-verify_return_error', version, '-naccept', '100'], { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    for (let said = ''; !said.includes('ACCEPT');) said += (await once(child.stdout, 'data'))[0]
    child.stdout.resume()
    await use(`https://127.0.0.1:${port}`)
  } finally {
    child.kill()
  }
}

const calls = client => [
  () => client.put('k', 'v'), () => client.get('k'), () => client.run('r', t => t.put('k', 'v')), () => client.run(null, () => {}),
  () => client.execute('r', [Op.put('k', 'v')]), () => client.begin(), () => client.put('k', Buffer.alloc(300_000))
]

async function refused (url, options, pattern) {
  const client = new Client(url, options)
  for (const call of calls(client)) {
    const { ms, outcome } = await timed(call)
    assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable, `${outcome}`)
    assert.match(outcome.message, pattern)
    assert.ok(ms < 2_000, `at once, not after ${ms} ms`)
  }
  client.close()
}

test('calls go over TLS to a server that is trusted by ca', async () => {
  await secure(server, {}, async url => {
    const client = new Client(url, { ca: root.certificate })
    const key = fresh()
    await client.run(fresh(), t => t.put(key, 'v'))
    assert.equal(text(await client.get(key)), 'v')
    await client.put(key, Buffer.alloc(1 << 20, 7))
    assert.equal((await client.get(key)).bytes.length, 1 << 20)
    client.close()
  })
})

test('a certificate that is not accepted is refused at once', async () => {
  await secure(server, {}, async (url, read) => {
    await refused(url, {}, /TLS.*by `ca`/)
    await refused(url, { ca: other.certificate }, /TLS.*by `ca`/)
    await refused(url.replace('127.0.0.1', 'localhost'), { ca: root.certificate }, /localhost.*host that its certificate names/)
    assert.equal(read.len, 0, 'nothing of a call was sent')
  })
  await secure(makeCertificate(root, 'expired', { days: -1 }), {}, url => refused(url, { ca: root.certificate }, /expired.*clock/))
})

test('a port that speaks no TLS is refused at once', async () => {
  await refused(`https://${SERVER.host}`, {}, /TLS.*write http:/)
  await answering((request, response) => response.end(), url => refused(url.replace('http:', 'https:'), {}, /TLS/))
})

test('a client certificate is presented, and its refusal is not sent', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2']) {
    await secure(server, { ca: readFileSync(root.certificate), requestCert: true, rejectUnauthorized: true, maxVersion }, async url => {
      const client = new Client(url, { ca: root.certificate, certificate: own.certificate, key: own.key })
      const key = fresh()
      await client.put(key, 'v')
      assert.equal(text(await client.get(key)), 'v')
      client.close()
    })
    // With TLS 1.3 the refusal comes when the client has sent its call already.
    await demanding(maxVersion === 'TLSv1.3' ? '-tls1_3' : '-tls1_2', async url => {
      await refused(url, { ca: root.certificate }, /certificate.*by `certificate` and `key`/)
      await refused(url, { ca: root.certificate, certificate: stranger.certificate, key: stranger.key }, /certificate.*by `certificate` and `key`/)
    })
  }
  assert.throws(() => new Client('https://127.0.0.1:1', { certificate: own.certificate, key: stranger.key }), aft.Invalid)
})

test('a handshake that stands still ends after the time for connecting', async () => {
  const silent = net.createServer(socket => socket.on('error', () => {}))
  const url = (await listen(silent)).replace('http:', 'https:')
  const client = new Client(url, { connectTimeoutMs: 100, runMsMax: 300 })
  const { ms, outcome } = await timed(() => client.put('k', 'v'))
  assert.ok(outcome instanceof aft.Unavailable && outcome.retryable, `${outcome}`)
  assert.ok(ms < 2_000 && /cannot connect.*timed out after 100 ms/.test(outcome.message), outcome.message)
  client.close()
  silent.close()
})

test('a connection that is refused or dropped before TLS is retried', async () => {
  let dropped = 0
  const dropping = net.createServer(socket => { dropped += 1; socket.on('error', () => {}).destroy() })
  const client = new Client((await listen(dropping)).replace('http:', 'https:'), { runMsMax: 300 })
  await assert.rejects(client.put('k', 'v'), error => error instanceof aft.Unavailable && error.retryable)
  assert.ok(dropped > 1)
  client.close()
  dropping.close()
})
