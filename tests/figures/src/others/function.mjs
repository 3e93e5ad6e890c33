// The same transfer as a function over AFT: it is invoked over HTTP, and does its work in a
// transaction that has the request's ID. Prints the port that it serves at, and ends with the
// process that started it.
//
//     node function.mjs CLIENT AFT LEVEL PREFIX OPENING

import http from 'node:http'
import { pathToFileURL } from 'node:url'

const [path, url, isolation, prefix, opening] = process.argv.slice(2)
const { Client } = await import(pathToFileURL(path))
const client = new Client(url)

async function held (t, key) {
  const value = await t.get(key)
  return value ? JSON.parse(value.bytes) : { balance: Number(opening), moves: 0 }
}

async function transfer (t, { from, to, amount }) {
  const one = await held(t, prefix + from)
  const other = await held(t, prefix + to)
  if (one.balance < amount) throw new Error('not enough')
  const left = one.balance - amount
  await t.put(prefix + from, JSON.stringify({ balance: left, moves: one.moves + 1 }))
  await t.put(prefix + to, JSON.stringify({ balance: other.balance + amount, moves: other.moves + 1 }))
  return JSON.stringify({ left })
}

async function serve (request, response) {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  const asked = JSON.parse(Buffer.concat(pieces))
  const id = request.headers['idempotency-key']
  const reads = [prefix + asked.from, prefix + asked.to]
  const ran = await client.run(id, t => transfer(t, asked), { isolation, reads })
  response.writeHead(200, { 'content-type': 'application/json', 'attempts': ran.attempts })
  response.end(ran.result)
}

const server = http.createServer((request, response) => {
  serve(request, response).catch(why => {
    response.writeHead(500)
    response.end(`${why.name}: ${why.message}`)
  })
})
// Longer than any pause of a load, so that connections stay open.
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => console.log(`serves at port ${server.address().port}`))
