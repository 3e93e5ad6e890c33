// A program that carries out calls of the client for tests in other languages: it reads one JSON
// object a line on its standard input, and answers each with one on its standard output.
//
//     {"do":"client","url","token"?,"ca"?,"certificate"?,"key"?,"silence_ms"?,"run_ms"?}
//                                                           {"ok":true}
//     {"do":"get","key"}                                    {"ok":text|null}
//     {"do":"put","key","value"|"size"}                     {"ok":true}
//     {"do":"run","id":text|null,"key","value","sleep_ms"?,"waits"?}
//                                                           {"ok":"done","replayed","attempts"}
//     {"do":"read","key","sleep_ms"?,"waits"?}              {"ok":text|null}
//     {"do":"execute","id","key","value"}                   {"ok":true,"replayed"}
//     {"do":"request","id"}                                 {"ok":version|null}
//     {"do":"count","key","times","tasks"}                  {"ok":times}
//     {"do":"fork"}                                         {"skipped":"no fork"}
//
// A function that waits makes the file `reached` in the folder of that name, and goes on when the
// file `open` is there.
//
// Every answer has "ms", the time that it took. A failure is {"error","retryable","detail","code"}.

import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { Client, Op, Retry } from '../index.mjs'

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const text = value => value === null ? null : value.bytes.toString()

/** Waits until the gate opens, if there is one. */
async function waitAt (gate) {
  if (gate === undefined) return
  writeFileSync(join(gate, 'reached'), '')
  while (!existsSync(join(gate, 'open'))) await sleep(5)
}

let client = null

async function count ({ key, times, tasks }) {
  let left = times
  const once = async t => { await t.put(key, String(Number(text(await t.get(key)) ?? 0) - 1)) }
  const task = async () => {
    while (left > 0) {
      left -= 1
      for (;;) {
        // Nothing was committed, so this does not count twice.
        const isDone = await client.run(null, once).then(() => true, why => { if (why instanceof Retry) return false; throw why })
        if (isDone) break
      }
    }
  }
  await Promise.all(Array.from({ length: tasks }, task))
  return times
}

const verbs = {
  client ({ url, token, ca, certificate, key, silence_ms: callTimeoutMs, run_ms: runMsMax }) {
    client?.close()
    client = new Client(url, { token, ca, certificate, key, callTimeoutMs, runMsMax })
    return { ok: true }
  },
  async get ({ key }) { return { ok: text(await client.get(key)) } },
  async put ({ key, value, size }) {
    await client.put(key, size === undefined ? value : Buffer.alloc(size, 'x'))
    return { ok: true }
  },
  async run ({ id, key, value, sleep_ms: ms = 0, waits }) {
    const { result, replayed, attempts } = await client.run(id, async t => {
      await t.get(key)
      await sleep(ms)
      await waitAt(waits)
      await t.put(key, value)
      return 'done'
    })
    return { ok: result.toString(), replayed, attempts }
  },
  async read ({ key, sleep_ms: ms = 0, waits }) {
    let read
    await client.run(null, async t => {
      read = text(await t.get(key))
      await sleep(ms)
      await waitAt(waits)
    })
    return { ok: read }
  },
  async execute ({ id, key, value }) {
    const { ran } = await client.execute(id, [Op.put(key, value)])
    return { ok: true, replayed: ran.replayed }
  },
  async request ({ id }) { return { ok: (await client.request(id))?.version ?? null } },
  async count (asked) { return { ok: await count(asked) } },
  fork () { return { skipped: 'no fork' } }
}

async function answer (line) {
  const since = performance.now()
  let said
  try {
    const asked = JSON.parse(line)
    if (!Object.hasOwn(verbs, asked.do)) throw new Error(`the agent cannot do ${JSON.stringify(asked.do)}`)
    if (client === null && asked.do !== 'client') throw new Error('the agent has no client: send {"do":"client","url":…} first')
    said = await verbs[asked.do](asked)
  } catch (why) {
    said = { error: why.name, retryable: why.retryable ?? false, detail: why.detail ?? why.message, code: why.code ?? null }
  }
  return { ...said, ms: Math.round(performance.now() - since) }
}

// The test runner starts every file in this folder, and nobody speaks to this one then.
if (process.env.NODE_TEST_CONTEXT === undefined) {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== '') process.stdout.write(`${JSON.stringify(await answer(line))}\n`)
  }
  client?.close()
}
