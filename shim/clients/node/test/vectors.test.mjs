// Goal: all clients agree. Method: the results in vectors.json.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { keyPath, requestPath } from '../lib/names.mjs'
import { pauseRange } from '../lib/pace.mjs'
import { VECTORS } from '../test-support/index.mjs'

test('the client agrees with the shared vectors', async () => {
  for (const { key, path, query } of VECTORS.paths) {
    assert.equal(keyPath('/v1', key), path === undefined ? `/v1/key?name=${query}` : `/v1/keys/${path}`)
    assert.equal(requestPath('result', key, 'a/b'), path === undefined ? `/v1/result?id=${query}&scope=a%2Fb` : `/v1/results/${path}?scope=a%2Fb`)
  }
  for (const { one, other, merged } of VECTORS.sessions) {
    assert.equal(aft.mergeSessions(one, other), merged)
    assert.equal(aft.mergeSessions(other, one), merged)
  }
  for (const { failures, code, retry_after_ms: asked, least_ms: least, most_ms: most } of VECTORS.pauses) {
    assert.deepEqual(pauseRange(failures, code === 'in_progress', asked), [least, most])
  }
  for (const { call, asked, sent } of VECTORS.levels) {
    const client = new Client('http://127.0.0.1:1')
    const messages = []
    client._post = async (path, message) => {
      messages.push(message.isolation ?? null)
      throw new aft.Invalid('the test sends nothing')
    }
    const options = asked === 'nothing' ? {} : { isolation: asked === 'of_the_store' ? null : asked }
    const calls = { run: () => client.run(null, () => {}, options), begin: () => client.begin(null, options), execute: () => client.execute(null, [], '', options) }
    await assert.rejects(calls[call], aft.Invalid)
    assert.deepEqual(messages, [sent], `${call} ${asked}`)
  }
  for (const unreadable of VECTORS.unreadable) assert.throws(() => aft.mergeSessions(unreadable, VECTORS.sessions[1].one))
})
