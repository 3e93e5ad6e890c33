// Goal: a function that is wrapped by once takes effect once for each event. Method: a real server.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { URL_OF_SERVER, fresh, increment, text } from '../test-support/index.mjs'

test('an event takes effect once', async () => {
  const [client, counter] = [new Client(URL_OF_SERVER), fresh()]
  const order = async (t, event, context, more) => `${await increment(t, counter)} ${event.item} ${context.by} ${more}`
  const event = { id: fresh(), detail: { orderId: fresh(), lines: [{ no: fresh() }] }, item: 'tea' }
  const context = { by: 'me' }
  for (const [nth, key] of [event => event.id, 'detail.orderId', 'detail.lines.0.no', async (event, context) => `${event.id}/${context.by}`].entries()) {
    const handler = client.once({ key, scope: `handler ${nth}` }, order)
    const first = await handler(event, context, 'more')
    assert.ok(Buffer.isBuffer(first))
    assert.equal(first.toString(), `${nth + 1} tea me more`)
    assert.deepEqual(await handler({ ...event, item: 'coffee' }, context, 'other'), first)
  }
  assert.equal(text(await client.get(counter)), '4')
  // The scope keeps the IDs of two functions apart.
  const other = client.once({ key: 'id', scope: 'another' }, async t => String(await increment(t, counter)))
  assert.equal((await other(event)).toString(), '5')
  // The options of a run go with it.
  const aborted = client.once({ key: 'item', signal: AbortSignal.abort(new Error('stop')) }, order)
  await assert.rejects(aborted({ item: fresh() }), /stop/)
  client.close()
})

test('a large result is returned as well', async () => {
  const client = new Client(URL_OF_SERVER)
  const event = { id: fresh() }
  const t = await client.begin(event.id)
  const large = Buffer.alloc(2 << 20, 7)
  assert.ok((await fetch(`${URL_OF_SERVER}/v1/transactions/${t.token}/result`, { method: 'PUT', body: large })).ok)
  await t.commit()
  assert.ok(large.equals(await client.once({ key: 'id' }, () => {})(event)))
  client.close()
})

test('an event without an ID runs nothing', async () => {
  const client = new Client(URL_OF_SERVER)
  let called = 0
  const fn = () => { called += 1 }
  for (const [key, event, ...words] of [
    ['id', {}, 'no "id"'], ['detail.orderId', { detail: {} }, 'no "orderId" on the path "detail.orderId"'], ['a.b', { a: null }, '"b"'],
    ['id', undefined, '"id"'], ['id', 'text', '"id"'], ['toString', {}, 'toString'], ['id', { id: null }, 'null'], ['id', { id: 7 }, 'number'],
    ['id', { id: ' ' }, 'blank'], ['id', { id: '' }, 'blank'], [() => undefined, {}, 'undefined'], [async () => null, {}, 'null']
  ]) {
    await assert.rejects(client.once({ key }, fn)(event), error => {
      assert.ok(error instanceof aft.Invalid, `${error}`)
      for (const word of words) assert.ok(error.message.includes(word), error.message)
      return true
    })
  }
  assert.equal(called, 0)
  for (const options of [undefined, {}, { key: 7 }, { key: 'id', scope: ' ' }]) assert.throws(() => client.once(options, fn), aft.Invalid)
  assert.throws(() => client.once({ key: 'id' }), /fn must be a function/)
  client.close()
})
