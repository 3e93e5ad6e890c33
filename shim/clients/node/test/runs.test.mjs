// Goal: runs take effect once, replay, and run again after a conflict. Method: a real server, and
// in some tests an interposer that counts calls.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, fresh, increment, text } from '../test-support/index.mjs'
import { PASS, interpose } from '../test-support/interposer.mjs'

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
  assert.ok((await fetch(`${URL_OF_SERVER}/v1/transactions/${other.token}/result`, { method: 'PUT', body: large })).ok)
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

test('whatever a function throws passes through', async () => {
  const client = new Client(URL_OF_SERVER)
  const key = fresh()
  for (const own of [null, undefined, 0, '', 'text', Symbol('own'), new Error('own')]) {
    const outcome = await client.run(fresh(), async t => { await t.put(key, 'x'); throw own }).then(() => 'committed', why => ({ why }))
    assert.deepEqual(outcome, { why: own })
  }
  assert.equal(await client.get(key), null)
  client.close()
})
