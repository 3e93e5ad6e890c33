// Goal: a call keeps within the limit of its run, and ends when its signal is aborted. Method: an
// interposer and servers that do not answer; the real server shows what took effect.

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, fresh, listen, sleep, text, timed } from '../test-support/index.mjs'
import { CUT_BEFORE, PASS, interpose } from '../test-support/interposer.mjs'

// Serves connections on which nothing is ever answered.
async function deaf (use) {
  const open = new Set()
  const server = net.createServer(socket => { open.add(socket); socket.on('error', () => {}).resume() })
  try {
    await use(await listen(server), open)
  } finally {
    open.forEach(socket => socket.destroy())
    server.close()
  }
}

const calls = (client, options) => [
  () => client.get('k', options), () => client.getRange('k', 0, 1, options), () => client.stream('k', options), () => client.put('k', 'v', null, options),
  () => client.put('k', 'v', null, { ifAbsent: true, ...options }), () => client.delete('k', options), () => client.add('k', 1, options),
  () => client.run('r', t => t.put('k', 'v'), options), () => client.begin('r', options), () => client.execute('r', [Op.put('k', 'v')], '', options),
  () => client.request('r', options), () => client.result('r', options), () => client.resultStream('r', options)
]

test('the limit of a run bounds every call', async () => {
  await deaf(async url => {
    const client = new Client(url)
    await Promise.all(calls(client, { runMsMax: 300 }).map(async call => {
      const { ms, outcome } = await timed(call)
      assert.ok(outcome instanceof aft.Unavailable || outcome instanceof aft.Unknown, `${call}: ${outcome}`)
      assert.ok(ms >= 250 && ms < 1_500, `${call}: ${ms} ms`)
    }))
    client.close()
  })
  // The limit of one call goes before the client's.
  const client = new Client('http://127.0.0.1:1', { runMsMax: 60_000 })
  const { ms } = await timed(() => client.get('k', { runMsMax: 100 }))
  assert.ok(ms < 1_000, `${ms}`)
  client.close()
})

test('the limit does not interrupt the function', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  for (const id of [fresh(), null]) {
    const ran = await client.run(id, async t => {
      await sleep(400)
      await t.put(key, `${id}`)
      return 'done'
    }, { runMsMax: 200 })
    assert.deepEqual([ran.result.toString(), text(await client.get(key))], ['done', `${id}`])
  }
  client.close()
})

test('a signal ends every call with its reason', async () => {
  await deaf(async (url, open) => {
    const client = new Client(url)
    const reason = new Error('the caller went away')
    for (const call of calls(client, { signal: AbortSignal.abort(reason) })) {
      const { outcome } = await timed(call)
      assert.equal(outcome, reason, `${call}`)
    }
    assert.equal(open.size, 0, 'nothing was sent')
    const controller = new AbortController()
    setTimeout(() => controller.abort(reason), 100)
    const commits = ['put', 'delete', 'add', 'execute']
    await Promise.all(calls(client, { signal: controller.signal }).map(async call => {
      const { ms, outcome } = await timed(call)
      if (commits.some(name => `${call}`.includes(`client.${name}(`))) {
        assert.ok(outcome instanceof aft.Unknown, `${call}: ${outcome}`)
        assert.equal(outcome.cause, reason)
      } else {
        assert.equal(outcome, reason, `${call}`)
      }
      assert.ok(ms < 1_000, `${call}: ${ms}`)
    }))
    await sleep(50)
    assert.ok([...open].every(socket => socket.readableEnded || socket.destroyed), 'the connections were closed')
    client.close()
  })
})

test('a signal ends a pause between tries', async () => {
  const client = new Client('http://127.0.0.1:1')
  const { ms, outcome } = await timed(() => client.run('r', () => {}, { signal: AbortSignal.timeout(200) }))
  assert.equal(outcome.name, 'TimeoutError')
  assert.ok(ms < 1_000, `${ms}`)
  client.close()
})

test('a signal aborts the transaction of a run, whatever its function does', async () => {
  await interpose(() => PASS, async ({ url, take }) => {
    const [client, key, request] = [new Client(url), fresh(), fresh()]
    const controller = new AbortController()
    let after
    const { ms, outcome } = await timed(() => client.run(request, async t => {
      await t.put(key, Buffer.alloc(100_000))
      controller.abort()
      await sleep(300)
      after = await t.get(key).catch(why => why)
    }, { signal: controller.signal }))
    assert.equal(outcome.name, 'AbortError')
    assert.ok(ms < 250, `${ms}`)
    await sleep(400)
    assert.ok(after instanceof aft.Invalid, `${after}`)
    assert.ok(take().includes('abort'))
    assert.equal(await client.get(key), null)
    // The next run does not wait for the aborted attempt.
    const next = await timed(() => client.run(request, () => 'next'))
    assert.ok(next.outcome.result.toString() === 'next' && next.ms < 2_000, `${next.outcome} ${next.ms}`)
    client.close()
  })
})

test('the signal of an opening aborts the transaction', async () => {
  await interpose(() => PASS, async ({ url, take }) => {
    const client = new Client(url)
    const controller = new AbortController()
    const t = await client.begin(null, { signal: controller.signal })
    await t.get(fresh())
    controller.abort()
    await assert.rejects(t.get(fresh()), { name: 'AbortError' })
    await sleep(100)
    assert.deepEqual(take(), ['begin', 'get', 'abort'])
    await assert.rejects(t.commit(), aft.Invalid)
    client.close()
  })
})

test('a signal during a commit leaves it unknown', async () => {
  for (const id of [null, fresh()]) {
    const controller = new AbortController()
    const reason = new Error('enough')
    const script = (name, before) => {
      if (name !== 'batch') return PASS
      if (before === 1) controller.abort(reason)
      return CUT_BEFORE
    }
    await interpose(script, async ({ url }) => {
      const client = new Client(url)
      const { outcome } = await timed(() => client.run(id, t => t.put(fresh(), 'v'), { signal: controller.signal }))
      assert.ok(outcome instanceof aft.Unknown && outcome.cause === reason, `${outcome}`)
      assert.equal(outcome.requestId, id)
      client.close()
    })
  }
})

test('a signal leaves a commit of an earlier attempt unknown', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const script = (name, before) => {
    if (name === 'begin' && before === 1) controller.abort(reason)
    return name === 'batch' || (name === 'begin' && before > 0) ? CUT_BEFORE : PASS
  }
  await interpose(script, async ({ url }) => {
    const client = new Client(url)
    const { outcome } = await timed(() => client.run(fresh(), t => t.put(fresh(), 'v'), { signal: controller.signal }))
    assert.ok(outcome instanceof aft.Unknown && outcome.cause === reason, `${outcome}`)
    client.close()
  })
})

test('a signal of one call leaves the transaction open, but for a write in doubt', async () => {
  const client = new Client(URL_OF_SERVER)
  const [a, b] = [fresh(), fresh()]
  const signal = AbortSignal.abort(new Error('only this one'))
  const t = await client.begin()
  await assert.rejects(t.get(a, { signal }), /only this one/)
  await t.put(a, '1')
  await t.commit()
  assert.equal(text(await client.get(a)), '1')
  const controller = new AbortController()
  await interpose(name => { if (name === 'put') setImmediate(() => controller.abort()); return PASS }, async ({ url }) => {
    const other = new Client(url)
    const t = await other.begin()
    await assert.rejects(t.put(b, Buffer.alloc(200_000), null, { signal: controller.signal }), { name: 'AbortError' })
    await assert.rejects(t.commit(), aft.Retry)
    other.close()
  })
  assert.equal(await client.get(b), null)
  client.close()
})

test('a signal gathers no listeners', async () => {
  const client = new Client(URL_OF_SERVER)
  const { signal } = new AbortController()
  const key = fresh()
  await client.run(null, async t => { await t.get(key); await t.put(key, Buffer.alloc(300_000)) }, { signal })
  await client.get(key, { signal })
  const { stream } = await client.stream(key, { signal })
  for await (const chunk of stream) assert.ok(chunk.length > 0)
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  client.close()
})
