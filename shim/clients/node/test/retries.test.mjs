// Goal: a failure is retried where that is safe, and reported as what it is. Method: an interposer
// plays a script call by call before a real server.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, fresh, text } from '../test-support/index.mjs'
import { BAD_GATEWAY, CUT_AFTER, CUT_BEFORE, PASS, go, interpose } from '../test-support/interposer.mjs'

async function commits (named, script, called) {
  const seen = await go(named, script)
  const { outcome, calls } = seen
  assert.ok(!(outcome instanceof Error), `${outcome} ${calls}`)
  assert.deepEqual([seen.called, seen.counter, outcome.result.toString(), outcome.replayed], [called, 1, '1', false], `${calls}`)
  return calls
}

// They wait most of the time, and share nothing.
describe('retries', { concurrency: true }, () => {
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
      ['session_lost', aft.SessionLost], ['unauthorized', aft.Unauthorized], ['damaged', aft.Internal], ['no_such_path', aft.NotFound]]) {
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
})
