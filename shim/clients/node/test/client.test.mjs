// Goal: the Node client keeps the protocol's promises although the network fails. Method: a real
// server, at the URL in the environment variable AFT_URL. Between it and the client is an
// interposer, which plays a script call by call, or a cutter, which cuts connections at random
// bytes and delivers calls late. Seeds are printed first; AFT_CLIENT_SEED replays one.
//
//     AFT_URL=http://127.0.0.1:7400 node --test test/

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'

const URL_OF_SERVER = process.env.AFT_URL
assert.ok(URL_OF_SERVER, 'set AFT_URL to the URL of a running server')
const SERVER = new URL(URL_OF_SERVER)
const SEED = Number(process.env.AFT_CLIENT_SEED ?? 1)
const VECTORS = JSON.parse(readFileSync(new URL('../../vectors.json', import.meta.url)))

const PASS = 'pass'
const CUT_BEFORE = 'cut before'
const CUT_AFTER = 'cut after'
const BAD_GATEWAY = 'bad gateway'
const ACTIONS = {
  snapshot_gone: [409, 'retry'], conflict: [409, 'retry'], lost: [409, 'retry'], overloaded: [429, 'retry'], not_serving: [503, 'retry'],
  store_unavailable: [503, 'retry'], unknown: [503, 'unknown'], in_progress: [409, 'conflict'], key_reused: [422, 'conflict'],
  result_gone: [410, 'conflict'], invalid: [400, 'invalid'], not_found: [404, 'not_found'], no_such_path: [404, 'not_found'],
  unauthorized: [401, 'unauthorized'], damaged: [503, 'internal'], of_next_year: [409, 'retry']
}

// Returns a name that no other test uses, since all tests share one server.
const fresh = (name = 'r') => `${name}-${randomUUID()}`
const number = value => value === null ? 0 : Number(value.bytes.toString())
const text = value => value === null ? null : value.bytes.toString()
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function increment (t, key) {
  const next = number(await t.get(key)) + 1
  await t.put(key, String(next))
  return next
}

async function all (listing) {
  const keys = []
  for await (const listed of listing) keys.push(listed.key)
  return keys
}

function nameOf (method, path) {
  const parts = path.split('?')[0].split('/').slice(2)
  if (parts[0] === 'transactions') {
    if (parts.length === 1) return 'begin'
    if (parts[2] !== 'keys') return parts[2]
    return parts.length === 3 ? 'keys' : method === 'GET' ? 'get' : 'put'
  }
  return { execute: 'execute', requests: 'request' }[parts[0]] ?? 'alone'
}

const listen = server => new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)))

// Starts a server between client and server that records every call, and does with each what a
// script says.
async function interpose (script, use) {
  const calls = []
  const server = http.createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const name = nameOf(request.method, request.url)
    const act = script(name, calls.filter(other => other === name).length)
    calls.push(name)
    if (act === CUT_BEFORE) return request.socket.destroy()
    if (act === BAD_GATEWAY) return response.writeHead(502).end('<h1>Bad gateway</h1>')
    if (act in ACTIONS) {
      const [status, action] = ACTIONS[act]
      const problem = { type: 'x', title: 'x', status, detail: 'the script says so', code: act, action }
      if (act === 'overloaded' || act === 'in_progress') problem.retry_after_ms = 20
      return response.writeHead(status, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify(problem))
    }
    const { host, connection, ...headers } = request.headers
    const up = http.request({ hostname: SERVER.hostname, port: SERVER.port, method: request.method, path: request.url, headers })
    up.on('response', async answer => {
      const chunks = []
      for await (const chunk of answer) chunks.push(chunk)
      if (act === CUT_AFTER) return request.socket.destroy()
      const { connection, ...headers } = answer.headers
      response.writeHead(answer.statusCode, headers).end(Buffer.concat(chunks))
    })
    up.end(Buffer.concat(chunks))
  })
  const url = await listen(server)
  try {
    return await use({ url, take: () => calls.splice(0) })
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

// Returns a generator of numbers from 0 up to 1, from a seed (mulberry32).
function randomFrom (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// Starts a TCP proxy that cuts every connection at a byte that a seed chooses, in either direction.
// Sometimes it delivers the call to the server after it has cut off the client.
async function cut (seed, use) {
  const random = randomFrom(seed)
  const counted = { cuts: 0 }
  const proxy = net.createServer({ noDelay: true }, client => {
    counted.cuts += 1
    const limit = Math.floor(random() * (random() < 0.4 ? 400 : 3000))
    const kind = ['up', 'up', 'down', 'down', 'late'][Math.floor(random() * 5)]
    const pause = random() * 60
    const server = net.connect({ host: SERVER.hostname, port: SERVER.port, noDelay: true })
    const end = () => { client.destroy(); server.destroy() }
    let up = 0
    let down = 0
    let late = false
    client.on('data', async chunk => {
      if (late) return
      if (kind !== 'down' && up + chunk.length > limit) {
        late = true
        client.destroy()
        if (kind === 'up') return server.end(chunk.subarray(0, limit - up), end)
        await sleep(pause)
        server.write(chunk)
        // Give the server time to carry the call out before it notices that the client is gone.
        await sleep(100)
        return end()
      }
      server.write(chunk)
      up += chunk.length
    })
    server.on('data', chunk => {
      if (late) return
      if (kind === 'down' && down + chunk.length > limit) {
        client.end(chunk.subarray(0, limit - down), end)
        late = true
        return
      }
      client.write(chunk)
      down += chunk.length
    })
    client.on('error', () => late || end()).on('close', () => late || end())
    server.on('error', end).on('close', end)
  })
  const url = await listen(proxy)
  try {
    return await use({ url, counted })
  } finally {
    proxy.close()
  }
}

test('every verb works with and without the write buffer', async () => {
  for (const writeBufferBytesMax of [1 << 20, 0]) {
    const client = new Client(URL_OF_SERVER, { writeBufferBytesMax })
    const own = fresh()
    const keys = VECTORS.paths.map(vector => own + vector.key)
    const t = await client.begin()
    for (const key of keys) await t.put(key, key)
    await t.put(own + 'typed', '{}', 'application/json')
    await t.put(own + 'gone', Buffer.from('x'))
    await t.delete(own + 'gone')
    const typed = await t.get(own + 'typed')
    assert.deepEqual([text(typed), typed.contentType, typed.version], ['{}', 'application/json', 'uncommitted'])
    assert.equal(await t.get(own + 'gone'), null)
    assert.equal(await client.get(own + 'typed'), null, 'others do not see an uncommitted write')
    const sorted = [...keys, own + 'typed'].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    assert.deepEqual(await all(t.list(own, { pageLen: 3 })), sorted)
    const large = Buffer.alloc(300_000, 7)
    await t.put(own + 'large', 'small first')
    await t.put(own + 'large', large)
    assert.ok(large.equals((await t.get(own + 'large')).bytes))
    await t.put(own + 'small', large)
    await t.put(own + 'small', 'small last')
    const reads = await t.batch([Op.get(own + 'typed'), Op.put(own + 'typed', 'new'), Op.get(own + 'typed'), Op.get(own + 'nothing')])
    assert.deepEqual(reads.map(read => text(read.value)), ['{}', 'new', null])
    const ran = await t.commit('done')
    assert.deepEqual([ran.result.toString(), ran.replayed], ['done', false])
    await assert.rejects(t.get('x'), aft.Invalid)
    await assert.rejects(t.put('x', 'x'), aft.Invalid)
    for (const key of keys) assert.equal(text(await client.get(key)), key)
    assert.ok(large.equals((await client.get(own + 'large')).bytes))
    assert.equal(text(await client.get(own + 'small')), 'small last')
    const aborted = await client.begin()
    await aborted.put(own + 'aborted', 'x')
    await aborted.abort()
    await assert.rejects(aborted.commit(), aft.Invalid)
    assert.equal(await client.get(own + 'aborted'), null)
    await client.put(own + 'alone', '1', 'text/plain')
    assert.equal((await client.get(own + 'alone')).contentType, 'text/plain')
    await client.delete(own + 'alone')
    assert.equal(await client.get(own + 'alone'), null)
    for (const key of ['', 'k'.repeat(2000), '\ud800', 7]) await assert.rejects(client.put(key, ''), aft.Invalid)
    client.close()
  }
})

test('runs replay and are looked up', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  let request = fresh('r/ä ')
  const run = value => client.run(request, async t => {
    await t.put(key, value)
    return value
  })
  const [first, second] = [await run('one'), await run('two')]
  assert.deepEqual([first.result.toString(), first.replayed, first.attempts], ['one', false, 1])
  assert.deepEqual([second.result.toString(), second.replayed, second.version, second.attempts], ['one', true, first.version, 0])
  const found = await client.request(request)
  assert.deepEqual([found.version, found.result.toString(), found.keys], [first.version, 'one', [key]])
  assert.equal(await client.request(fresh()), null)
  assert.equal(await client.request(request, { scope: 'elsewhere' }), null)
  const t = await client.begin(request)
  assert.deepEqual([t.replayed, t.ran.result.toString()], [true, 'one'])
  request = fresh()
  const ops = [Op.put(key, '1'), Op.get(key)]
  const executed = await client.execute(request, ops, 'done')
  assert.deepEqual([text(executed.reads[0].value), executed.ran.replayed], ['1', false])
  const again = await client.execute(request, ops, 'done')
  assert.deepEqual([again.ran.result.toString(), again.ran.replayed, again.reads], ['done', true, []])
  await assert.rejects(client.execute(request, [Op.put(key, '2')], 'done'), aft.KeyReused)
  assert.deepEqual([(await client.result(request)).toString(), await client.result(fresh())], ['done', null])
  // A result that is too large for a commit call is put by a call that this client does not have,
  // and read by a call of its own.
  request = fresh()
  const large = Buffer.alloc(2 << 20, 7)
  const other = await client.begin(request)
  await client._transport.send('PUT', `/v1/transactions/${other.token}/result`, large)
  await other.commit()
  const { ran } = await client.begin(request)
  assert.deepEqual([ran.result.length, ran.resultSize], [0, large.length])
  assert.ok(large.equals(await client.result(request)))
  request = fresh()
  await client.run(request, () => {}, { fingerprint: 'a' })
  assert.ok((await client.run(request, () => {}, { fingerprint: 'a' })).replayed)
  await assert.rejects(client.run(request, () => {}, { fingerprint: 'b' }), aft.KeyReused)
  client.close()
})

test("the README's stock is sold once by ten workers", async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const code = readme.split('```js\n')[1].split('```')[0]
    .replace('http://127.0.0.1:7400', URL_OF_SERVER)
    .replace("'aft-client'", JSON.stringify(new URL('../index.mjs', import.meta.url).href))
  const { client, order } = await import(`data:text/javascript,${encodeURIComponent(`${code}\nexport { client, order }`)}`)
  await client.put('stock/tea', '100')
  const told = []
  const shop = async () => {
    for (let nth = 0; nth < 11; nth += 1) told.push(await client.run(fresh('order'), order))
  }
  await Promise.all([...Array(10).keys()].map(shop))
  const count = result => told.filter(ran => ran.result.toString() === result).length
  assert.deepEqual([count('sold'), count('sold out'), text(await client.get('stock/tea'))], [100, 10, '0'])
  const attempts = told.map(ran => ran.attempts)
  console.log(`110 orders took ${attempts.reduce((all, of) => all + of, 0)} attempts, at most ${Math.max(...attempts)}`)
  client.close()
})

test('conflicts are retried up to attemptsMax', async () => {
  for (const conflicts of [0, 2, 9]) {
    const key = fresh()
    await interpose((name, before) => before < conflicts ? 'conflict' : PASS, async ({ url }) => {
      const client = new Client(url)
      const { reads, ran } = await client.execute(null, [Op.get(key), Op.put(key, '1')])
      assert.deepEqual([ran.attempts, reads[0].value], [conflicts + 1, null])
      client.close()
    })
  }
  await interpose(name => name === 'execute' || name === 'commit' ? 'conflict' : PASS, async ({ url, take }) => {
    const client = new Client(url, { attemptsMax: 3 })
    const calls = [['execute', () => client.execute(null, [Op.put(fresh(), '1')])], ['commit', () => client.run(null, () => {})]]
    for (const [name, call] of calls) {
      await assert.rejects(call, error => error instanceof aft.Retry && error.code === 'conflict')
      assert.equal(take().filter(other => other === name).length, 3)
    }
    client.close()
  })
})

test('conditions hold or fail, and sums add up', async () => {
  const [client, key, counter] = [new Client(URL_OF_SERVER), fresh(), fresh()]
  const fails = call => assert.rejects(call, error => error instanceof aft.ConditionFailed && error instanceof aft.Invalid && error.code === 'condition_failed')
  const first = await client.put(key, 'a', null, { ifAbsent: true })
  await fails(() => client.put(key, 'b', null, { ifAbsent: true }))
  const second = await client.put(key, 'b', 'text/plain', { ifVersion: first.version })
  const { version, contentType } = await client.get(key)
  assert.deepEqual([version, contentType], [second.version, 'text/plain'])
  await fails(() => client.put(key, 'c', null, { ifVersion: first.version }))
  await fails(() => client.put(key, 'c', null, { ifValue: 'a' }))
  await client.put(key, 'c', null, { ifValue: Buffer.from('b') })
  // A condition on one key for a write of another, in a whole transaction and in a run.
  await client.execute(null, [Op.check(key, { ifValue: 'c' }), Op.put(counter, '5')])
  await fails(() => client.execute(null, [Op.check(key, { ifAbsent: true }), Op.put(counter, '6')]))
  await fails(() => client.run(null, t => t.batch([Op.put(key, 'd', null, { ifAbsent: true })])))
  await client.run(null, async t => { await t.batch([Op.put(key, 'd', null, { ifValue: 'c' })]) })
  await fails(() => client.delete(key, { ifValue: 'c' }))
  await client.delete(key, { ifValue: 'd' })
  assert.equal(await client.get(key), null)
  assert.deepEqual([await client.add(counter), await client.add(counter, -8)], [6, -2])
  await assert.rejects(client.put(key, 'a', null, { ifAbsent: true, ifValue: 'b' }), aft.Invalid)
  await assert.rejects(client.put(key, 'a', null, { ifVersion: 'x' }), aft.Invalid)
  await assert.rejects(client.add(counter, 0.5), aft.Invalid)
  assert.throws(() => Op.check(key), aft.Invalid)
  client.close()
})

test('a conditional write that is sent again does not conflict with itself', async () => {
  const direct = new Client(URL_OF_SERVER)
  for (const act of [CUT_BEFORE, CUT_AFTER, BAD_GATEWAY]) {
    const [key, counter] = [fresh(), fresh()]
    await interpose((name, before) => before === 0 ? act : PASS, async ({ url }) => {
      const client = new Client(url)
      assert.equal((await client.put(key, 'a', null, { ifAbsent: true })).version, (await direct.get(key)).version, act)
      client.close()
    })
    await interpose((name, before) => before === 0 ? act : PASS, async ({ url }) => {
      const client = new Client(url)
      assert.equal(await client.add(counter), act === CUT_AFTER ? null : 1, act)
      client.close()
    })
    assert.equal((await direct.get(counter)).bytes.toString(), '1', act)
  }
  direct.close()
})

test('only serializable runs repeat after an overwrite', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  const conflict = error => error instanceof aft.Retry && error.code === 'conflict'
  await client.put(key, '0')
  let called = 0
  const overtaken = async t => {
    await t.get(key)
    if (called === 0) await client.put(key, '7')
    called += 1
    await t.put(key, '1')
  }
  for (const [isolation, attempts] of [['serializable', 2], ['read_atomic', 1], [null, 1], [undefined, 2]]) {
    called = 0
    assert.equal((await client.run(null, overtaken, { isolation })).attempts, attempts, `${isolation}`)
  }
  called = 0
  await assert.rejects(new Client(URL_OF_SERVER, { attemptsMax: 1 }).run(null, overtaken), conflict)
  assert.equal(called, 1)
  const byHand = await client.begin()
  called = 0
  await overtaken(byHand)
  await byHand.commit()
  const behind = await client.begin(null, { isolation: 'serializable' })
  assert.equal(text(await behind.get(key)), '1')
  await client.put(key, '7')
  await behind.put(key, '2')
  await assert.rejects(behind.commit(), conflict)
  assert.equal(text(await client.get(key)), '7')
  const { reads, ran } = await client.execute(null, [Op.get(key), Op.put(key, '8')])
  assert.deepEqual([text(reads[0].value), ran.attempts], ['7', 1])
  await assert.rejects(client.run(null, () => {}, { isolation: 'chaos' }), aft.Invalid)
  client.close()
})

test("a function's error aborts and is thrown", async () => {
  const [client, request, key] = [new Client(URL_OF_SERVER), fresh(), fresh()]
  let called = 0
  const run = client.run(request, async t => {
    called += 1
    await t.put(key, 'v')
    throw new RangeError('own')
  })
  await assert.rejects(run, RangeError)
  assert.deepEqual([called, await client.get(key)], [1, null])
  const since = performance.now()
  assert.equal((await client.run(request, () => '2')).result.toString(), '2')
  assert.ok(performance.now() - since < 4_000, 'the next run does not wait for an aborted attempt')
  client.close()
})

test('a function of a run must not commit or abort', async () => {
  const [client, request] = [new Client(URL_OF_SERVER), fresh()]
  for (const fn of [t => t.commit(), t => t.abort()]) await assert.rejects(client.run(request, fn), aft.Invalid)
  assert.equal(await client.request(request), null)
  client.close()
})

test('a transaction takes few calls', async () => {
  const [counter, entry] = [fresh(), fresh()]
  const fn = async t => {
    const next = await increment(t, counter)
    await t.put(entry, 'x')
    return String(next)
  }
  await interpose(() => PASS, async ({ url, take }) => {
    const [client, request] = [new Client(url), fresh()]
    await client.run(fresh(), fn)
    assert.deepEqual(take(), ['begin', 'get', 'batch'])
    await client.run(request, fn, { reads: [counter] })
    assert.deepEqual(take(), ['begin', 'batch'])
    assert.equal((await client.run(request, fn)).result.toString(), '2')
    assert.deepEqual(take(), ['begin'])
    await client.run(fresh(), async t => { await t.get(counter) })
    assert.deepEqual(take(), ['begin', 'get', 'commit'])
    await new Client(url, { writeBufferBytesMax: 0 }).run(fresh(), fn)
    assert.deepEqual(take(), ['begin', 'get', 'put', 'put', 'commit'])
    const many = await client.run(fresh(), async t => {
      for (let n = 0; n < 900; n += 1) await t.put(`${entry}/${n}`, String(n))
      return (await t.get(`${entry}/0`)).bytes
    })
    assert.equal(many.result.toString(), '0')
    assert.deepEqual(take(), ['begin', 'batch', 'get', 'batch'])
    client.close()
  })
})

test('the client agrees with the shared vectors', async () => {
  for (const { key, path } of VECTORS.paths) assert.equal(aft.encodeName(key), path)
  for (const { one, other, merged } of VECTORS.sessions) {
    assert.equal(aft.mergeSessions(one, other), merged)
    assert.equal(aft.mergeSessions(other, one), merged)
  }
  for (const { failures, code, retry_after_ms: asked, least_ms: least, most_ms: most } of VECTORS.pauses) {
    assert.deepEqual(aft.pauseRange(failures, code === 'in_progress', asked), [least, most])
  }
  for (const { call, asked, sent } of VECTORS.levels) {
    const client = new Client('http://127.0.0.1:1')
    const messages = []
    client._post = async (path, message) => {
      messages.push(message.isolation ?? null)
      throw new aft.Invalid('the test sends nothing')
    }
    const options = asked === 'nothing' ? {} : { isolation: asked === 'of_the_store' ? null : asked }
    const calls = { run: () => client.run(null, () => {}, options), begin: () => client.begin(null, options), execute: () => client.execute(null, [], '', options) }
    await assert.rejects(calls[call], aft.Invalid)
    assert.deepEqual(messages, [sent], `${call} ${asked}`)
  }
  for (const unreadable of VECTORS.unreadable) assert.throws(() => aft.mergeSessions(unreadable, VECTORS.sessions[1].one))
})

test('sessions are merged and handed over', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  assert.equal(client.session, null)
  const [one, two] = [await client.begin(), await client.begin()]
  await one.put(key + '1', 'x')
  await two.put(key + '2', 'x')
  await one.commit()
  const first = client.session
  await two.commit()
  assert.equal(client.session, aft.mergeSessions(first, client.session), 'the session holds both commits')
  assert.ok(client.session.length > first.length)
  const other = new Client(URL_OF_SERVER)
  other.joinSession(client.session)
  assert.equal(other.session, client.session)
  assert.equal(text(await other.get(key + '1')), 'x')
  const off = new Client(URL_OF_SERVER, { session: false })
  await off.put(key, 'x')
  assert.equal(off.session, null)
  for (const each of [client, other, off]) each.close()
})

test('wrong URLs and tokens are rejected', () => {
  for (const url of ['127.0.0.1:7400', 'ftp://h', 'http://h/v1', 'http://u@h', '']) assert.throws(() => new Client(url), aft.Invalid)
  assert.throws(() => new Client(URL_OF_SERVER, { token: 'a\nb' }), aft.Invalid)
})

// Runs an increment through a script. Returns the outcome, the number of calls of the function, the
// counter as the server has it, and the HTTP calls.
async function go (named, script) {
  const counter = fresh()
  let called = 0
  return interpose(script, async ({ url, take }) => {
    const client = new Client(url, { runMsMax: 3_000 })
    const run = client.run(named ? fresh() : null, async t => {
      called += 1
      return String(await increment(t, counter))
    })
    const outcome = await run.catch(why => why)
    client.close()
    return { outcome, called, counter: number(await new Client(URL_OF_SERVER).get(counter)), calls: take() }
  })
}

async function commits (named, script, called) {
  const seen = await go(named, script)
  const { outcome, calls } = seen
  assert.ok(!(outcome instanceof Error), `${outcome} ${calls}`)
  assert.deepEqual([seen.called, seen.counter, outcome.result.toString(), outcome.replayed], [called, 1, '1', false], `${calls}`)
  return calls
}

test('retryable failures are retried', async () => {
  for (const named of [true, false]) {
    for (const [call, act, called] of [
      ['begin', 'overloaded', 1], ['begin', 'not_serving', 1], ['begin', 'store_unavailable', 1], ['begin', 'in_progress', 1],
      ['begin', CUT_BEFORE, 1], ['begin', CUT_AFTER, 1], ['begin', BAD_GATEWAY, 1], ['begin', 'of_next_year', 1],
      ['get', 'snapshot_gone', 2], ['get', 'lost', 2], ['get', 'not_found', 2], ['get', 'store_unavailable', 2],
      ['get', 'overloaded', 1], ['get', CUT_BEFORE, 1], ['get', CUT_AFTER, 1],
      ['batch', 'lost', 2], ['batch', 'not_found', 2], ['batch', 'overloaded', 1], ['batch', 'store_unavailable', 1],
      ['batch', CUT_BEFORE, 1], ['batch', CUT_AFTER, 1], ['batch', 'unknown', 1]
    ]) await commits(named, (name, before) => name === call && before === 0 ? act : PASS, called)
  }
})

test('a commit whose transaction is forgotten is run again or unknown', async () => {
  const script = first => (name, before) => {
    if (name === 'batch') return before === 0 ? first : before === 1 ? 'not_found' : PASS
    return name === 'commit' ? 'not_found' : PASS
  }
  await commits(true, script(CUT_AFTER), 1)
  await commits(true, script(CUT_BEFORE), 2)
  for (const [first, effects] of [[CUT_AFTER, 1], [CUT_BEFORE, 0]]) {
    const { outcome, called, counter } = await go(false, script(first))
    assert.ok(outcome instanceof aft.Unknown, `${outcome}`)
    assert.deepEqual([called, counter], [1, effects], 'an unnamed request is not run again')
  }
})

test('a commit in doubt at the end of the time is unknown', async () => {
  const deaf = (name, before) => {
    if ((name === 'begin' || name === 'get') && before === 0) return PASS
    return name === 'batch' && before === 0 ? CUT_AFTER : CUT_BEFORE
  }
  for (const named of [true, false]) {
    const { outcome, counter, calls } = await go(named, deaf)
    assert.ok(outcome instanceof aft.Unknown, `${outcome}`)
    assert.deepEqual([counter, calls.includes('request'), outcome.requestId !== null], [1, named, named])
    assert.ok(outcome.transaction)
  }
})

test('a commit in doubt is aborted or looked up', async () => {
  const { outcome, called, counter } = await go(true, (name, before) =>
    name === 'batch' ? CUT_BEFORE : name === 'begin' && before > 0 ? 'unauthorized' : PASS)
  assert.ok(outcome instanceof aft.Unauthorized, `${outcome}`)
  assert.deepEqual([called, counter], [1, 0])
  const calls = await commits(true, (name, before) =>
    name === 'begin' && before > 0 ? 'unauthorized' : { batch: CUT_AFTER, commit: CUT_BEFORE }[name] ?? PASS, 1)
  assert.ok(calls.includes('request'))
})

test('a failing function does not hide a commit', async () => {
  for (const [act, commits] of [[CUT_AFTER, true], [CUT_BEFORE, false]]) {
    const key = fresh()
    let called = 0
    const script = (name, before) =>
      name === 'begin' && before === 1 ? 'lost' : name === 'batch' ? act : name === 'commit' ? CUT_BEFORE : PASS
    const outcome = await interpose(script, ({ url }) => new Client(url).run(fresh(), async t => {
      called += 1
      if (called > 1) throw new RangeError('own')
      await t.put(key, 'v')
      return 'done'
    }).catch(why => why))
    assert.deepEqual([!(outcome instanceof RangeError), await new Client(URL_OF_SERVER).get(key) !== null], [commits, commits])
  }
})

test('attempts and time are bounded', async () => {
  const gone = await go(true, name => name === 'get' ? 'snapshot_gone' : PASS)
  assert.ok(gone.outcome instanceof aft.Retry && gone.called >= 2 && gone.called <= 10, `${gone.outcome} ${gone.called}`)
  const open = await go(true, name => name === 'begin' ? 'in_progress' : PASS)
  assert.ok(open.outcome instanceof aft.InProgress, `${open.outcome}`)
  await assert.rejects(new Client('http://127.0.0.1:1', { runMsMax: 300 }).run('r', () => {}), aft.Unavailable)
})

test('errors that a retry cannot help are thrown at once', async () => {
  for (const [code, kind] of [['key_reused', aft.KeyReused], ['result_gone', aft.ResultGone], ['invalid', aft.Invalid],
    ['unauthorized', aft.Unauthorized], ['damaged', aft.Internal], ['no_such_path', aft.NotFound]]) {
    const { outcome, called, calls } = await go(true, () => code)
    assert.deepEqual([outcome.constructor, outcome.code, called, calls], [kind, code, 0, ['begin']])
  }
})

test('a transaction with a write in doubt does not commit', async () => {
  const key = fresh()
  await interpose((name, before) => name === 'put' && before === 0 ? CUT_AFTER : PASS, async ({ url }) => {
    const t = await new Client(url, { writeBufferBytesMax: 0 }).begin()
    await assert.rejects(t.put(key, '1'), aft.Unavailable)
    await t.put(key, '2')
    await assert.rejects(t.commit(), aft.Unavailable)
  })
  assert.equal(await new Client(URL_OF_SERVER).get(key), null)
})

test('whole transactions are sent again only with an ID', async () => {
  for (const act of [CUT_AFTER, CUT_BEFORE]) {
    await interpose((name, before) => before === 0 ? act : PASS, async ({ url, take }) => {
      const [client, key] = [new Client(url), fresh()]
      assert.equal((await client.execute(fresh(), [Op.put(key, 'v')], 'done')).ran.result.toString(), 'done')
      take()
      await assert.rejects(client.execute(null, [Op.put(key, 'v')]), aft.Unknown)
      assert.deepEqual(take(), ['execute'], 'it is not sent again')
      await assert.rejects(client.put(key, 'v'), aft.Unknown)
      assert.deepEqual(take(), ['alone'], 'it is not sent again')
      assert.equal(text(await client.get(key)), 'v', 'reads are sent again')
    })
  }
})

// Every run increments its writer's counter, and writes an entry that names the call of the
// function that made it. Afterwards, without the cutter, the counter shows how many runs took
// effect, and the entries show which.
const WRITERS = 4
const RUNS = 75

test('an answer that is cut off is read again', async () => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAft-Version: 1-1\r\nConnection: close\r\n'
  for (const answer of [
    Buffer.from(`${head}Content-Length: 12\r\n\r\n120000000001`),
    Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\nc\r\n120000000001\r\n0\r\n\r\n`)
  ]) {
    // The server answers every path twice: first with only as many bytes as the path's number says,
    // and the end of the connection; then with the whole answer.
    const asked = new Set()
    const server = net.createServer(socket => {
      let head = ''
      socket.on('error', () => {}).on('data', chunk => {
        head += chunk
        if (!head.includes('\r\n\r\n')) return
        const path = head.split(' ')[1]
        socket.end(asked.has(path) ? answer : answer.subarray(0, Number(path.split('/').pop())))
        asked.add(path)
      })
    })
    const client = new Client(await listen(server))
    for (let cut = 0; cut < answer.length; cut += 1) {
      assert.equal(text(await client.get(String(cut))), '120000000001', `cut after ${answer.subarray(0, cut)}`)
    }
    client.close()
    server.close()
  }
})

// Starts a server in a process of its own. It answers when it has received `taken` bytes of a call,
// and closes while the rest is being sent. In this process the client would always have read the
// answer before the connection is closed.
async function answerEarly (status, body, taken, use) {
  const program = `
    const [status, body, taken] = JSON.parse(process.argv[1])
    const server = require('net').createServer(socket => {
      let len = 0
      socket.on('error', () => {}).on('data', chunk => {
        if (len === 0 && taken > 1) socket.write('HTTP/1.1 100 Continue\\r\\n\\r\\n')
        len += chunk.length
        if (len < taken) return
        len = -Infinity
        socket.pause()
        socket.write('HTTP/1.1 ' + status + ' X\\r\\nContent-Type: application/problem+json\\r\\nContent-Length: ' + body.length + '\\r\\nConnection: close\\r\\n\\r\\n' + body)
        socket.destroySoon()
      })
    })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`
  const child = spawn(process.execPath, ['-e', program, JSON.stringify([status, body, taken])], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [port] = await once(child.stdout, 'data')
    const client = new Client(`http://127.0.0.1:${Number(port)}`, { runMsMax: 2_000 })
    await use(client)
    client.close()
  } finally {
    child.kill()
  }
}

test('a rejection that comes before a large body is sent is thrown as what it is', async () => {
  const detail = JSON.stringify({ type: 'x', title: 'x', status: 413, detail: 'too long', code: 'too_large', action: 'invalid' })
  const large = Buffer.alloc(24 << 20, 7)
  await answerEarly(413, detail, 1, async client => {
    for (let times = 0; times < 20; times += 1) {
      await assert.rejects(client.put('k', large), error => {
        assert.ok(error instanceof aft.Invalid, `${error.name}: ${error.message}`)
        assert.equal(error.code, 'too_large')
        return true
      })
    }
  })
  // If the answer comes while the body is being sent, it may be lost with the connection. Then the
  // outcome is unknown, and the process goes on.
  await answerEarly(413, detail, 1 << 20, async client => {
    const seen = new Set()
    for (let times = 0; times < 20; times += 1) {
      await assert.rejects(client.put('k', large), error => seen.add(error.name) && (error instanceof aft.Invalid || error instanceof aft.Unknown))
    }
    assert.ok(seen.has('Invalid'), [...seen].join())
  })
})

test('a large body is sent to a server that does not ask for it', async () => {
  let len = 0
  const server = net.createServer(socket => {
    socket.on('error', () => {}).on('data', chunk => {
      len += chunk.length
      if (len > 1 << 20) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')
    })
  })
  const client = new Client(await listen(server))
  assert.equal((await client.put('k', Buffer.alloc(1 << 20, 7))).replayed, false)
  client.close()
  server.close()
})

test('a success to a part of a call is no answer', async () => {
  await answerEarly(200, '{}', 1, client => assert.rejects(client.put('k', Buffer.alloc(24 << 20, 7)), aft.Unknown))
})

async function write (url, named) {
  const own = fresh()
  let calls = 0
  const writer = async who => {
    const client = new Client(url, { callTimeoutMs: 2_000, attemptsMax: 100, writeBufferBytesMax: (who % 2) << 20 })
    const outcomes = []
    for (let run = 0; run < RUNS; run += 1) {
      const fn = async t => {
        const call = String(calls)
        calls += 1
        await increment(t, `${own}/count/${who}`)
        await t.put(`${own}/entry/${who}/${run}/${call}`, 'x')
        return call
      }
      try {
        const once = () => client.run(named ? `${own}/${who}/${run}` : null, fn)
        const ran = await once()
        outcomes.push(ran.result.toString())
        if (named && run % 10 === 0) {
          const [one, two] = await Promise.all([once(), once()])
          assert.deepEqual([one.result, two.result], [ran.result, ran.result])
        }
      } catch (why) {
        if (!(why instanceof aft.Unknown)) throw why
        outcomes.push(null)
      }
    }
    client.close()
    return outcomes
  }
  const outcomes = await Promise.all([...Array(WRITERS).keys()].map(writer))
  const t = await new Client(URL_OF_SERVER).begin()
  const seen = []
  for (let who = 0; who < WRITERS; who += 1) {
    const entries = (await all(t.list(`${own}/entry/${who}/`))).map(key => key.split('/').slice(-2))
    seen.push({ count: number(await t.get(`${own}/count/${who}`)), entries })
  }
  return { outcomes, seen, calls }
}

test('named runs take effect once', async () => {
  console.log(`seed ${SEED} (AFT_CLIENT_SEED=${SEED} replays its cuts)`)
  await cut(SEED, async ({ url, counted }) => {
    const { outcomes, seen, calls } = await write(url, true)
    console.log(`${WRITERS * RUNS} named runs, ${calls} calls of the function, ${counted.cuts} connections cut`)
    outcomes.forEach((told, who) => {
      const { count, entries } = seen[who]
      assert.deepEqual([count, entries.length], [RUNS, RUNS])
      const made = new Map(entries.map(([run, call]) => [Number(run), call]))
      assert.deepEqual(told.map((_, run) => made.get(run)), told)
    })
    assert.ok(counted.cuts > WRITERS * RUNS / 2, 'too few connections were cut to test anything')
    assert.ok(calls > WRITERS * RUNS, 'no attempt was made twice, so nothing was tested')
  })
})

test('unnamed runs never take effect twice', async () => {
  console.log(`seed ${SEED} (AFT_CLIENT_SEED=${SEED} replays its cuts)`)
  await cut(SEED, async ({ url, counted }) => {
    const { outcomes, seen } = await write(url, false)
    const unknown = outcomes.flat().filter(told => told === null).length
    console.log(`${WRITERS * RUNS} unnamed runs, ${unknown} unknown, ${counted.cuts} connections cut`)
    outcomes.forEach((told, who) => {
      const { count, entries } = seen[who]
      assert.equal(count, entries.length, 'the counter and the entries must agree')
      told.forEach((call, run) => {
        const effects = entries.filter(([of]) => Number(of) === run).map(([, call]) => call)
        assert.ok(effects.length <= 1, `${effects}`)
        if (call !== null) assert.deepEqual(effects, [call], 'a run that returned has committed, with this call')
      })
    })
  })
})
