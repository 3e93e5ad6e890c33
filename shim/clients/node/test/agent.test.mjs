// Goal: the agent answers every line that its head names. Method: a child process and a real
// server.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { URL_OF_SERVER, fresh } from '../test-support/index.mjs'

test('the agent answers each line', async () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const child = spawn(process.execPath, [fileURLToPath(new URL('agent.mjs', import.meta.url))], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async asked => {
    child.stdin.write(`${JSON.stringify(asked)}\n`)
    const { ms, ...said } = JSON.parse((await lines.next()).value)
    assert.ok(Number.isInteger(ms) && ms >= 0)
    return said
  }
  const [key, id] = [fresh(), fresh()]
  assert.match((await ask({ do: 'get', key })).detail, /no client/)
  assert.deepEqual(await ask({ do: 'client', url: URL_OF_SERVER, silence_ms: 5_000, run_ms: 5_000 }), { ok: true })
  assert.deepEqual(await ask({ do: 'get', key }), { ok: null })
  assert.deepEqual(await ask({ do: 'put', key, value: '20' }), { ok: true })
  assert.deepEqual(await ask({ do: 'count', key, times: 20, tasks: 4 }), { ok: 20 })
  assert.deepEqual(await ask({ do: 'read', key, sleep_ms: 5 }), { ok: '0' })
  assert.deepEqual(await ask({ do: 'put', key, size: 3 }).then(() => ask({ do: 'get', key })), { ok: 'xxx' })
  assert.deepEqual(await ask({ do: 'request', id }), { ok: null })
  assert.deepEqual(await ask({ do: 'run', id, key, value: '1', sleep_ms: 5 }), { ok: 'done', replayed: false, attempts: 1 })
  assert.deepEqual(await ask({ do: 'run', id, key, value: '2' }), { ok: 'done', replayed: true, attempts: 0 })
  assert.match((await ask({ do: 'request', id })).ok, /-/)
  assert.deepEqual(await ask({ do: 'execute', id: fresh(), key, value: '3' }), { ok: true, replayed: false })
  assert.deepEqual(await ask({ do: 'fork', key, times: 1 }), { skipped: 'no fork' })
  const failed = await ask({ do: 'put', key: '', value: '1' })
  assert.deepEqual([failed.error, failed.retryable, failed.code], ['Invalid', false, null])
  assert.match((await ask({ do: 'dance' })).detail, /dance/)
  child.stdin.end()
  await new Promise(resolve => child.on('exit', resolve))
})
