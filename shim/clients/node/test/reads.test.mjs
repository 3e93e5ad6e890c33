// Goal: a transaction that only read is never in doubt. Method: an interposer that loses the answer
// of its commit, or answers as a server does that was started again.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, fresh, text, timed } from '../test-support/index.mjs'
import { BAD_GATEWAY, CUT_AFTER, CUT_BEFORE, PASS, interpose } from '../test-support/interposer.mjs'

test('a run that only reads runs again at once', async () => {
  const key = fresh()
  await new Client(URL_OF_SERVER).put(key, 'v')
  for (const act of [CUT_BEFORE, CUT_AFTER, BAD_GATEWAY, 'not_found', 'unknown', 'lost']) {
    await interpose((name, before) => name === 'commit' && before === 0 ? act : PASS, async ({ url }) => {
      const client = new Client(url)
      const { ms, outcome } = await timed(() => client.run(null, async t => text(await t.get(key))))
      assert.deepEqual([outcome.result?.toString(), outcome.attempts], ['v', 2], `${act} ${outcome}`)
      assert.ok(ms < 3_000, `${act}: ${ms}`)
      const t = await client.begin()
      await t.get(key)
      await t.commit()
      client.close()
    })
    await interpose((name, before) => name === 'execute' && before === 0 ? act : PASS, async ({ url }) => {
      const client = new Client(url)
      if (act === 'not_found') return client.close()
      const { outcome } = await timed(() => client.execute(null, [Op.get(key)]))
      assert.equal(text(outcome.reads?.[0].value ?? null), 'v', `${act} ${outcome}`)
      client.close()
    })
  }
})

test('a transaction by hand that only read is to be run again', async () => {
  await interpose(name => name === 'commit' ? CUT_AFTER : PASS, async ({ url, take }) => {
    const client = new Client(url)
    const t = await client.begin()
    await t.get('k')
    await assert.rejects(t.commit(), aft.Retry)
    assert.equal(take().filter(name => name === 'commit').length, 1)
    client.close()
  })
})

test('what was written stays in doubt', async () => {
  const doubtful = (name, before) => name === 'commit' || name === 'batch' && before > 0 ? CUT_AFTER : PASS
  await interpose(doubtful, async ({ url }) => {
    const client = new Client(url, { runMsMax: 1_000, writeBufferBytesMax: 0 })
    await assert.rejects(client.run(null, t => t.put(fresh(), 'v')), aft.Unknown)
    await assert.rejects(client.run(null, async t => { await t.batch([Op.check(fresh(), { ifAbsent: true })]) }), aft.Unknown)
    client.close()
  })
})
