// One call over HTTP: the connections, the timeouts, and the bodies.

import http from 'node:http'
import https from 'node:https'

import { Invalid, NoAnswer, NotSent, refusal } from './errors.mjs'

// The time that an idle connection is kept: below the 30 s after which a server closes it.
const IDLE_MS_MAX = 20_000
// The most idle connections that are kept: as many as one program usually has calls in flight.
const IDLE_CONNECTIONS_MAX = 64
// The longest answer, which is held in memory as a whole. Larger values and results need a client
// that reads ranges.
const ANSWER_BYTES_MAX = 256 << 20
// The largest body that is sent without an announcement. A larger one is announced (Expect:
// 100-continue), and sent when the server asks for it, or after ANNOUNCED_MS_MAX without an answer.
// So a call that is rejected by its head is rejected before its body is sent. If a server closes
// the connection while it receives a body, its answer is usually lost: Node reads nothing after a
// write that failed.
const UNANNOUNCED_BYTES_MAX = 256 << 10
const ANNOUNCED_MS_MAX = 1_000
// The size of the pieces in which an announced body is sent, so that an answer that comes meanwhile
// is read first.
const PIECE_BYTES = 64 << 10

// The connections to one server. It keeps idle connections open, and does not retry.
export class Transport {
  constructor (url, { token, connectTimeoutMs = 5_000, callTimeoutMs = 30_000 }) {
    const wrong = () => new Invalid(
      `${JSON.stringify(url)} is not the URL of a server: write http://HOST:PORT, without a path`
    )
    let parts
    try { parts = new URL(url) } catch { throw wrong() }
    const plain = parts.pathname === '/' && !parts.search && !parts.username
    if (!['http:', 'https:'].includes(parts.protocol) || !plain) throw wrong()
    if (token !== undefined && !/^[!-~]+$/.test(token)) throw new Invalid(
      'the bearer token contains characters that a header cannot hold: remove line breaks from it'
    )
    this.module = parts.protocol === 'https:' ? https : http
    this.agent = new this.module.Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX, timeout: IDLE_MS_MAX })
    this.base = { hostname: parts.hostname.replace(/^\[|\]$/g, ''), port: parts.port || undefined, agent: this.agent }
    this.token = token
    this.connectTimeoutMs = connectTimeoutMs
    this.callTimeoutMs = callTimeoutMs
  }

  // Sends a call and returns its answer, a success. Throws the server's error, NotSent, or
  // NoAnswer.
  async send (method, path, body, headers = {}, timeoutMs = this.callTimeoutMs) {
    const all = { ...headers }
    if (body !== undefined) all['Content-Length'] = body.length
    if (body !== undefined && body.length > UNANNOUNCED_BYTES_MAX) all.Expect = '100-continue'
    if (this.token !== undefined) all.Authorization = `Bearer ${this.token}`
    const answer = await new Promise((resolve, reject) => {
      let connected = false
      // True once the answer has begun. From then on the end of the answer decides, not errors of
      // the request.
      let answering = false
      // The message of the request's first error.
      let broken = null
      const timers = []
      const fail = why => {
        timers.forEach(clearTimeout)
        reject(connected ? new NoAnswer(`no answer: ${why}`) : new NotSent(`cannot connect: ${why}`))
      }
      const request = this.module.request({ ...this.base, method, path, headers: all })
      const after = (ms, why) => timers.push(setTimeout(() => request.destroy(new Error(why)), ms))
      after(timeoutMs, `timed out after ${timeoutMs} ms`)
      request.on('socket', socket => {
        socket.setNoDelay(true)
        // A server may answer and close while the body is still being written. Later errors of the
        // socket have no listener then, and must not end the process.
        if (!heard.has(socket)) {
          heard.add(socket)
          socket.on('error', () => {})
        }
        connected = !socket.connecting
        if (connected) return
        const connecting = setTimeout(() => request.destroy(new Error(`timed out after ${this.connectTimeoutMs} ms`)), this.connectTimeoutMs)
        timers.push(connecting)
        socket.once('connect', () => {
          connected = true
          clearTimeout(connecting)
        })
      })
      request.on('error', why => {
        broken ??= why.message
        // A server may reject a large body before it has received all of it, and close. Its answer
        // may be arriving: then its end decides.
        if (!answering) fail(broken)
      })
      request.on('response', response => {
        const { 'content-length': length, 'transfer-encoding': coding } = response.headers
        // Without a length, a broken connection would look like the end of the answer.
        if (length === undefined && coding === undefined && response.statusCode !== 204) return request.destroy(new Error(
          'the answer states no length, so a broken connection could not be detected'
        ))
        answering = true
        const chunks = []
        let len = 0
        response.on('data', chunk => {
          chunks.push(chunk)
          len += chunk.length
          if (len > ANSWER_BYTES_MAX) request.destroy(new Error('the answer is longer than 256 MiB'))
        })
        response.on('error', why => fail(broken ?? why.message))
        // After 'end' this has no effect: the promise is settled.
        response.on('close', () => fail(broken ?? 'the answer is incomplete'))
        response.on('end', () => {
          if (!response.complete) return fail(broken ?? 'the answer is incomplete')
          timers.forEach(clearTimeout)
          const sent = request.writableFinished
          // The server does not read the rest of the body.
          if (!sent) request.destroy()
          // A success to a part of the body says nothing about the call.
          if (!sent && response.statusCode < 400) return fail(`the server answered status ${response.statusCode} before the whole body was sent`)
          resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) })
        })
      })
      if (body === undefined || body.length <= UNANNOUNCED_BYTES_MAX) return request.end(body)
      let sending = false
      const send = () => {
        if (sending || answering) return
        sending = true
        sendPiece(request, body, 0, () => answering || request.destroyed)
      }
      request.on('continue', send)
      timers.push(setTimeout(send, ANNOUNCED_MS_MAX))
      request.flushHeaders()
    })
    if (answer.status >= 200 && answer.status < 300) return answer
    throw refusal(answer.status, answer.body)
  }
}

function sendPiece (request, body, at, over) {
  if (over()) return
  const end = Math.min(at + PIECE_BYTES, body.length)
  if (end === body.length) return request.end(body.subarray(at))
  request.write(body.subarray(at, end), why => {
    // The request gets the same error.
    if (!why) setImmediate(sendPiece, request, body, end, over)
  })
}

export function reply (answer) {
  try {
    const reply = JSON.parse(answer.body.toString())
    if (reply !== null && typeof reply === 'object') return reply
  } catch { /* The body is not JSON. */ }
  throw new NoAnswer('the answer is not a valid reply')
}

// The sockets that have a listener for late errors.
const heard = new WeakSet()
