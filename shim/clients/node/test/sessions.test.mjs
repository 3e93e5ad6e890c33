// Goal: the loss of a commit of the session is thrown once, and the next call reads what the store
// has. Method: a server that rejects every call with a session as one of a store that has lost it.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { VECTORS, answering, text } from '../test-support/index.mjs'

// A token that names a commit.
const TOKEN = VECTORS.sessions[1].one

const CALLS = {
  run: (client, fn) => client.run('r', fn),
  'run without ID': (client, fn) => client.run(null, fn),
  once: (client, fn) => client.once({ key: 'id' }, fn)({ id: 'r' }),
  begin: client => client.begin(),
  execute: client => client.execute('r', [Op.put('k', 'v')]),
  'execute without ID': client => client.execute(null, [Op.put('k', 'v')]),
  'execute gets': client => client.execute(null, [Op.get('k')]),
  get: client => client.get('k'),
  getRange: client => client.getRange('k', 0, 1),
  stream: client => client.stream('k'),
  put: client => client.put('k', 'v'),
  'put with a condition': client => client.put('k', 'v', null, { ifAbsent: true }),
  putStream: client => client.putStream('k', ['v']),
  delete: client => client.delete('k'),
  add: client => client.add('k')
}

const json = (response, status, message) => {
  response.writeHead(status, { 'Content-Type': status < 300 ? 'application/json' : 'application/problem+json' }).end(JSON.stringify(message))
}

// Serves calls while `use` runs. `play` may answer a call itself: then it returns true.
async function losing (use, play = () => false) {
  // The session that each call carried; null without one.
  const sessions = []
  await answering(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks).toString()
    const session = request.headers['aft-session'] ?? (body.startsWith('{') ? JSON.parse(body).session : null) ?? null
    sessions.push(session)
    if (play(request, response, sessions.length)) return
    if (session !== null) {
      return json(response, 409, { type: 'x', title: 'x', status: 409, detail: 'x', code: 'session_lost', action: 'invalid' })
    }
    if (request.method === 'GET') return response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': 1 }).end('v')
    json(response, 200, request.url === '/v1/transactions' ? { transaction: '1-1' } : { committed: true, version: '1-1' })
  }, async url => {
    const client = new Client(url)
    client.joinSession(TOKEN)
    await use(client, sessions)
    client.close()
  })
}

test('the loss is thrown once, and the next call has no session', async () => {
  for (const [name, call] of Object.entries(CALLS)) {
    let called = 0
    const fn = () => { called += 1 }
    await losing(async (client, sessions) => {
      await assert.rejects(call(client, fn), error => {
        assert.ok(error instanceof aft.SessionLost && error instanceof aft.Invalid, `${name}: ${error}`)
        assert.deepEqual([error.code, error.retryable], ['session_lost', false])
        return true
      })
      assert.deepEqual([sessions.splice(0), called, client.session], [[TOKEN], 0, null], name)
      const done = await call(client, fn)
      if (name === 'stream') done.stream.destroy()
      assert.deepEqual([new Set(sessions), called], [new Set([null]), /^(run|once)/.test(name) ? 1 : 0], name)
    })
  }
})

// Checks that the client still has the session, and that the next call is told of the loss.
async function isToldNext (client) {
  assert.equal(client.session, TOKEN, 'nobody has heard of the loss')
  await assert.rejects(client.get('k'), aft.SessionLost)
  assert.equal(text(await client.get('k')), 'v')
}

test('a commit in doubt comes first', async () => {
  await losing(async client => {
    await assert.rejects(client.execute('r', [Op.put('k', 'v')]), aft.Unknown)
    await isToldNext(client)
  }, (request, response, nth) => {
    if (nth === 1) request.socket.destroy()
    return nth === 1
  })
})

test('a commit that is found comes first', async () => {
  await losing(async client => {
    assert.equal((await client.run('r', t => t.put('k', 'v'))).version, '1-1')
    await isToldNext(client)
  }, (request, response, nth) => {
    if (nth === 1) json(response, 200, { transaction: '1-1' })
    else if (request.url.startsWith('/v1/transactions/')) request.socket.destroy()
    else if (request.url.startsWith('/v1/requests/')) json(response, 200, { hash: 'h', version: '1-1', committed_at: '1', kept_until: '2' })
    else return false
    return true
  })
})
