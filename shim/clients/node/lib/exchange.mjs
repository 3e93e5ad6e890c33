// One call over HTTP, from the connection to the end of the answer.

import { Aborted, Invalid, NoAnswer, NotSent } from './errors.mjs'
import { onAbort } from './pace.mjs'
import { quote } from './refusals.mjs'
import { Download, Source } from './streams.mjs'
import { Limit } from './turns.mjs'

// The longest answer that is held in memory as a whole.
const ANSWER_BYTES_MAX = 256 << 20
// The largest body that is sent without an announcement. A larger one is announced (Expect:
// 100-continue), and sent when the server asks for it, or after ANNOUNCED_MS_MAX without an answer.
// So a call that is rejected by its head is rejected before its body is sent. If a server closes
// the connection while it receives a body, its answer is usually lost: Node reads nothing after a
// write that failed.
const UNANNOUNCED_BYTES_MAX = 256 << 10
const ANNOUNCED_MS_MAX = 1_000
// The size of the pieces in which a large body is sent, so that its progress is seen, and an answer
// that comes meanwhile is read first.
const PIECE_BYTES = 64 << 10
// The most bytes of a body that the system holds when all of it is handed over, and the rate at
// which they are taken to leave: the client does not see them go, so the silence after a large body
// may be longer by the time that they need.
const HELD_BYTES_MAX = 8 << 20
const HELD_BYTES_PER_MS = 128

// The sockets that have a listener for late errors.
const heard = new WeakSet()

export class Exchange {
  // `call` has `method`, `path`, `headers`, `body` (a Buffer, a Source, or undefined), `pace`, and
  // `isStreamed` if the body of a success is to be read by the caller.
  constructor (transport, call) {
    this.transport = transport
    this.call = call
    this.isConnected = false
    // True once the answer has begun. From then on the end of the answer decides, not errors of the
    // request.
    this.isAnswering = false
    // True once the last piece of the call was handed over. Before that the server cannot have the
    // whole call, and carries out no part of one.
    this.isWhole = false
    // True once an interim answer has come.
    this.hasInterim = false
    // The request's first error.
    this.broken = null
    this.connecting = null
    this.announced = null
    this.silence = null
    this.silenceMs = call.pace.silenceMs(transport.callTimeoutMs)
  }

  run () {
    return new Promise((resolve, reject) => {
      this.resolve = value => { this.#end(); resolve(value) }
      this.reject = why => { this.#end(); reject(why) }
      this.endSignals = onAbort(this.call.pace.signals, signal => this.#abort(signal))
      this.#start()
    })
  }

  #end () {
    this.isEnded = true
    this.connecting?.end()
    clearTimeout(this.announced)
    this.silence?.end()
    this.endSignals()
  }

  #abort (signal) {
    this.reject(new Aborted(signal.reason, this.isConnected && this.isWhole))
    this.request.destroy()
  }

  #start () {
    const { method, path, headers, body } = this.call
    const { server, pool, token } = this.transport
    const all = { ...headers }
    const isSource = body instanceof Source
    const len = isSource ? body.size : body?.length
    if (len !== undefined) all['Content-Length'] = len
    const isAnnounced = len === undefined ? isSource : len > (isSource ? 0 : UNANNOUNCED_BYTES_MAX)
    if (isAnnounced) all.Expect = '100-continue'
    if (token !== undefined) all.Authorization = `Bearer ${token}`
    this.request = server.module.request({
      hostname: server.hostname, port: server.port, agent: pool.fresh(), method, path, headers: all
    })
    this.request.on('socket', socket => this.#onSocket(socket))
    this.request.on('error', why => this.#onError(why))
    this.request.on('information', () => { this.hasInterim = true })
    this.request.on('response', response => this.#onResponse(response))
    if (!isAnnounced) {
      if (isSource) return this.#sendSource(body)
      if (len > PIECE_BYTES) return this.#sendPiece(0)
      return this.#sendLast(body)
    }
    this.sendBody = () => {
      if (this.isSending || this.isOver()) return
      this.isSending = true
      if (isSource) this.#sendSource(body)
      else this.#sendPiece(0)
    }
    this.request.on('continue', () => { this.#touch(); this.sendBody() })
    this.request.flushHeaders()
  }

  isOver () { return this.isAnswering || this.request.destroyed }

  #onSocket (socket) {
    this.socket = socket
    this.readBefore = socket.bytesRead
    socket.setNoDelay(true)
    // A server may answer and close while the body is still being written. Later errors of the
    // socket have no listener then, and must not end the process.
    if (!heard.has(socket)) {
      heard.add(socket)
      socket.on('error', () => {})
    }
    const { isSecure } = this.transport.server
    if (this.request.reusedSocket || !(isSecure ? socket.secureConnecting : socket.connecting)) return this.#connected()
    const ms = Math.min(this.transport.connectTimeoutMs, this.silenceMs)
    this.connecting = new Limit(ms, () => this.request.destroy(new Error(`timed out after ${Math.ceil(ms)} ms`)))
    socket.once('connect', () => { this.isOpen = true })
    // With TLS nothing of the call is sent before both sides agree.
    socket.once(isSecure ? 'secureConnect' : 'connect', () => {
      this.connecting.end()
      this.#connected()
    })
  }

  #connected () {
    this.isConnected = true
    this.#watch(this.silenceMs)
    if (this.sendBody) this.announced = setTimeout(this.sendBody, ANNOUNCED_MS_MAX)
  }

  // Notes that bytes went in one of the directions.
  #touch () { this.silence?.move() }

  #watch (ms) {
    // The last bytes of a body may be taken over after the answer has come. By then another call
    // may have the connection.
    if (this.isEnded) return
    this.silence?.end()
    this.silence = new Limit(ms, () => this.request.destroy(new Error(`nothing was sent or received for ${Math.ceil(ms)} ms`)))
  }

  // Notes that all `len` bytes of a body are handed over to the system.
  #handedOver (len) {
    if (len <= PIECE_BYTES || this.isOver()) return this.#touch()
    const ms = this.silenceMs + Math.min(len, HELD_BYTES_MAX) / HELD_BYTES_PER_MS
    this.#watch(Math.max(this.silenceMs, Math.min(ms, this.call.pace.remaining())))
  }

  #onError (why) {
    this.broken ??= why
    // A server may reject a large body before it has received all of it, and close. Its answer may
    // be arriving: then its end decides.
    if (!this.isAnswering) this.#fail(why)
  }

  #fail (why) { this.reject(this.failure(this.broken ?? why)) }

  // Returns the error of a call that has no answer.
  failure (why) {
    const { isSecure, name } = this.transport.server
    const text = textOf(why)
    if (!this.isConnected) {
      const isRefused = isSecure && this.isOpen && isOfTls(why)
      if (isRefused) return new NotSent(`${name} cannot be spoken to over TLS: ${text}${remedy(why)}`, true)
      return new NotSent(`cannot connect to ${name}: ${text}`)
    }
    const isSilent = !this.isAnswering && this.socket?.bytesRead === this.readBefore
    // With TLS 1.3 a server asks for the client's certificate after the client has begun to send,
    // and reads nothing of the call if it does not accept the certificate.
    if (isSecure && ALERT.test(why.code)) return new NotSent(`${name} rejected the client's certificate: ${text}${remedy(why)}`, true)
    if (!isSecure && isTlsRecord(why.rawPacket)) return new NotSent(`${name} speaks TLS: write https:// in the URL`, true)
    if (this.#isOtherProtocol(why)) return new NotSent(
      `${name} does not speak HTTP, so this is not AFT's answer: it begins with ${quote(why.rawPacket)}; check the host and the port of the URL`, true
    )
    if (!this.isWhole && !this.isAnswering) return new NotSent(`the call was not sent to its end, and had no effect: ${text}`)
    return new NoAnswer(`no answer: ${text}`, { isStale: isSilent && this.request.reusedSocket && BROKEN.has(why.code) })
  }

  // Returns true if the first bytes on a connection are no answer: a server of another kind
  // understands no call. After an answer, or a part of one, they could be a rest of it.
  #isOtherProtocol (why) {
    const isFirst = !this.isAnswering && !this.hasInterim && !this.request.reusedSocket
    return isFirst && /^HPE_/.test(why.code) && /Expected HTTP\//.test(why.reason ?? why.message) && why.rawPacket?.length > 0
  }

  #onResponse (response) {
    const { 'content-length': length, 'transfer-encoding': coding } = response.headers
    const { statusCode: status, headers } = response
    const { pool } = this.transport
    // Without a length, a broken connection would look like the end of the answer.
    if (length === undefined && coding === undefined && status !== 204) return this.request.destroy(new Error(
      'the answer states no length, so a broken connection could not be detected'
    ))
    this.isAnswering = true
    response.on('end', () => pool.used(this.socket))
    this.#watch(this.silenceMs)
    if (this.call.isStreamed && status < 300) {
      this.resolve({ status, headers, stream: new Download(this, response, length === undefined ? null : Number(length)) })
      return
    }
    const isTooLong = len => {
      if (len <= ANSWER_BYTES_MAX) return
      this.reject(new Invalid(
        `the answer has ${length ?? 'too many'} bytes, and at most 256 MiB are held in memory: use stream, resultStream or getRange`
      ))
      this.request.destroy()
      return true
    }
    if (isTooLong(Number(length ?? 0))) return
    const chunks = []
    let len = 0
    response.on('data', chunk => {
      this.#touch()
      chunks.push(chunk)
      len += chunk.length
      isTooLong(len)
    })
    const cut = () => this.#fail(new Error('the answer is incomplete'))
    response.on('error', why => this.#fail(why))
    // After 'end' this has no effect: the promise is settled.
    response.on('close', cut)
    response.on('end', () => {
      if (!response.complete) return cut()
      const isSent = this.request.writableFinished
      // The server does not read the rest of the body.
      if (!isSent) this.request.destroy()
      // A success to a part of the body says nothing about the call.
      if (!isSent && status < 300) return this.#fail(new Error(`the server answered status ${status} before the whole body was sent`))
      this.resolve({ status, headers, body: Buffer.concat(chunks) })
    })
  }

  #sendPiece (at) {
    const { body } = this.call
    if (this.isOver()) return
    const end = Math.min(at + PIECE_BYTES, body.length)
    const piece = body.subarray(at, end)
    if (end === body.length) return this.#sendLast(piece, () => this.#handedOver(body.length))
    this.request.write(piece, why => {
      // The request gets the same error.
      if (why) return
      this.#touch()
      setImmediate(() => this.#sendPiece(end))
    })
  }

  #sendLast (piece, onSent) {
    this.isWhole = true
    this.request.end(piece, onSent)
  }

  async #sendSource (source) {
    const write = piece => new Promise(resolve => {
      this.#watch(this.silenceMs)
      // Without a callback of its own a write that fails would never end.
      this.request.once('close', resolve)
      this.request.write(piece, () => {
        this.request.off('close', resolve)
        this.#touch()
        resolve()
      })
    })
    try {
      // The time that the source takes is not the server's silence.
      if (!this.isOver()) this.silence?.end()
      await source.send(async piece => {
        for (let at = 0; at < piece.length && !this.isOver(); at += PIECE_BYTES) await write(piece.subarray(at, at + PIECE_BYTES))
        if (!this.isOver()) this.silence?.end()
        return !this.isOver()
      })
      if (this.isOver()) return
      this.#watch(this.silenceMs)
      this.#sendLast(undefined, () => this.#handedOver(source.len))
    } catch (why) {
      // The body stays incomplete, so the server drops the call.
      this.reject(new Aborted(why, false))
      this.request.destroy()
    }
  }
}

// Returns the text of an error: OpenSSL's reason without the place in its source, and the texts of
// all addresses that were tried.
function textOf (why) {
  const text = why.reason || why.message || why.errors?.map(each => each.message).join('; ') || why.code || 'the connection was closed'
  const opened = /:SSL routines:[^:]*:([^:]+):/.exec(text)
  return (opened?.[1] ?? text).replace(/\s+/g, ' ').trim()
}

// Errors of a connection that was closed.
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED'])

// The alerts with which a server rejects a client's certificate.
const ALERT = /^ERR_SSL_.*ALERT_((BAD_|NO_|UNSUPPORTED_)?CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)/

// Returns true if TLS failed, rather than the connection below it: errors of sockets have codes
// like ECONNRESET, and those of TLS have codes like CERT_HAS_EXPIRED or
// ERR_SSL_WRONG_VERSION_NUMBER.
const isOfTls = why => why.code === 'EPROTO' || (why.code !== undefined && !/^E[A-Z]+$/.test(why.code))

// Returns true if bytes begin like a record of TLS that holds an alert.
const isTlsRecord = bytes => bytes?.[0] === 0x15 && bytes[1] === 0x03

const REMEDIES = [
  [/SELF_SIGNED|UNABLE_TO_|ISSUER/, 'give the root of its certificate by `ca`'],
  [/EXPIRED|NOT_YET_VALID/, 'renew its certificate, or check the clock'],
  [/ALTNAME|HOSTNAME/, 'write the host that its certificate names'],
  [/ALERT/i, 'give a certificate that it accepts by `certificate` and `key`'],
  [/EPROTO|WRONG_VERSION_NUMBER|PACKET_LENGTH|HTTP_REQUEST/, 'write http:// if the server does not speak TLS']
]

function remedy (why) {
  const found = REMEDIES.find(([pattern]) => pattern.test(`${why.code} ${textOf(why)}`))
  return found === undefined ? '' : `; ${found[1]}`
}
