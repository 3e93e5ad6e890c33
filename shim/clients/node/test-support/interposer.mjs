// A server between client and server that plays a script call by call.

import http from 'node:http'

import { Client } from '../index.mjs'
import { SERVER, URL_OF_SERVER, fresh, increment, listen, number } from './index.mjs'

export const PASS = 'pass'
export const CUT_BEFORE = 'cut before'
export const CUT_AFTER = 'cut after'
export const BAD_GATEWAY = 'bad gateway'

const ACTIONS = {
  snapshot_gone: [409, 'retry'], conflict: [409, 'retry'], lost: [409, 'retry'], overloaded: [429, 'retry'], not_serving: [503, 'retry'],
  store_unavailable: [503, 'retry'], unknown: [503, 'unknown'], in_progress: [409, 'conflict'], key_reused: [422, 'conflict'],
  result_gone: [410, 'conflict'], session_lost: [409, 'invalid'], invalid: [400, 'invalid'], not_found: [404, 'not_found'],
  no_such_path: [404, 'not_found'], unauthorized: [401, 'unauthorized'], damaged: [503, 'internal'], of_next_year: [409, 'retry']
}

// Answers of proxies and portals.
const PAGES = { page: 200, moved: 308, 'forbidden page': 403, 'too many': 429 }

function nameOf (method, path) {
  const parts = path.split('?')[0].split('/').slice(2)
  if (parts[0] === 'transactions') {
    if (parts.length === 1) return 'begin'
    if (parts[2] !== 'keys') return parts[2]
    return parts.length === 3 ? 'keys' : method === 'GET' ? 'get' : 'put'
  }
  return { execute: 'execute', requests: 'request' }[parts[0]] ?? 'alone'
}

// Starts a server between client and server that records every call, and does with each what a
// script says.
export async function interpose (script, use) {
  const calls = []
  const server = http.createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const name = nameOf(request.method, request.url)
    const act = script(name, calls.filter(other => other === name).length)
    calls.push(name)
    if (act === CUT_BEFORE) return request.socket.destroy()
    if (act === BAD_GATEWAY) return response.writeHead(502).end('<h1>Bad gateway</h1>')
    if (act === 'json') return response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"status":"ok"}')
    if (act in PAGES) return response.writeHead(PAGES[act], { Location: 'https://elsewhere.example/' }).end('<h1>A proxy</h1>')
    if (act in ACTIONS) {
      const [status, action] = ACTIONS[act]
      const problem = { type: 'x', title: 'x', status, detail: 'the script says so', code: act, action }
      if (act === 'overloaded' || act === 'in_progress') problem.retry_after_ms = 20
      return response.writeHead(status, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify(problem))
    }
    const { host, connection, ...headers } = request.headers
    const up = http.request({ hostname: SERVER.hostname, port: SERVER.port, method: request.method, path: request.url, headers })
    up.on('response', async answer => {
      const chunks = []
      for await (const chunk of answer) chunks.push(chunk)
      if (act === CUT_AFTER) return request.socket.destroy()
      const { connection, ...headers } = answer.headers
      response.writeHead(answer.statusCode, headers).end(Buffer.concat(chunks))
    })
    up.end(Buffer.concat(chunks))
  })
  const url = await listen(server)
  try {
    return await use({ url, take: () => calls.splice(0) })
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

// Runs an increment through a script. Returns the outcome, the number of calls of the function, the
// counter as the server has it, and the HTTP calls.
export async function go (named, script) {
  const counter = fresh()
  let called = 0
  return interpose(script, async ({ url, take }) => {
    const client = new Client(url, { runMsMax: 3_000 })
    const run = client.run(named ? fresh() : null, async t => {
      called += 1
      return String(await increment(t, counter))
    })
    const outcome = await run.catch(why => why)
    client.close()
    return { outcome, called, counter: number(await new Client(URL_OF_SERVER).get(counter)), calls: take() }
  })
}
