// Goal: a wrong argument is rejected by the client, with its name, its type and a remedy, and
// nothing is sent. Method: a server that counts the calls that reach it.

import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { URL_OF_SERVER, answering, fresh, text } from '../test-support/index.mjs'

const invalid = (...words) => error => {
  assert.ok(error instanceof aft.Invalid, `${error}`)
  for (const word of words) assert.match(error.message, new RegExp(word), error.message)
  return true
}

test('only text and bytes are values', async () => {
  let calls = 0
  await answering((request, response) => { calls += 1; response.writeHead(500).end() }, async url => {
    const client = new Client(url)
    for (const [value, type] of [[3, 'number'], [true, 'boolean'], [[1], 'Array'], [{}, 'Object'], [new Date(), 'Date'], [1n, 'bigint'],
      [Symbol('x'), 'symbol'], [new Float64Array(1), 'Float64Array'], [() => '', 'function']]) {
      await assert.rejects(client.put('k', value), invalid('value', type, 'String\\(value\\)'))
      await assert.rejects(client.put('k', 'v', null, { ifValue: value }), invalid(type))
      await assert.rejects(client.execute('r', [], value), invalid(type))
      assert.throws(() => Op.put('k', value), invalid(type))
    }
    await assert.rejects(client.put('k', Promise.resolve('v')), invalid('Promise', 'await it'))
    await assert.rejects(client.put('k', '\ud800'), invalid('surrogate'))
    await assert.rejects(client.put('k', 'v', null, { ifabsent: true }), invalid('ifabsent', 'ifAbsent'))
    await assert.rejects(client.put('k', 'v', null, { ifVersion: 7 }), invalid('ifVersion', 'number'))
    await assert.rejects(client.add('k', '1'), invalid('by', 'string'))
    assert.equal(calls, 0, 'nothing was sent')
    client.close()
  })
  const [client, key, request] = [new Client(URL_OF_SERVER), fresh(), fresh()]
  await assert.rejects(client.run(request, async t => { await t.put(key, 'v'); return 200 }), invalid('number', 'String\\(value\\)'))
  assert.deepEqual([await client.get(key), await client.request(request)], [null, null], 'the attempt was aborted')
  for (const [value, written] of [['ä', 'ä'], [Buffer.from('b'), 'b'], [new Uint8Array([99]), 'c'], [new Uint8Array([100]).buffer, 'd']]) {
    await client.put(key, value)
    assert.equal(text(await client.get(key)), written)
  }
  client.close()
})

test('options that a call does not know, and conditions that are missing, are rejected by name', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  await client.put(key, 'first')
  const limits = ['signal', 'runMsMax']
  const source = () => [Buffer.from('x')]
  const calls = {
    run: o => client.run(null, () => {}, o), begin: o => client.begin(null, o), execute: o => client.execute(null, [Op.get(key)], null, o),
    once: async o => client.once({ key: 'id', ...o }, () => {}), get: o => client.get(key, o), getRange: o => client.getRange(key, 0, 1, o),
    stream: o => client.stream(key, o), put: o => client.put(key, 'x', null, o), delete: o => client.delete(key, o),
    putStream: o => client.putStream(key, source(), o), add: o => client.add(key, 1, o), request: o => client.request('r', o),
    result: o => client.result('r', o), resultStream: o => client.resultStream('r', o), Client: async o => new Client(URL_OF_SERVER, o)
  }
  const within = {
    get: (t, o) => t.get(key, o), getRange: (t, o) => t.getRange(key, 0, 1, o), stream: (t, o) => t.stream(key, o),
    put: (t, o) => t.put(key, 'x', null, o), delete: (t, o) => t.delete(key, o), putStream: (t, o) => t.putStream(key, source(), o),
    batch: (t, o) => t.batch([Op.get(key)], o), list: async (t, o) => { for await (const listed of t.list('none', o)) assert.ok(listed) },
    commit: (t, o) => t.commit('', o), abort: (t, o) => t.abort(o)
  }
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call({ misspelt: 1 }), invalid('"misspelt"', name, 'it takes', ...(name === 'Client' ? [] : limits)), name)
    await assert.rejects(call({ misspelt: undefined }), invalid('"misspelt"'), name)
    if (name !== 'once') await assert.rejects(call(7), invalid('options', 'number'), name)
    if (name !== 'once') await assert.rejects(call(AbortSignal.abort()), invalid('AbortSignal', 'write { signal }'), name)
  }
  for (const [name, call] of Object.entries(within)) {
    const t = await client.begin()
    await assert.rejects(call(t, { misspelt: 1 }), invalid('"misspelt"', `t.${name}`, 'it takes', 'signal'), name)
    await t.abort()
  }
  // Conditions where there can be none: nothing is written.
  for (const [call, ...words] of [
    [t => t.put(key, 'x', null, { ifAbsent: true }), 't.put', 'ifAbsent', 't.batch\\(\\[Op.put\\('],
    [t => t.delete(key, { ifVersion: 'v' }), 't.delete', 'ifVersion', 'Op.delete\\('], [t => t.putStream(key, source(), { ifAbsent: true }), 'Op.check']
  ]) await assert.rejects(client.run(null, async t => { await call(t); return 'done' }), invalid(...words))
  await assert.rejects(client.putStream(key, source(), { ifAbsent: true }), invalid('putStream', 'ifAbsent', 'put'))
  // Conditions without a value.
  for (const missing of [undefined, null]) {
    for (const name of ['ifAbsent', 'ifVersion', 'ifValue']) {
      for (const call of [c => client.put(key, 'x', null, c), c => client.delete(key, c), async c => Op.put(key, 'x', null, c), async c => Op.delete(key, c),
        async c => Op.check(key, c)]) await assert.rejects(call({ [name]: missing }), invalid(`${name} is ${missing}`, 'leave it out'))
    }
  }
  assert.equal(text(await client.get(key)), 'first')
  // Operations that Op has not made, and lists that are none.
  for (const ops of [[{ put: key, value: 'abcd' }], [undefined], [{ ...Op.put(key, 'x'), ifAbsent: true }]]) {
    await assert.rejects(client.execute(null, ops), invalid('operation 0', 'Op.put'))
    await assert.rejects(client.run(null, async t => { await t.batch(ops) }), invalid('operation 0', 'Op.put'))
  }
  await assert.rejects(client.execute(null, Op.get(key)), invalid('ops', 'array'))
  await assert.rejects(client.run(null, () => {}, { reads: key }), invalid('reads', 'array', 'string'))
  assert.equal(text(await client.get(key)), 'first')
  // Options that are undefined, but for conditions, are not there.
  assert.equal(text(await client.get(key, { signal: undefined, fresh: undefined })), 'first')
  await client.put(key, 'second', null, { ifAbsent: false, runMsMax: undefined })
  client.close()
})

test('numbers out of range are rejected with their range', async () => {
  for (const name of ['connectTimeoutMs', 'callTimeoutMs', 'transactionTimeoutMs', 'runMsMax']) {
    for (const [value, ...words] of [[Infinity, 'Infinity'], [30 * 86_400_000, '2592000000'], [NaN, 'NaN'], [-1, '-1'], ['5', 'string'], [1n, 'bigint']]) {
      assert.throws(() => new Client(URL_OF_SERVER, { [name]: value }), invalid(name, 'from 0 to 2147483647', ...words))
    }
  }
  for (const [name, value] of [['attemptsMax', 'three'], ['attemptsMax', 1.5], ['attemptsMax', -1], ['writeBufferBytesMax', '1MB'], ['writeBufferBytesMax', NaN]]) {
    assert.throws(() => new Client(URL_OF_SERVER, { [name]: value }), invalid(name, 'whole number'))
  }
  const longest = 2 ** 31 - 1
  const client = new Client(URL_OF_SERVER, { callTimeoutMs: longest, connectTimeoutMs: longest, runMsMax: longest, attemptsMax: Number.MAX_SAFE_INTEGER })
  const key = fresh()
  for (const options of [{ timeoutMs: Infinity }, { timeoutMs: '60' }, { timeoutMs: -1 }, { retentionS: 1_800.5 }, { retentionS: Infinity },
    { runMsMax: Infinity }]) {
    const [name] = Object.keys(options)
    await assert.rejects(client.run(null, t => t.put(key, 'x'), options), invalid(name, 'from 0 to'))
    await assert.rejects(client.execute(null, [Op.put(key, 'x')], null, options), invalid(name, 'from 0 to'))
  }
  await assert.rejects(client.get(key, { runMsMax: Infinity }), invalid('runMsMax', 'Infinity'))
  await assert.rejects(client.run(null, async t => { for await (const listed of t.list('', { pageLen: 0 })) assert.ok(listed) }), invalid('pageLen'))
  assert.equal(await client.get(key), null)
  await client.put(key, 'x')
  assert.equal((await client.run(null, t => t.put(key, 'y').then(() => 'done'), { timeoutMs: 1_500.5, retentionS: 3_600 })).result.toString(), 'done')
  client.close()
})

test('a request ID is text or null', async () => {
  let calls = 0
  await answering((request, response) => { calls += 1; response.writeHead(500).end() }, async url => {
    const client = new Client(url)
    const each = id => [
      () => client.run(id, () => {}), () => client.begin(id), () => client.execute(id, []), () => client.request(id), () => client.result(id),
      () => client.resultStream(id)
    ]
    for (const [id, ...words] of [[undefined, 'requestId is undefined'], [17, 'requestId', 'number', 'String\\(id\\)'], ['', 'empty'], [' \n', 'blank'],
      [Buffer.from('x'), 'Buffer'], [{}, 'Object'], [true, 'boolean'], ['\udc00', 'surrogate']]) {
      for (const call of each(id)) await assert.rejects(call, invalid('requestId', ...words))
    }
    await assert.rejects(client.run(undefined, () => {}), invalid('pass null if the request has no ID'))
    for (const scope of ['', ' ', 7]) {
      await assert.rejects(client.run('r', () => {}, { scope }), invalid('scope'))
      await assert.rejects(client.request('r', { scope }), invalid('scope'))
    }
    await assert.rejects(client.run('r'), invalid('fn must be a function'))
    await assert.rejects(client.get('k', { signal: {} }), invalid('signal', 'AbortSignal'))
    await assert.rejects(client.get('k', { runMsMax: '5' }), invalid('runMsMax', 'string'))
    assert.equal(calls, 0, 'nothing was sent')
    client.close()
  })
  const client = new Client(URL_OF_SERVER)
  await (await client.begin()).abort()
  assert.equal((await client.run(null, () => 'x')).result.toString(), 'x')
  client.close()
})

test('a wrong URL is rejected without its secrets', () => {
  for (const [url, ...words] of [
    ['http://user:s3cret@host', 'give the token by `token`'], ['http://s3cret@host:80', '`token`'], ['https://u:s3c/r@s3cret@host/', '`token`'],
    ['user:s3cret@host', '`token`'], ['http://host:abc', 'port "abc"'], ['http://host:99999', 'port "99999"'], ['http://host:0', 'port "0"'],
    ['http://host:', 'port ""'], ['http://host/v1', 'without a path'], ['http://host?token=s3cret', 'query'], ['http://host/#s3cret', 'fragment'],
    ['ftp://host', 'http://HOST:PORT'], ['http://', 'host'], ['http://a b', 'host'], ['', 'not the URL'], [7, 'number'], [undefined, 'undefined']
  ]) {
    assert.throws(() => new Client(url), error => {
      assert.ok(!error.message.includes('s3cret') && !error.stack.includes('s3cret'), error.message)
      return invalid(...words)(error)
    }, `${url}`)
  }
  for (const url of ['http://host', 'HTTP://host:7400/', 'https://[::1]:7400', 'http://127.0.0.1']) new Client(url).close()
})

test('files of certificates are checked when the client is made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'aft-'))
  const none = join(folder, 'none.pem')
  const empty = join(folder, 'empty.pem')
  writeFileSync(empty, 'nothing')
  const damaged = join(folder, 'damaged.pem')
  writeFileSync(damaged, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  const url = 'https://127.0.0.1:1'
  assert.throws(() => new Client(url, { ca: none }), invalid('ca', 'none.pem', 'ENOENT'))
  assert.throws(() => new Client(url, { ca: empty }), invalid('ca', 'empty.pem'))
  assert.throws(() => new Client(url, { ca: damaged }), invalid('ca', 'damaged.pem'))
  assert.throws(() => new Client(url, { ca: 7 }), invalid('ca', 'number'))
  assert.throws(() => new Client(url, { certificate: none }), invalid('certificate', 'key'))
  assert.throws(() => new Client(url, { key: none }), invalid('key', 'certificate'))
  assert.throws(() => new Client(url, { certificate: damaged, key: none }), invalid('certificate', 'damaged.pem'))
})
