// Goal: runs take effect once although every connection is cut. Method: a cutter between the client
// and a real server cuts connections at random bytes and delivers calls late. Seeds are printed
// first; AFT_CLIENT_SEED replays one.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { cut } from '../test-support/cutter.mjs'
import { URL_OF_SERVER, all, fresh, increment, number } from '../test-support/index.mjs'

const SEED = Number(process.env.AFT_CLIENT_SEED ?? 1)

// Every run increments its writer's counter, and writes an entry that names the call of the
// function that made it. Afterwards, without the cutter, the counter shows how many runs took
// effect, and the entries show which.
const WRITERS = 30
const RUNS = 10

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

const named = async () => {
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
}

const unnamed = async () => {
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
}

// Most of the time is spent waiting, so both go on at once.
test('every connection is cut', { concurrency: true }, async t => {
  console.log(`seed ${SEED} (AFT_CLIENT_SEED=${SEED} replays its cuts)`)
  await Promise.all([t.test('named runs take effect once', named), t.test('unnamed runs never take effect twice', unnamed)])
})
