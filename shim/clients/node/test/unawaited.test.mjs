// Goal: a run whose function does not await its calls commits all of their writes, or nothing.
// Method: a real server; an interposer where a call has to fail.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, fresh, sleep, text } from '../test-support/index.mjs'
import { PASS, interpose } from '../test-support/interposer.mjs'

test('calls in flight when the function returns are part of the commit', async () => {
  const client = new Client(URL_OF_SERVER)
  // Connections are open already, so that the commit could overtake a call.
  await Promise.all([1, 2, 3].map(n => client.get(`w${n}`)))
  for (const len of [70_000, 300_000, 2_000_000]) {
    const [key, request] = [fresh(), fresh()]
    await client.run(request, t => {
      t.put(key, Buffer.alloc(len))
      t.put(`${key}/small`, 'x')
      return 'ok'
    })
    assert.deepEqual([(await client.get(key))?.bytes.length, text(await client.get(`${key}/small`))], [len, 'x'])
  }
  client.close()
})

test('calls that follow calls in flight are part of the commit', async () => {
  const client = new Client(URL_OF_SERVER)
  const [a, b] = [fresh(), fresh()]
  const ran = await client.run(fresh(), t => {
    [a, b].forEach(async key => {
      await t.get(key)
      await t.get(`${key}/more`)
      await t.put(key, '1')
      await t.put(`${key}/large`, Buffer.alloc(100_000))
    })
    return 'ok'
  })
  assert.equal(ran.result.toString(), 'ok')
  for (const key of [a, b]) {
    assert.equal(text(await client.get(key)), '1')
    assert.equal((await client.get(`${key}/large`)).bytes.length, 100_000)
  }
  // Without any call in flight when the function returns.
  const c = fresh()
  await client.run(null, t => { Promise.resolve().then(() => t.put(c, '1')); return 'ok' })
  assert.equal(text(await client.get(c)), '1')
  // However long the function goes on within a turn of the event loop.
  const e = fresh()
  await client.run(null, t => {
    [1, 2].forEach(async nth => {
      await t.get(e)
      for (let ticks = 0; ticks < 100; ticks += 1) await null
      await t.put(`${e}/${nth}`, '1')
    })
  })
  assert.deepEqual([text(await client.get(`${e}/1`)), text(await client.get(`${e}/2`))], ['1', '1'])
  const d = fresh()
  const t = await client.begin()
  t.put(d, Buffer.alloc(300_000))
  await t.commit()
  assert.equal((await client.get(d)).bytes.length, 300_000)
  client.close()
})

test('a failed call that nobody awaited fails the run', async () => {
  const [small, large, late] = [fresh(), fresh(), fresh()]
  const script = (name, before) => name === 'put' && before === 0 ? 'invalid' : PASS
  for (const wait of [0, 200]) {
    await interpose(script, async ({ url, take }) => {
      const client = new Client(url)
      await assert.rejects(client.run(fresh(), async t => {
        t.put(small, 'x')
        t.put(large, Buffer.alloc(300_000))
        await sleep(wait)
        return 'ok'
      }), error => error instanceof aft.Invalid && error.code === 'invalid')
      assert.ok(!take().includes('batch'), 'no commit was sent')
      client.close()
    })
  }
  // A failure that a new attempt may not meet is run again.
  await interpose((name, before) => name === 'get' && before === 0 ? 'snapshot_gone' : PASS, async ({ url }) => {
    const client = new Client(url)
    let called = 0
    const ran = await client.run(fresh(), t => { called += 1; t.get(large); t.put(late, String(called)); return 'ok' })
    assert.deepEqual([ran.attempts, text(await client.get(late))], [2, '2'])
    client.close()
  })
  // A failure that the function has seen is its own affair.
  const client = new Client(URL_OF_SERVER)
  const ran = await client.run(null, async t => {
    await t.batch([Op.check(small, { ifVersion: 'x' })]).catch(() => {})
    await t.get('').catch(() => {})
    return 'went on'
  })
  assert.equal(ran.result.toString(), 'went on')
  assert.deepEqual([await client.get(small), await client.get(large)], [null, null])
  client.close()
})

test('a call that comes after the commit is rejected by name', async () => {
  const client = new Client(URL_OF_SERVER)
  const key = fresh()
  let late
  await client.run(null, async t => {
    await t.put(key, '1')
    late = sleep(50).then(() => t.put(key, '2'))
  })
  await assert.rejects(late, error => error instanceof aft.Invalid && /was not awaited/.test(error.message))
  assert.equal(text(await client.get(key)), '1')
  client.close()
  // While no copy of the commit has been received, the call is missing in it: the run is refused.
  await interpose((name, before) => name === 'batch' && before === 0 ? 'overloaded' : PASS, async ({ url }) => {
    const client = new Client(url)
    const other = fresh()
    const call = { settled: null }
    await assert.rejects(client.run(null, async t => {
      await t.put(other, '1')
      const { send } = client._transport
      client._transport.send = async (...given) => {
        try { return await send.apply(client._transport, given) } finally {
          if (given[1].endsWith('/batch')) call.settled ??= t.put(other, '2').catch(why => why)
        }
      }
    }), error => error instanceof aft.Invalid && /was not awaited/.test(error.message))
    assert.ok(await call.settled instanceof aft.Invalid)
    assert.equal(await new Client(URL_OF_SERVER).get(other), null)
    client.close()
  })
})
