// Goal: values of any size are read and written in bounded memory, and never in part. Method: the
// real server, and servers that break off.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { test } from 'node:test'

import * as aft from '../index.mjs'
import { Client } from '../index.mjs'
import { URL_OF_SERVER, answering, fresh, listen, sleep, text, timed } from '../test-support/index.mjs'

async function whole (stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('ranges are read alone and in a transaction', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  const value = Buffer.from([...Array(200_000).keys()].map(n => n % 251))
  const { version } = await client.put(key, value, 'x/y')
  const t = await client.begin()
  const own = await client.begin()
  await own.put(`${key}/own`, '0123456789', 'x/z')
  for (const reader of [client, t]) {
    for (const [start, length] of [[0, 1], [5, 10], [199_990, 10], [199_990, 1_000], [0, 200_000], [1, 199_999]]) {
      const read = await reader.getRange(key, start, length)
      assert.ok(read.bytes.equals(value.subarray(start, start + length)), `${start} ${length}`)
      assert.deepEqual([read.size, read.version, read.contentType], [200_000, version, 'x/y'])
    }
    assert.equal(await reader.getRange(fresh(), 0, 1), null)
    await assert.rejects(reader.getRange(key, 200_000, 1), aft.Invalid)
    for (const [start, length] of [[-1, 1], [0, 0], [0.5, 1], ['0', 1], [0, undefined]]) {
      await assert.rejects(reader.getRange(key, start, length), /(start|length) must be a whole number/)
    }
  }
  const read = await own.getRange(`${key}/own`, 8, 5)
  assert.deepEqual([text(read), read.size, read.version], ['89', 10, 'uncommitted'])
  await assert.rejects(own.getRange(`${key}/own`, 10, 1), aft.Invalid)
  client.close()
})

test('a range is cut out if a proxy leaves the header out', async () => {
  const handler = (request, response) => response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': 10 }).end('0123456789')
  await answering(handler, async url => {
    const client = new Client(url)
    const read = await client.getRange('k', 2, 3)
    assert.deepEqual([text(read), read.size], ['234', 10])
    client.close()
  })
})

test('streams are read and written in bounded memory', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  const [size, chunk] = [40 << 20, Buffer.alloc(1 << 20, 'abcdefg')]
  const hash = createHash('sha256')
  async function * source () { for (let at = 0; at < size; at += chunk.length) { hash.update(chunk); yield chunk } }
  await client.putStream(key, source(), { size, contentType: 'x/y' })
  const expected = hash.digest('hex')
  const seen = createHash('sha256')
  const read = await client.stream(key)
  assert.deepEqual([read.size, read.contentType], [size, 'x/y'])
  let most = 0
  for await (const part of read.stream) { seen.update(part); most = Math.max(most, read.stream.readableLength) }
  assert.equal(seen.digest('hex'), expected)
  assert.ok(most < 2 << 20, `${most} bytes were held`)
  assert.equal(await client.stream(fresh()), null)
  client.close()
})

test('every kind of source is written, also in a run', async () => {
  const client = new Client(URL_OF_SERVER)
  const value = Buffer.alloc(300_000, 'xyz')
  const path = join(mkdtempSync(join(tmpdir(), 'aft-')), 'file')
  writeFileSync(path, value)
  for (const make of [() => createReadStream(path), () => Readable.from([value]), () => new Blob([value]).stream(), () => [value.subarray(0, 9), value.subarray(9)],
    () => Readable.toWeb(createReadStream(path))]) {
    for (const size of [undefined, value.length]) {
      const [alone, within] = [fresh(), fresh()]
      assert.ok((await client.putStream(alone, make(), { size })).version)
      assert.ok(value.equals((await client.get(alone)).bytes))
      await client.run(null, async t => {
        await t.put(within, 'a buffered write before')
        await t.putStream(within, make(), { size, contentType: 'x/y' })
        const { stream } = await t.stream(within)
        assert.ok(value.equals(await whole(stream)))
      })
      const { bytes, contentType } = await client.get(within)
      assert.ok(value.equals(bytes) && contentType === 'x/y')
    }
  }
  await client.putStream('empty', [], { size: 0 })
  assert.equal(text(await client.get('empty')), '')
  const t = await client.begin()
  await t.put('small', 'abc')
  assert.equal((await whole((await t.stream('small')).stream)).toString(), 'abc')
  await t.delete('small')
  assert.equal(await t.stream('small'), null)
  for (const source of ['text', value, 7, null, undefined]) await assert.rejects(client.putStream('k', source), aft.Invalid)
  await assert.rejects(client.putStream('k', [], { size: -1 }), /size/)
  client.close()
})

test('a source of another size, or one that fails, writes nothing', async () => {
  const [client, key] = [new Client(URL_OF_SERVER), fresh()]
  const own = new Error('the disk is gone')
  async function * failing () { yield Buffer.alloc(200_000); throw own }
  const early = new Readable({ read () { this.destroy(own) } })
  for (const writer of [client, await client.begin()]) {
    await assert.rejects(writer.putStream(key, [Buffer.alloc(99_999)], { size: 100_000 }), /the source has 99999 bytes, and its size says 100000/)
    await assert.rejects(writer.putStream(key, [Buffer.alloc(99_999), 'xx'], { size: 100_000 }), /more than the 100000 bytes/)
    await assert.rejects(writer.putStream(key, [Buffer.alloc(100_000), 'x'], { size: 100_000 }), /more than the 100000 bytes/)
    for (const size of [undefined, 400_000]) await assert.rejects(writer.putStream(key, failing(), { size }), why => why === own)
    await assert.rejects(writer.putStream(key, [7]), aft.Invalid)
  }
  await assert.rejects(client.putStream(key, early), why => why === own)
  await sleep(50)
  assert.equal(await client.get(key), null)
  await assert.rejects(client.run(null, t => { t.putStream(key, failing()) }), why => why === own)
  client.close()
})

test('a source is sent once, and again only if nothing was read', async () => {
  let calls = 0
  const server = net.createServer(socket => {
    calls += 1
    socket.on('error', () => {}).once('data', () => socket.write('HTTP/1.1 100 Continue\r\n\r\n')).on('data', () => socket.destroy())
  })
  const client = new Client(await listen(server))
  const { outcome } = await timed(() => client.putStream('k', [Buffer.alloc(200_000)]))
  assert.ok(outcome instanceof aft.Unavailable && /had no effect/.test(outcome.message) && calls === 1, `${outcome} ${calls}`)
  client.close()
  server.close()
  // A proxy turns the call away after it has read the body.
  let read = 0
  const late = (request, response) => {
    read += 1
    request.resume().on('end', () => response.writeHead(429, { 'Retry-After': '0', 'Content-Length': 0 }).end())
  }
  await answering(late, async url => {
    const client = new Client(url)
    await assert.rejects(client.putStream('k', [Buffer.alloc(200_000)]), aft.Unavailable)
    assert.equal(read, 1)
    client.close()
  })
  // A proxy turns the call away before it has read the body.
  let turned = 0
  const handler = (request, response) => {
    turned += 1
    if (turned === 1) return response.writeHead(429, { 'Retry-After': '0', 'Content-Length': 0 }).end()
    response.writeContinue()
    request.resume().on('end', () => response.writeHead(200, { 'Content-Length': 18 }).end('{"committed":true}'))
  }
  const busy = (await import('node:http')).createServer()
  busy.on('checkContinue', handler)
  const other = new Client(await listen(busy))
  await other.putStream('k', [Buffer.alloc(200_000)])
  assert.equal(turned, 2)
  other.close()
  busy.closeAllConnections()
  busy.close()
})

test('a stream that breaks off fails', async () => {
  const head = 'HTTP/1.1 200 OK\r\nAft-Version: 1-1\r\n'
  for (const answer of [`${head}Content-Length: 10\r\n\r\n12345`, `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n`]) {
    const server = net.createServer(socket => socket.on('error', () => {}).once('data', () => {
      socket.write(answer)
      setTimeout(() => socket.destroy(), 20)
    }))
    const client = new Client(await listen(server))
    for (const open of [() => client.stream('k'), () => client.resultStream('r')]) {
      const { stream } = await open()
      await assert.rejects(whole(stream), error => error instanceof aft.Unavailable && /broke off/.test(error.message))
    }
    client.close()
    server.close()
  }
  const silent = net.createServer(socket => socket.on('error', () => {}).once('data', () => socket.write(`${head}Content-Length: 10\r\n\r\n12345`)))
  const client = new Client(await listen(silent), { callTimeoutMs: 150 })
  const { stream } = await client.stream('k')
  await assert.rejects(whole(stream), /nothing was received for 150 ms/)
  const controller = new AbortController()
  const aborted = await client.stream('k', { signal: controller.signal })
  setTimeout(() => controller.abort(), 20)
  await assert.rejects(whole(aborted.stream), { name: 'AbortError' })
  client.close()
  silent.close()
})

test('a reader may take its time', async () => {
  const [client, key] = [new Client(URL_OF_SERVER, { callTimeoutMs: 150 }), fresh()]
  await client.put(key, Buffer.alloc(8 << 20))
  const { stream } = await client.stream(key)
  let len = 0
  for await (const part of stream) {
    if (len === 0) await sleep(400)
    len += part.length
  }
  assert.equal(len, 8 << 20)
  client.close()
})

test('an answer that is too large for memory names the remedy', async () => {
  let calls = 0
  const handler = (request, response) => { calls += 1; response.writeHead(200, { 'Aft-Version': '1-1', 'Content-Length': (256 << 20) + 1 }).flushHeaders() }
  await answering(handler, async url => {
    const client = new Client(url)
    await assert.rejects(client.get('k'), error => error instanceof aft.Invalid && /268435457 bytes.*stream/.test(error.message))
    assert.equal(calls, 1)
    client.close()
  })
})

test('results of any size are streamed', async () => {
  const [client, request] = [new Client(URL_OF_SERVER), fresh()]
  const large = Buffer.alloc(3 << 20, 7)
  const t = await client.begin(request)
  assert.ok((await fetch(`${URL_OF_SERVER}/v1/transactions/${t.token}/result`, { method: 'PUT', body: large })).ok)
  await t.commit()
  const { stream, size } = await client.resultStream(request)
  assert.equal(size, large.length)
  assert.ok(large.equals(await whole(stream)))
  assert.equal(await client.resultStream(fresh()), null)
  client.close()
})

test('the time that a source takes is not the server\'s silence', async () => {
  const client = new Client(URL_OF_SERVER, { callTimeoutMs: 200 })
  const key = fresh()
  const slow = async function * () { yield Buffer.from('a'); await sleep(700); yield Buffer.from('b'); await sleep(300) }
  for (const size of [undefined, 2]) {
    await client.putStream(key, slow(), { size })
    assert.equal(text(await client.get(key)), 'ab')
  }
  await client.run(null, t => t.putStream(`${key}/in`, slow()))
  assert.equal(text(await client.get(`${key}/in`)), 'ab')
  client.close()
})

test('a call that was not sent to its end had no effect', async () => {
  // The server goes away while the source has more, or while a large body is sent.
  const server = (await import('node:net')).createServer(socket => {
    let len = 0
    socket.on('error', () => {}).write('HTTP/1.1 100 Continue\r\n\r\n')
    socket.on('data', chunk => { len += chunk.length; if (len > 100_000) socket.destroy() })
  })
  const client = new Client(await listen(server), { runMsMax: 300 })
  const source = async function * () { for (;;) { yield Buffer.alloc(50_000); await sleep(20) } }
  for (const call of [() => client.putStream('k', source()), () => client.put('k', Buffer.alloc(32 << 20))]) {
    await assert.rejects(call(), error => error instanceof aft.Unavailable && error.retryable && /not sent to its end, and had no effect/.test(error.message))
  }
  client.close()
  server.close()
})

test('a client is closed while a stream is open', async () => {
  const client = new Client(URL_OF_SERVER)
  const key = fresh()
  await client.put(key, Buffer.alloc(4 << 20))
  const [unread, later, read] = await Promise.all([1, 2, 3].map(() => client.stream(key)))
  const all = async stream => { for await (const piece of stream) assert.ok(piece.length > 0) }
  const reading = all(read.stream)
  client.close()
  await assert.rejects(reading, error => error instanceof aft.Unavailable && /the client was closed/.test(error.message))
  // Nobody has listened to the other two.
  await sleep(50)
  await assert.rejects(all(later.stream), error => error instanceof aft.Unavailable && /the client was closed/.test(error.message))
  assert.ok(unread.stream.destroyed)
})
