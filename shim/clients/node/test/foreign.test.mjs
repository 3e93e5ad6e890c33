// Goal: an answer that is not AFT's is reported as what it is, at once where another try cannot
// help. Method: servers that answer as proxies and portals do.

import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client, Op } from '../index.mjs'
import { answering, fresh, listen, timed } from '../test-support/index.mjs'
import { CUT_AFTER, PASS, interpose } from '../test-support/interposer.mjs'

const PAGE = '<html><head><title>T</title><style>p {}</style></head><body>\n<h1>Sign   in</h1>\u0000<p>to the network</p></body></html>'

const everyCall = (client, id = 'r') => [
  ['get', () => client.get('k')], ['getRange', () => client.getRange('k', 0, 1)], ['stream', () => client.stream('k')],
  ['put', () => client.put('k', 'v')], ['delete', () => client.delete('k')], ['run', () => client.run(id, t => t.put('k', 'v'))],
  ['run without ID', () => client.run(null, t => t.put('k', 'v'))], ['execute', () => client.execute(id, [Op.put('k', 'v')])],
  ['begin', () => client.begin()], ['request', () => client.request(id)], ['result', () => client.result(id)]
]

test('a rejection by a proxy is thrown at once, by every call', async () => {
  for (const status of [301, 308, 400, 401, 403, 404, 405, 407, 410, 411, 413, 414, 431, 501]) {
    let calls = 0
    const handler = (request, response) => {
      calls += 1
      request.resume()
      response.writeHead(status, { Location: 'https://elsewhere.example/x', Server: 'portal/1', 'Content-Type': 'text/html' }).end(PAGE)
    }
    await answering(handler, async url => {
      const client = new Client(url)
      for (const [name, call] of everyCall(client)) {
        calls = 0
        const { ms, outcome } = await timed(call)
        assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable, `${status} ${name}: ${outcome}`)
        assert.ok(ms < 1_000 && calls === 1, `${status} ${name}: ${ms} ms, ${calls} calls`)
        for (const word of [`${status}`, 'not AFT\'s answer: a proxy\'s\\?', 'Location: https://elsewhere.example/x', 'Server: portal/1',
          '"Sign in to the network"']) assert.match(outcome.message, new RegExp(word))
      }
      client.close()
    })
  }
})

test('a page with status 200 is no answer', async () => {
  const handler = (request, response) => { request.resume(); response.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE) }
  await answering(handler, async url => {
    const client = new Client(url, { runMsMax: 2_000 })
    for (const [name, call] of everyCall(client)) {
      const { ms, outcome } = await timed(call)
      const commits = ['put', 'delete', 'execute'].includes(name)
      if (commits) assert.ok(outcome instanceof aft.Unknown, `${name}: ${outcome}`)
      else assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable && ms < 1_000, `${name}: ${outcome}`)
      assert.match(outcome.message, /not AFT's answer/)
    }
    client.close()
  })
})

test('JSON with status 200 that is not AFT\'s is no answer', async () => {
  const more = client => [
    ['conditional put', () => client.put('k', 'v', null, { ifAbsent: true })], ['add', () => client.add('k')],
    ['execute without ID', () => client.execute(null, [Op.put('k', 'v')])], ['putStream', () => client.putStream('k', [Buffer.from('v')])]
  ]
  for (const body of ['{"status":"ok"}', '{}', '[]', 'null', '"ok"', '{"committed":false}', '{"committed":1}', '{"committed":true,"session":5}',
    '{"committed":true,"results":{}}', '{"replayed":true,"result":7}', '{"hash":"h","version":"v"}', '{"transaction":7}', '[{"committed":true}]']) {
    const handler = (request, response) => {
      request.resume().on('end', () => response.writeHead(200, { 'Content-Type': 'application/json' }).end(body))
    }
    await answering(handler, async url => {
      const client = new Client(url, { runMsMax: 2_000 })
      for (const [name, call] of [...everyCall(client), ...more(client)]) {
        const { ms, outcome } = await timed(call)
        const commits = ['put', 'delete', 'execute', 'conditional put', 'add', 'execute without ID', 'putStream'].includes(name)
        if (commits) assert.ok(outcome instanceof aft.Unknown, `${body} ${name}: ${JSON.stringify(outcome)} ${outcome}`)
        else assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable, `${body} ${name}: ${JSON.stringify(outcome)} ${outcome}`)
        assert.match(outcome.message, /not AFT's answer/)
        assert.ok(ms < 1_000, `${body} ${name}: ${ms} ms`)
      }
      assert.equal(client.session, null)
      client.close()
    })
  }
})

test('JSON that is not AFT\'s within a transaction is no answer', async () => {
  const steps = { get: t => t.batch([Op.get('k')]), list: async t => { for await (const listed of t.list()) assert.ok(listed) }, abort: t => t.abort() }
  for (const [name, step] of Object.entries(steps)) {
    await interpose(call => ['batch', 'keys', 'abort'].includes(call) ? 'json' : PASS, async ({ url }) => {
      const client = new Client(url)
      const t = await client.begin()
      await assert.rejects(step(t), error => error instanceof aft.Unavailable && !error.retryable && /not AFT's answer/.test(error.message), name)
      client.close()
    })
  }
  // An abort that something else answers has aborted nothing: the commit stays in doubt.
  const key = fresh()
  const script = (name, before) => name === 'batch' ? (before === 0 ? CUT_AFTER : 'json') : name === 'begin' && before === 0 ? PASS : 'json'
  await interpose(script, async ({ url }) => {
    const client = new Client(url, { runMsMax: 500 })
    await assert.rejects(client.run(fresh(), t => t.put(key, 'v')), aft.Unknown)
    client.close()
  })
})

test('a page that answers a write in a transaction is no success', async () => {
  await interpose(name => name === 'put' ? 'page' : PASS, async ({ url }) => {
    const client = new Client(url, { writeBufferBytesMax: 0 })
    const t = await client.begin()
    await assert.rejects(t.put(fresh(), 'v'), error => error instanceof aft.Unavailable && !error.retryable)
    await assert.rejects(t.commit(), aft.Unavailable)
    client.close()
  })
})

test('a proxy that limits the rate of calls is waited for', async () => {
  for (const [name, use] of [['put', client => client.put('k', 'v')], ['get', client => client.get('k')]]) {
    let calls = 0
    const handler = (request, response) => {
      calls += 1
      request.resume()
      if (calls < 3) return response.writeHead(429, { 'Retry-After': calls === 1 ? '0' : '1', 'Content-Length': 4 }).end('busy')
      response.writeHead(200, { 'Aft-Version': '1-1' }).end('{"committed":true}')
    }
    await answering(handler, async url => {
      const client = new Client(url)
      const { ms, outcome } = await timed(() => use(client))
      assert.ok(!(outcome instanceof Error) && calls === 3, `${name} ${outcome}`)
      assert.ok(ms >= 1_000, 'the header Retry-After is honoured')
      client.close()
    })
  }
  // In a transaction as well, where no server has forgotten anything.
  const key = fresh()
  await interpose((name, before) => before === 0 && name !== 'begin' ? 'too many' : PASS, async ({ url }) => {
    const client = new Client(url)
    const ran = await client.run(null, async t => { await t.get(key); await t.put(key, 'v'); return 'done' })
    assert.equal(ran.attempts, 1)
    client.close()
  })
})

test('a commit in doubt stays unknown when a proxy rejects the next call', async () => {
  for (const act of ['moved', 'forbidden page']) {
    for (const id of [null, fresh()]) {
      const script = (name, before) => name === 'batch' && before === 0 ? CUT_AFTER : name === 'begin' && before === 0 ? PASS : act
      await interpose(script, async ({ url }) => {
        const client = new Client(url, { runMsMax: 20_000 })
        const { ms, outcome } = await timed(() => client.run(id, t => t.put(fresh(), 'v')))
        assert.ok(outcome instanceof aft.Unknown, `${act} ${id}: ${outcome}`)
        assert.ok(ms < 2_000, `${ms}`)
        client.close()
      })
    }
  }
})

test('the final error says what failed last, and how many tries there were', async () => {
  await answering((request, response) => { request.resume(); response.writeHead(502).end('<h1>down</h1>') }, async url => {
    const client = new Client(url, { runMsMax: 300 })
    for (const call of [() => client.get('k'), () => client.run(null, () => {}), () => client.request('r')]) {
      await assert.rejects(call, error => {
        assert.ok(error instanceof aft.Unavailable && error.retryable)
        assert.match(error.message, /502 \(Bad Gateway\).*"down".*the last of \d+ tries within 0\.\d s/)
        return true
      })
    }
    client.close()
  })
  const client = new Client('http://127.0.0.1:1', { runMsMax: 200 })
  await assert.rejects(client.put('k', 'v'), /cannot connect to http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*tries/)
  client.close()
})

test('a server that speaks no HTTP is named', async () => {
  const server = net.createServer(socket => socket.on('error', () => {}).once('data', () => socket.end(Buffer.from([0x15, 3, 1, 0, 2, 2, 70]))))
  const client = new Client(await listen(server), { runMsMax: 300 })
  const { outcome } = await timed(() => client.put('k', 'v'))
  assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable, `${outcome}`)
  assert.match(outcome.message, /speaks TLS: write https/)
  client.close()
  server.close()
})

test('a server of another protocol is named at once', async () => {
  for (const banner of ['SSH-2.0-OpenSSH_9\r\n', "-ERR unknown command 'PUT'\r\n", '220 mail ESMTP\r\n', 'J\0\0\0\n8.0.36', '\0\0\x12\x04\0\0\0\0\0',
    '<html>no head</html>']) {
    // It greets at once, or answers what it got.
    for (const isGreeting of [true, false]) {
      const server = net.createServer(socket => {
        socket.on('error', () => {})
        if (isGreeting) socket.write(banner)
        else socket.once('data', () => socket.write(banner))
      })
      const client = new Client(await listen(server))
      for (const [name, call] of [...everyCall(client), ['putStream', () => client.putStream('k', [Buffer.alloc(10)])]]) {
        const { ms, outcome } = await timed(call)
        assert.ok(outcome instanceof aft.Unavailable && !outcome.retryable, `${banner} ${name}: ${outcome}`)
        for (const words of ['does not speak HTTP', 'not AFT\'s answer', 'port']) assert.ok(outcome.message.includes(words), outcome.message)
        assert.ok(ms < 1_500, `${banner} ${name}: ${ms} ms`)
      }
      client.close()
      server.close()
    }
  }
  // After an answer it could be a rest of that: the next call may have been carried out.
  const server = net.createServer(socket => {
    let calls = 0
    socket.on('error', () => {}).on('data', () => {
      calls += 1
      socket.write(calls === 1 ? 'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"committed":true}' : 'rest of it\r\n\r\n')
    })
  })
  const client = new Client(await listen(server))
  await client.put('k', 'v')
  await assert.rejects(client.put('k', 'v'), aft.Unknown)
  client.close()
  server.close()
})

test('control characters and long pages are not repeated', async () => {
  const handler = (request, response) => { request.resume(); response.writeHead(403).end(`\u001b[31m${'x'.repeat(5_000)}`) }
  await answering(handler, async url => {
    const client = new Client(url)
    await assert.rejects(client.get('k'), error => {
      assert.ok(!error.message.includes('\u001b') && error.message.length < 600, error.message)
      return true
    })
    client.close()
  })
})
