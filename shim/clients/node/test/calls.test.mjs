// Goal: every call does what its documentation says. Method: a real server, at the URL in AFT_URL.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { isPlain } from '../lib/names.mjs'
import { URL_OF_SERVER, VECTORS, all, fresh, serverKnowsQueries, text } from '../test-support/index.mjs'

test('every verb works with and without the write buffer', async () => {
  const knowsQueries = await serverKnowsQueries()
  for (const writeBufferBytesMax of [1 << 20, 0]) {
    const client = new Client(URL_OF_SERVER, { writeBufferBytesMax })
    const own = fresh()
    const keys = VECTORS.paths.map(vector => own + vector.key).filter(key => knowsQueries || isPlain(key))
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
