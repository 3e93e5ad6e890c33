// Goal: a name with a segment that proxies rewrite reaches the server as it is. Method: a proxy
// that resolves `.` and `..` and joins slashes in paths, as many do, in front of the real server.

import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'

import { Client } from '../index.mjs'
import { SERVER, URL_OF_SERVER, VECTORS, answering, fresh, serverKnowsQueries, text } from '../test-support/index.mjs'

const NAMES = ['a/../b', 'a/./b', 'a//b', 'a/', './a', 'a/..', 'ä &+#?/%2F/../x']

function normalise (path) {
  const segments = []
  for (const segment of path.split('/').filter(segment => segment !== '' && segment !== '.')) {
    if (segment === '..') segments.pop()
    else segments.push(segment)
  }
  return `/${segments.join('/')}`
}

// Passes calls on with a path that is normalised, and a query that is not. To a server that does
// not know names in queries yet, such a name is passed on in the path.
async function normalising (use) {
  const isNew = await serverKnowsQueries()
  const queries = []
  const handler = (request, response) => {
    const [path, query = ''] = request.url.split('?')
    let target = `${normalise(path)}${query && '?'}${query}`
    const named = /^(.*)\/(key|request|result)\?(?:name|id)=([^&]*)&?(.*)$/.exec(target)
    if (named !== null) {
      queries.push(request.url)
      const [, base, what, name, rest] = named
      if (!isNew) target = `${base}/${what}s/${name.replaceAll('%2F', '/')}${rest && '?'}${rest}`
    }
    const up = http.request({ hostname: SERVER.hostname, port: SERVER.port, method: request.method, path: target, headers: request.headers })
    up.on('response', answer => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response) })
    request.pipe(up)
  }
  await answering(handler, url => use(url, queries))
}

test('names that proxies rewrite are kept by every call', async () => {
  await normalising(async (url, queries) => {
    const [client, direct] = [new Client(url), new Client(URL_OF_SERVER)]
    const own = fresh()
    for (const name of NAMES) {
      const key = `${own}/${name}`
      await client.put(key, name)
      assert.equal(text(await client.get(key, { fresh: true })), name)
      const t = await client.begin()
      assert.equal(text(await t.get(key)), name)
      await t.put(key, Buffer.alloc(100_000))
      assert.equal((await t.getRange(key, 7, 9)).bytes.length, 9)
      await t.commit()
      assert.equal((await client.getRange(key, 0, 1)).size, 100_000)
      await client.delete(key)
      assert.equal(await client.get(key), null)
      await client.put(key, name)
      await client.run(key, () => 'done', { scope: 'a/../b' })
      for (const looker of [client, ...(await serverKnowsQueries() ? [direct] : [])]) {
        assert.equal((await looker.request(key, { scope: 'a/../b' })).result.toString(), 'done')
        assert.equal((await looker.result(key, { scope: 'a/../b' })).toString(), 'done')
        assert.equal(await looker.request(key), null)
      }
    }
    const t = await direct.begin()
    const listed = []
    for await (const { key } of t.list(own)) listed.push(key)
    assert.deepEqual(listed.sort(), NAMES.map(name => `${own}/${name}`).sort(), 'no other key was written')
    assert.ok(queries.length >= NAMES.length * 10)
    assert.ok(queries.every(query => !query.includes('/../')))
    client.close()
    direct.close()
  })
})

test('other names stay in the path', async () => {
  await normalising(async (url, queries) => {
    const client = new Client(url)
    for (const { key, path } of VECTORS.paths) if (path !== undefined) await client.get(`${fresh()}/${key}`)
    assert.deepEqual(queries, [])
    client.close()
  })
})
