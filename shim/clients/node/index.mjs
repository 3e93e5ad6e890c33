// A client of AFT's HTTP API. Node's own modules only; Node 18 or newer.
//
//     const client = new Client('http://127.0.0.1:7400')
//     const ran = await client.run('order-22', async t => {
//       const stock = await t.get('stock/tea')
//       const left = stock ? Number(stock.bytes) : 0
//       if (left === 0) return 'sold out'
//       await t.put('stock/tea', String(left - 1))
//       await t.put('orders/22', '1 tea')
//       return 'sold'
//     })                                    // takes effect once, also if it is called again
//     ran.result, ran.replayed              // <Buffer 'sold'>, false
//
// Concurrent runs: runs are serializable. If two runs read the same stock and both take one from
// it, one commits, and the other runs again, so that no order is lost.
//
// Safe retries: a call that cannot commit is repeated freely, in a new transaction, since the old
// transaction's writes were never visible to others. A call that commits is repeated only in a form
// that can commit neither twice nor in part: the same call on the same transaction, or another
// attempt under the same request ID. Where neither is possible, the error is `Unknown`.
// (docs/decisions/0008-clients.md)
//
// Values are bytes; text is written as UTF-8. The arguments, results and errors of each call are
// documented in index.d.ts.

import { randomUUID } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'

// The time that an idle connection is kept: below the 30 s after which a server closes it.
const IDLE_MS_MAX = 20_000
// The most idle connections that are kept: as many as one program usually has calls in flight.
const IDLE_CONNECTIONS_MAX = 64
// The largest value that is buffered. A larger one is sent at once, as a raw body: its cost is in
// its bytes, not in the call.
const BUFFERED_VALUE_BYTES_MAX = 64 << 10
// The most writes that are buffered: half of what one call may have.
const BUFFERED_WRITES_MAX = 500
// The most bytes of buffered writes that can be set: in base64 they are, with some room, below the
// 8 MiB that a body may have.
const WRITE_BUFFER_BYTES_LIMIT = 4 << 20
// The longest time that an opening waits, on the server, for another open attempt of its request:
// the servers' default.
const WAIT_MS_MAX = 5_000
// The most times that a call inside a transaction is sent, if repeating it is harmless.
const TRIES_IN_PLACE_MAX = 3
// The most times that a commit is sent if the request has an ID. After that a new attempt finds out
// as much, and makes progress.
const COMMIT_AGAIN_MAX = 3
// The first pause between tries: a few round trips to a store.
const PAUSE_MS_FIRST = 10
// The longest pause that the client chooses: short enough that a person who waits does not notice a
// stall.
const PAUSE_MS_MAX = 1_000
// The longest pause that a server may ask for: above the values that servers send, far below a
// run's time.
const ASKED_MS_MAX = 5_000
// The longest key in bytes, as the server has it.
const KEY_BYTES_MAX = 1_088
// The longest answer, which is held in memory as a whole. Larger values and results need a client
// that reads ranges.
const ANSWER_BYTES_MAX = 256 << 20
// The largest body that is sent without an announcement. A larger one is announced
// (Expect: 100-continue), and sent when the server asks for it, or after ANNOUNCED_MS_MAX without
// an answer. So a call that is rejected by its head is rejected before its body is sent. If a
// server closes the connection while it receives a body, its answer is usually lost: Node reads
// nothing after a write that failed.
const UNANNOUNCED_BYTES_MAX = 256 << 10
const ANNOUNCED_MS_MAX = 1_000
// The size of the pieces in which an announced body is sent, so that an answer that comes meanwhile
// is read first.
const PIECE_BYTES = 64 << 10
// The time that a run waits for the answer to its abort. The abort's only use is that other
// attempts do not wait for a dead one.
const ABORT_MS_MAX = 2_000
// The most commits that a session token names.
const SESSION_LEN_MAX = 8
// The bytes before the commits, by the token's format: the format's number, and the time until
// which transactions are fresh; in format 3 also the node through which everything was seen, and
// the time after which that counts.
const SESSION_PREFIX_LEN = { 2: 1 + 8, 3: 1 + 8 + 8 + 8 }
// The bytes of a commit: its identity (time, attempt, request hash), the time when the client heard
// of it, and flags.
const SESSION_IDENTITY_LEN = 8 + 16 + 32
const SESSION_ENTRY_LEN = SESSION_IDENTITY_LEN + 8 + 1
// The time for which a merged session covers commits that it has no room for, by making
// transactions fresh.
const SESSION_COVER_MS = 60_000n
const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

// --- errors

export class AftError extends Error {
  constructor (detail, problem) {
    super(detail)
    this.name = new.target.name
    this.detail = detail
    this.problem = problem ?? null
    this.requestId = null
    this.transaction = problem?.transaction ?? null
  }

  get code () { return this.problem?.code ?? null }
  get retryAfterMs () { return this.problem?.retry_after_ms ?? null }
  get retryable () { return this instanceof Retry || this instanceof Unavailable }

  /** @internal */
  _about (requestId, transaction) {
    this.requestId = requestId ?? null
    this.transaction = transaction ?? this.transaction
    const about = [this.code && `[${this.code}]`, this.requestId && `(request ${JSON.stringify(this.requestId)})`,
      this.transaction && `(transaction ${this.transaction})`]
    this.message = [this.detail, ...about.filter(Boolean)].join(' ')
    return this
  }
}
export class Retry extends AftError {}
export class Unavailable extends AftError {}
export class Unknown extends AftError {}
export class InProgress extends AftError {}
export class KeyReused extends AftError {}
export class ResultGone extends AftError {}
export class Invalid extends AftError {}
export class ConditionFailed extends Invalid {}
export class NotFound extends AftError {}
export class Unauthorized extends AftError {}
export class Internal extends AftError {}

// The call had no effect, and will have none.
class NotSent extends Error {}
// The call may have had its effect, or may still have it.
class NoAnswer extends Error {}

const OF_CODE = new Map(Object.entries({
  overloaded: Unavailable, not_serving: Unavailable, store_unavailable: Unavailable, in_progress: InProgress,
  key_reused: KeyReused, result_gone: ResultGone, condition_failed: ConditionFailed
}))
const OF_ACTION = new Map(Object.entries({
  retry: Retry, unknown: Unknown, conflict: Invalid, invalid: Invalid, not_found: NotFound, unauthorized: Unauthorized,
  internal: Internal
}))

function refusal (status, body) {
  try {
    const problem = JSON.parse(body.toString())
    const Kind = OF_CODE.get(problem.code) ?? OF_ACTION.get(problem.action)
    if (Kind) return new Kind(String(problem.detail ?? problem.code), problem)
  } catch { /* The body is not a problem document. */ }
  const text = `the answer has status ${status} and no problem document; it may come from a proxy`
  // The server's HTTP library rejects a call with these statuses before it is read. Any other comes
  // from a proxy, which may have passed the call on.
  return [400, 414, 431].includes(status) ? new Invalid(text) : new NoAnswer(text)
}

const isOurs = why => why instanceof AftError || why instanceof NotSent || why instanceof NoAnswer

// Returns the error of a call that cannot commit. An exception that is neither the server's error
// nor a lost answer is a bug in this file, and is thrown.
function harmless (why) {
  if (!isOurs(why)) throw why
  return why instanceof AftError ? why : new Unavailable(why.message)
}

// Returns the error of a call that commits.
const committing = why => why instanceof NoAnswer ? new Unknown(why.message) : harmless(why)

// --- values, operations and outcomes

export const Op = Object.freeze({
  get: key => ({ get: checked(key) }),
  put: (key, value, contentType, condition) => {
    const op = { put: checked(key), value: bytes(value), ...conditionOf(condition) }
    return contentType === undefined || contentType === null ? op : { ...op, contentType }
  },
  delete: (key, condition) => ({ delete: checked(key), ...conditionOf(condition) }),
  check: (key, condition) => {
    const given = conditionOf(condition)
    if (Object.keys(given).length === 0) throw new Invalid(
      'a check without a condition does nothing: give it ifAbsent, ifVersion or ifValue'
    )
    return { check: checked(key), ...given }
  },
  add: (key, by) => {
    if (!Number.isSafeInteger(by)) throw new Invalid(
      `an add needs a whole number between -(2^53 - 1) and 2^53 - 1, not ${by}`
    )
    return { add: checked(key), by }
  }
})

// Returns a condition's field of an operation, as the server reads it.
function conditionOf ({ ifAbsent = false, ifVersion, ifValue } = {}) {
  const given = {}
  if (ifAbsent) given.if_absent = true
  if (ifVersion !== undefined) given.if_version = ifVersion
  if (ifValue !== undefined) given.if_value = bytes(ifValue).toString('base64')
  if (Object.keys(given).length > 1) throw new Invalid(
    'an operation can have only one condition: ifAbsent, ifVersion or ifValue'
  )
  return given
}

const keyOf = op => op.get ?? op.put ?? op.delete ?? op.check ?? op.add
const isConditional = op => op.add !== undefined || op.if_absent !== undefined || op.if_version !== undefined || op.if_value !== undefined
const isGet = op => op.get !== undefined
const weight = op => 64 + keyOf(op).length + (op.value?.length ?? 0) + (op.contentType?.length ?? 0)

function opJson (op) {
  if (op.put === undefined) return op
  const { contentType, ...rest } = op
  const json = { ...rest, value: op.value.toString('base64') }
  return contentType === undefined ? json : { ...json, content_type: contentType }
}

function bytes (value) {
  if (value === undefined || value === null) return Buffer.alloc(0)
  if (typeof value === 'string') return Buffer.from(value)
  // Copy the bytes: a buffered write must not change with the caller's buffer.
  if (value instanceof Uint8Array) return Buffer.from(value)
  throw new Invalid(`a value must be a string or a Uint8Array, not ${typeof value}`)
}

function checked (key) {
  if (typeof key !== 'string') throw new Invalid(`a key must be a string, not ${typeof key}`)
  const encoded = Buffer.from(key)
  if (encoded.toString() !== key) throw new Invalid('a key must be valid UTF-8: this one has half of a surrogate pair')
  if (encoded.length < 1 || encoded.length > KEY_BYTES_MAX) {
    throw new Invalid(`a key has 1 to ${KEY_BYTES_MAX} bytes; this one has ${encoded.length}`)
  }
  return key
}

function checkedType (text) {
  if (!/^[ -~]*$/.test(text)) throw new Invalid(`a content type must be printable ASCII, not ${JSON.stringify(text)}`)
  return text
}

const unbase64 = text => Buffer.from(text ?? '', 'base64')

function readOf (read) {
  if (read.value === null || read.value === undefined) return { key: read.key, value: null }
  const value = { bytes: unbase64(read.value), contentType: read.content_type ?? DEFAULT_CONTENT_TYPE, version: read.version ?? '' }
  return { key: read.key, value }
}

// Returns the outcome of a commit. `result` is its own result; that of a replay is in the reply.
function ranOf (reply, replayed, result) {
  const { version = null, result_size: resultSize = null } = reply
  return { result: replayed ? unbase64(reply.result) : result, replayed, version, resultSize, attempts: replayed ? 0 : 1 }
}

function rawValue (answer) {
  const { 'content-type': contentType = DEFAULT_CONTENT_TYPE, 'aft-version': version = '' } = answer.headers
  return { bytes: answer.body, contentType, version }
}

/** @internal */
export function encodeName (text) {
  const escaped = encodeURIComponent(text).replace(/[!'()*]/g, char => '%' + char.charCodeAt(0).toString(16).toUpperCase())
  return escaped.replaceAll('%2F', '/')
}

function lookUpPath (under, requestId, scope) {
  return `/v1/${under}/${encodeName(requestId)}${scope ? `?scope=${encodeURIComponent(scope)}` : ''}`
}

const most = (one, other) => one > other ? one : other

const seenAt = entry => entry.readBigUInt64BE(SESSION_IDENTITY_LEN)

// Returns the contents of a session token: the time until which transactions are fresh, the node
// through which everything was seen, the time after which that counts, and the commits.
function parseSession (token) {
  const raw = Buffer.from(token, 'base64url')
  const prefix = SESSION_PREFIX_LEN[raw[0]]
  const readable = raw.toString('base64url') === token && prefix !== undefined && raw.length >= prefix
  if (!readable || (raw.length - prefix) % SESSION_ENTRY_LEN !== 0) throw new Error(
    'the text is not a session token of format 2 or 3'
  )
  const number = at => at < prefix ? raw.readBigUInt64BE(at) : 0n
  const entries = []
  for (let at = prefix; at < raw.length; at += SESSION_ENTRY_LEN) entries.push(raw.subarray(at, at + SESSION_ENTRY_LEN))
  if (entries.some(entry => entry[SESSION_ENTRY_LEN - 1] > 1)) throw new Error(
    'the text is not a session token: its commits are not readable'
  )
  const [fresh, through, mixed] = [1, 9, 17].map(number)
  const empty = fresh === 0n && through === 0n && mixed === 0n && entries.length === 0
  return { fresh, through, mixed, entries, empty, seen: entries.map(seenAt).reduce(most, 0n) }
}

// Returns the node through which both were seen, and the time after which that counts: by then all
// nodes show what was seen through the other node.
function mergeThrough (one, other) {
  const mixed = most(one.mixed, other.mixed)
  if (one.through === other.through || other.empty) return { through: one.through, mixed }
  if (one.empty) return { through: other.through, mixed }
  const isFirst = one.seen < other.seen || (one.seen === other.seen && one.through < other.through)
  const [earlier, last] = isFirst ? [one, other] : [other, one]
  return { through: last.through, mixed: most(most(mixed, earlier.fresh), earlier.seen + SESSION_COVER_MS) }
}

export function mergeSessions (one, other) {
  // If both have an entry of the same commit, keep the one that was heard of last.
  const entries = new Map()
  const both = [one, other].map(parseSession)
  let fresh = most(both[0].fresh, both[1].fresh)
  for (const session of both) {
    for (const entry of session.entries) {
      const identity = entry.toString('hex', 0, SESSION_IDENTITY_LEN)
      const known = entries.get(identity)
      if (known === undefined || Buffer.compare(known, entry) < 0) entries.set(identity, entry)
    }
  }
  const newest = [...entries.values()].sort(Buffer.compare).reverse()
  for (const entry of newest.slice(SESSION_LEN_MAX)) fresh = most(fresh, seenAt(entry) + SESSION_COVER_MS)
  const { through, mixed } = mergeThrough(...both)
  const format = through === 0n && mixed === 0n ? 2 : 3
  const prefix = Buffer.alloc(SESSION_PREFIX_LEN[format])
  prefix[0] = format
  const numbers = format === 2 ? [fresh] : [fresh, through, mixed]
  numbers.forEach((number, at) => prefix.writeBigUInt64BE(number < 2n ** 64n ? number : 2n ** 64n - 1n, 1 + 8 * at))
  return Buffer.concat([prefix, ...newest.slice(0, SESSION_LEN_MAX)]).toString('base64url')
}

// Returns the header by which a commit repeats its request. With it a server that has forgotten the
// transaction can answer from the request's record. A request ID with control characters cannot be
// sent in a header.
function repeats (requestId) {
  // eslint-disable-next-line no-control-regex
  if (requestId === null || /[\x00-\x1f\x7f]/.test(requestId)) return null
  const escaped = requestId.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  // The header's bytes are UTF-8. Node takes them as text with one byte for each character.
  return { 'Idempotency-Key': Buffer.from(`"${escaped}"`).toString('latin1') }
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/**
 * Returns the shortest and the longest pause in milliseconds after `nth` earlier failures; `asked`
 * is the pause that the server asked for.
 * @internal
 */
export function pauseRange (nth, inProgress, asked) {
  const own = Math.min(PAUSE_MS_FIRST * 2 ** Math.min(nth, 20), PAUSE_MS_MAX)
  if (asked === null) return [own / 2, own]
  // The server named the latest end of the other attempt, which is likely to end earlier.
  if (inProgress) return [Math.min(own, asked) / 2, Math.min(own, asked)]
  // An earlier try is useless. The random part spreads the clients that got the same answer.
  const least = Math.min(asked, ASKED_MS_MAX)
  return [Math.max(least, own / 2), least + own]
}

// The pauses between tries: exponential back-off with jitter, within a total time.
class Pace {
  constructor (ms) {
    this.until = performance.now() + ms
    this.nth = 0
  }

  remaining () { return Math.max(0, this.until - performance.now()) }

  // Pauses after a failure. Returns false at once, without a pause, if the time would be over after
  // it.
  async pause (after) {
    const [least, most] = pauseRange(this.nth, after instanceof InProgress, after.retryAfterMs)
    this.nth += 1
    const ms = least + Math.random() * (most - least)
    if (ms >= this.remaining()) return false
    await sleep(ms)
    return true
  }
}

// --- one call

// The connections to one server. It keeps idle connections open, and does not retry.
class Transport {
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

function reply (answer) {
  try {
    const reply = JSON.parse(answer.body.toString())
    if (reply !== null && typeof reply === 'object') return reply
  } catch { /* The body is not JSON. */ }
  throw new NoAnswer('the answer is not a valid reply')
}

// --- the client

// Returns the result's field of a commit. Without a request ID no later attempt can ask for the
// result, and storing it would need the right to write.
function resultOf (result, requestId) {
  return result.length > 0 && requestId !== null && requestId !== undefined ? { result: result.toString('base64') } : {}
}

// Returns the message that opens an attempt. `level` is the level if the options name none; null
// leaves it to the store.
function beginOf (client, requestId, options, level, waitMs, beside, conflicts) {
  const { scope, fingerprint, timeoutMs = client._options.transactionTimeoutMs, retentionS, overlap, fresh, isolation = level, reads = [] } = options
  const begin = {
    request_id: requestId ?? undefined, scope, fingerprint, timeout_ms: timeoutMs, wait_ms: Math.floor(waitMs), retention_s: retentionS,
    session: client.session ?? undefined
  }
  if (overlap || beside) begin.if_open = 'run'
  if (fresh) begin.fresh = true
  if (isolation !== null) begin.isolation = isolation
  if (conflicts > 0) begin.conflicts = conflicts
  const ops = reads.map(key => ({ get: checked(key) }))
  if (ops.length > 0) begin.ops = ops
  return begin
}

// The default level of runs and whole transactions, which run again after a conflict.
const SERIALIZABLE = 'serializable'

// The sockets that have a listener for late errors.
const heard = new WeakSet()

export class Client {
  constructor (url, options = {}) {
    this._transport = new Transport(url, options)
    const { attemptsMax = 10, runMsMax = 60_000, session = true, writeBufferBytesMax = 1 << 20, transactionTimeoutMs } = options
    this._options = {
      attemptsMax: Math.max(1, attemptsMax),
      runMsMax,
      session,
      transactionTimeoutMs,
      writeBufferBytesMax: Math.min(writeBufferBytesMax, WRITE_BUFFER_BYTES_LIMIT),
      waitMsMax: Math.min(WAIT_MS_MAX, this._transport.callTimeoutMs / 2)
    }
    this._session = null
  }

  close () { this._transport.agent.destroy() }

  get session () { return this._session }

  joinSession (token) { this._committed(token) }

  _committed (token) {
    if (!token || !this._options.session) return
    try {
      // Two transactions at once continue one token in two ways, and a replay starts a new one. So
      // tokens are merged.
      this._session = this._session === null ? token : mergeSessions(token, this._session)
    } catch {
      // The token comes from a newer server: then the last one is kept.
      this._session = token
    }
  }

  async run (requestId, fn, options = {}) {
    const run = new Run(this, requestId, options, SERIALIZABLE)
    for (;;) {
      const opened = await run.open()
      if (!(opened instanceof Transaction)) return opened
      opened._ofRun = true
      let result
      try {
        result = bytes(await fn(opened))
      } catch (own) {
        // If a call of the transaction failed in a way that another attempt may not, run again: the
        // function's error is likely to follow from it. Otherwise throw it, but only if no earlier
        // attempt has committed.
        const doomed = opened._doomed
        await opened._abortQuietly()
        if (doomed !== null && run.mayGoOn() && await run.pace.pause(doomed)) continue
        const found = await run.clearDoubts()
        if (found === null) throw own
        if (found instanceof AftError) throw found
        return found
      }
      const ran = await run.commit(opened, result)
      if (ran !== null) return ran
    }
  }

  async begin (requestId, options = {}) {
    const opened = await new Run(this, requestId, options, null).open()
    return opened instanceof Transaction ? opened : new Transaction(this, requestId, {}, opened)
  }

  async execute (requestId, ops, result, options = {}) {
    // With an ID the server recognises a call that is sent again because its answer was lost, and
    // the call does not conflict with its own write.
    if ((requestId === null || requestId === undefined) && ops.some(isConditional)) requestId = randomUUID()
    const kept = bytes(result)
    const pace = new Pace(this._options.runMsMax)
    let doubt = null
    let conflicts = 0
    for (;;) {
      const waitMs = Math.min(this._options.waitMsMax, pace.remaining())
      const begin = beginOf(this, requestId, options, SERIALIZABLE, waitMs, doubt !== null, conflicts)
      begin.ops = ops.map(opJson)
      Object.assign(begin, resultOf(kept, requestId))
      let error
      try {
        return this._executed(await this._post('/v1/execute', begin), kept, conflicts)
      } catch (why) {
        error = committing(why)._about(requestId)
      }
      if (error instanceof Unknown && (requestId === null || requestId === undefined)) {
        try {
          return this._executed(await this._resolve(error, pace), kept, conflicts)
        } catch (why) {
          if (!why.retryable) throw why
          error = why // The query showed that it did not commit.
        }
      }
      if (error instanceof Unknown) {
        doubt = error
      } else if (!error.retryable && !(error instanceof InProgress)) {
        // Credentials that are rejected now, or a store that is damaged now, say nothing about an
        // earlier try.
        throw error instanceof Unauthorized || error instanceof Internal ? doubt ?? error : error
      }
      if (error.code === 'conflict') conflicts += 1
      if (conflicts >= this._options.attemptsMax || !await pace.pause(error)) throw doubt ?? error
    }
  }

  _executed (reply, result, conflicts) {
    this._committed(reply.session)
    const replayed = reply.replayed ?? false
    const ran = ranOf(reply, replayed, result)
    return { ran: { ...ran, attempts: ran.attempts + conflicts }, reads: (reply.results ?? []).map(readOf) }
  }

  // Asks for the outcome of a commit in doubt of a request without an ID. Only its transaction can
  // be asked; without a token this throws `doubt`.
  async _resolve (doubt, pace) {
    if (doubt.transaction === null) throw doubt
    const reply = await new Transaction(this, null, { transaction: doubt.transaction })._ask('/commit', {}, doubt, pace, Infinity)
    if (reply.batchIsIn) throw doubt
    return reply
  }

  async get (key, { fresh = false } = {}) {
    const path = `/v1/keys/${encodeName(checked(key))}${fresh ? '?fresh=true' : ''}`
    const pace = new Pace(this._options.runMsMax)
    for (;;) {
      let error
      try {
        const answer = await this._transport.send('GET', path, undefined, this._sessionHeader())
        this._committed(answer.headers['aft-session'])
        return rawValue(answer)
      } catch (why) {
        error = harmless(why)
      }
      if (error.code === 'absent') return null
      if (!error.retryable || !await pace.pause(error)) throw error
    }
  }

  async put (key, value, contentType, condition) {
    if (condition !== undefined) return (await this.execute(null, [Op.put(key, value, contentType, condition)])).ran
    const headers = contentType === undefined || contentType === null ? {} : { 'Content-Type': checkedType(contentType) }
    return this._write('PUT', key, bytes(value), headers)
  }

  async delete (key, condition) {
    if (condition !== undefined) return (await this.execute(null, [Op.delete(key, condition)])).ran
    return this._write('DELETE', key, undefined, {})
  }

  async add (key, by = 1) {
    const { reads } = await this.execute(null, [Op.add(key, by)])
    return reads[0]?.value ? Number(reads[0].value.bytes.toString()) : null
  }

  async _write (method, key, body, headers) {
    const path = `/v1/keys/${encodeName(checked(key))}`
    const pace = new Pace(this._options.runMsMax)
    for (;;) {
      let done
      try {
        done = reply(await this._transport.send(method, path, body, { ...headers, ...this._sessionHeader() }))
      } catch (why) {
        const error = committing(why)
        if (error instanceof Unknown) {
          done = await this._resolve(error, pace)
        } else {
          if (error.retryable && await pace.pause(error)) continue
          throw error
        }
      }
      this._committed(done.session)
      return ranOf(done, false, Buffer.alloc(0))
    }
  }

  _sessionHeader () { return this._session === null ? {} : { 'Aft-Session': this._session } }

  async request (requestId, { scope } = {}) {
    const pace = new Pace(this._options.runMsMax)
    for (;;) {
      try {
        return await this._lookUp(requestId, scope)
      } catch (error) {
        if (!error.retryable || !await pace.pause(error)) throw error
      }
    }
  }

  async result (requestId, { scope } = {}) {
    const path = lookUpPath('results', requestId, scope)
    const pace = new Pace(this._options.runMsMax)
    for (;;) {
      let error
      try {
        return (await this._transport.send('GET', path)).body
      } catch (why) {
        error = harmless(why)._about(requestId)
      }
      if (error instanceof NotFound) return null
      if (!error.retryable || !await pace.pause(error)) throw error
    }
  }

  async _lookUp (requestId, scope) {
    try {
      const found = reply(await this._transport.send('GET', lookUpPath('requests', requestId, scope)))
      const { hash, version, committed_at: committedAt, kept_until: keptUntil, keys = [] } = found
      return { hash, version, committedAt, keptUntil, keys, result: unbase64(found.result), resultSize: found.result_size ?? null }
    } catch (why) {
      const error = harmless(why)._about(requestId)
      if (error instanceof NotFound) return null
      throw error
    }
  }

  async _post (path, message, headers = {}) {
    const all = { 'Content-Type': 'application/json', ...headers }
    return reply(await this._transport.send('POST', path, Buffer.from(JSON.stringify(message)), all))
  }
}

// --- a transaction

export class Transaction {
  /** @internal */
  constructor (client, requestId, opened, ran = null, scope = null) {
    this._client = client
    this._requestId = requestId ?? null
    this._scope = scope ?? null
    this.token = opened.transaction ?? ''
    this.ran = ran
    this._ended = ran !== null
    // True if a run commits or aborts it.
    this._ofRun = false
    this._buffer = new Map()
    this._bufferBytes = 0
    // The values that the opening call read, of keys that were not written since.
    this._reads = new Map((opened.results ?? []).map(readOf).map(read => [read.key, read.value]))
    // The first error of a call after which another attempt may succeed.
    this._doomed = null
    // The first error after which writes that the caller believes done may be missing. No commit
    // may follow it.
    this._torn = null
  }

  get replayed () { return this.ran?.replayed ?? false }

  async get (key) {
    this._open()
    const own = this._buffer.get(checked(key))
    if (own !== undefined) {
      if (own.put === undefined) return null
      return { bytes: Buffer.from(own.value), contentType: own.contentType ?? DEFAULT_CONTENT_TYPE, version: 'uncommitted' }
    }
    if (this._reads.has(key)) return this._reads.get(key)
    try {
      return rawValue(await this._send('GET', `/keys/${encodeName(key)}`, undefined, {}, true))
    } catch (why) {
      if (why.code === 'absent') return null
      throw this._failed(why, false)
    }
  }

  async put (key, value, contentType) {
    return this._write(Op.put(key, value, contentType === undefined ? undefined : checkedType(contentType)))
  }

  async delete (key) { return this._write(Op.delete(key)) }

  async * list (prefix = '', { after = '', pageLen = 1_000 } = {}) {
    let next = after
    while (next !== undefined && next !== null) {
      this._open()
      await this._flush([])
      const query = `?prefix=${encodeURIComponent(prefix)}&after=${encodeURIComponent(next)}&limit=${pageLen}`
      let page
      try {
        page = reply(await this._send('GET', `/keys${query}`, undefined, {}, true))
      } catch (why) {
        throw this._failed(why, false)
      }
      yield * page.keys
      next = page.next
    }
  }

  async batch (ops) {
    this._open()
    if (ops.length > BUFFERED_WRITES_MAX || ops.reduce((sum, op) => sum + weight(op), 0) > BUFFERED_VALUE_BYTES_MAX) {
      // Send the buffered writes first: with them the call might be too large.
      await this._flush([])
    }
    return this._flush(ops)
  }

  async commit (result) {
    this._byHand()
    return this._settle(bytes(result), new Pace(this._client._options.runMsMax), Infinity)
  }

  async abort () {
    this._byHand()
    this._open()
    this._ended = true
    try {
      await this._sendAbort()
    } catch (why) {
      throw this._about(harmless(why))
    }
  }

  _byHand () {
    if (this._ofRun) throw this._about(new Invalid(
      'the function of a run must not commit or abort: return a result to commit, or throw an error to abort'
    ))
  }

  _open () {
    if (this._ended) throw this._about(new Invalid(
      'the transaction has ended and takes no more calls: begin a new one'
    ))
  }

  _about (error) { return error._about(this._requestId, this.token) }

  // Returns true if this transaction committed `version`.
  _wrote (version) { return version?.split('-')[1] === this.token.split('-')[1] }

  async _write (op) {
    this._open()
    const key = keyOf(op)
    const most = this._client._options.writeBufferBytesMax
    if (most > 0 && (op.value?.length ?? 0) <= BUFFERED_VALUE_BYTES_MAX) {
      const replaced = this._buffer.get(key)
      const more = weight(op) - (replaced === undefined ? 0 : weight(replaced))
      if (this._bufferBytes + more > most || this._buffer.size + (replaced === undefined ? 1 : 0) > BUFFERED_WRITES_MAX) {
        await this._flush([])
        this._open()
      }
      this._unbuffer(key)
      this._buffer.set(key, op)
      this._bufferBytes += weight(op)
      this._reads.delete(key)
      return
    }
    const headers = op.contentType === undefined ? {} : { 'Content-Type': op.contentType }
    try {
      await this._send(op.put === undefined ? 'DELETE' : 'PUT', `/keys/${encodeName(key)}`, op.value, headers, false)
    } catch (why) {
      // A write that was rejected had no effect. A write without an answer may have had its effect.
      throw this._failed(why, why instanceof NoAnswer)
    }
    this._reads.delete(key)
    this._unbuffer(key)
  }

  _unbuffer (key) {
    const waited = this._buffer.get(key)
    if (waited === undefined) return
    this._buffer.delete(key)
    this._bufferBytes -= weight(waited)
  }

  _take () {
    const waited = [...this._buffer.values()]
    this._buffer.clear()
    this._bufferBytes = 0
    return waited
  }

  // Sends the buffered writes, and `ops` after them.
  async _flush (ops) {
    for (const op of ops) if (!isGet(op)) this._reads.delete(keyOf(op))
    const waited = this._take()
    const all = [...waited, ...ops]
    if (all.length === 0) return []
    const readsOnly = all.every(isGet)
    const body = Buffer.from(JSON.stringify({ ops: all.map(opJson) }))
    try {
      const answer = await this._send('POST', '/batch', body, { 'Content-Type': 'application/json' }, readsOnly)
      return (reply(answer).results ?? []).map(readOf)
    } catch (why) {
      // The buffered writes are out of the buffer, and the caller believes them done: after any
      // failure the transaction must not commit without them.
      throw this._failed(why, waited.length > 0 || (!readsOnly && why instanceof NoAnswer))
    }
  }

  // Sends a call, and sends it again where that is harmless: if the server was overloaded, or if
  // the call only reads and got no answer.
  //
  // A write without an answer is not sent again: its first copy may still be in flight, and would
  // then take effect after later writes.
  async _send (method, rest, body, headers, reads) {
    const transport = this._client._transport
    const pace = new Pace(transport.callTimeoutMs)
    for (let tries = 1; ; tries += 1) {
      try {
        return await transport.send(method, `/v1/transactions/${this.token}${rest}`, body, headers)
      } catch (why) {
        const again = (reads && why instanceof NoAnswer) || why.code === 'overloaded'
        if (!again || tries === TRIES_IN_PLACE_MAX || !await pace.pause(harmless(why))) throw why
      }
    }
  }

  // Records what a failed call means for the transaction, and returns its error.
  _failed (why, torn) {
    let error = harmless(why)
    // The node has forgotten the transaction, and no commit was sent: run the request again.
    if (error instanceof NotFound && error.code !== 'no_such_path') error = new Retry(error.detail, error.problem)
    this._about(error)
    if (error.retryable) this._doomed ??= error
    if (torn) this._torn ??= error
    return error
  }

  async _sendAbort (timeoutMs) {
    await this._client._transport.send('POST', `/v1/transactions/${this.token}/abort`, undefined, {}, timeoutMs)
  }

  async _abortQuietly () {
    if (this._ended) return
    this._ended = true
    try {
      await this._sendAbort(ABORT_MS_MAX)
    } catch (why) {
      harmless(why) // Without an abort the transaction ends at its deadline.
    }
  }

  // Commits. The table of answers is in shim/clients/rust/src/commit.rs.
  async _settle (result, pace, timesMax) {
    this._open()
    if (this._torn !== null) {
      await this._abortQuietly()
      throw this._torn
    }
    this._ended = true
    const alone = resultOf(result, this._requestId)
    const ops = this._take().map(opJson)
    let reply
    try {
      // The whole call is repeated: if it never arrived, a bare commit would commit the transaction
      // without these writes.
      if (ops.length > 0) reply = await this._ask('/batch', { ops, commit: true, ...alone }, null, pace, timesMax)
      else reply = await this._ask('/commit', alone, null, pace, timesMax)
      if (reply.batchIsIn) reply = await this._ask('/commit', alone, reply.batchIsIn, pace, timesMax)
    } catch (error) {
      if (!(error instanceof Unknown)) {
        this._ended = false
        await this._abortQuietly()
      }
      throw error instanceof AftError ? this._about(error) : error
    }
    this._client._committed(reply.session)
    const replayed = reply.replayed ?? false
    this.ran = ranOf(reply, replayed, result)
    return this.ran
  }

  // Sends a commit until its outcome is known. Throws Unknown, or the reason why it did not commit.
  // Returns `{batchIsIn: doubt}` if the batch has arrived, and its commit is in flight or done.
  async _ask (rest, message, doubt, pace, timesMax) {
    const headers = repeats(this._requestId)
    const query = headers !== null && this._scope ? `?scope=${encodeURIComponent(this._scope)}` : ''
    for (let nth = 1; ; nth += 1) {
      let error
      try {
        const reply = await this._client._post(`/v1/transactions/${this.token}${rest}${query}`, message, headers ?? {})
        if (reply.committed || reply.replayed) return reply
        error = new Unknown('the answer to a commit reports no commit')
      } catch (why) {
        error = committing(why)
        // The server that opened the transaction is gone, and the transaction with it.
        if (why instanceof NotSent && doubt === null) throw error
      }
      if (error instanceof Unknown) {
        doubt = error
      } else if (error instanceof Unavailable || error.code === 'body_timeout') {
        // The server rejected this call for now, which says nothing about an earlier one.
      } else if (error.code === 'ended' && rest === '/batch' && doubt !== null) {
        return { batchIsIn: doubt }
      } else if ((error instanceof NotFound || error instanceof Unauthorized || error instanceof Internal) && doubt !== null) {
        // The server has forgotten the transaction, or its error says nothing about the first call.
        throw doubt
      } else {
        throw error instanceof NotFound ? new Retry(error.detail, error.problem) : error
      }
      if (nth >= timesMax || !await pace.pause(error)) throw doubt ?? error
    }
  }
}

// --- a run

// The attempts of one request, one after the other. A named request may run again while a commit is
// in doubt, because one commit record decides for all attempts: the next opening, or the next
// commit, is answered with the winner's result.
class Run {
  constructor (client, requestId, options, level) {
    this.client = client
    this.requestId = requestId ?? null
    this.options = options
    this.level = level
    this.pace = new Pace(client._options.runMsMax)
    this.attempts = 0
    // The number of attempts that failed with a conflict.
    this.conflicts = 0
    // True if an attempt of this run may still be open. Waiting for it would mean waiting for its
    // deadline, so the next attempt runs beside it.
    this.beside = false
    // The attempts that may have committed, each with the error that left it in doubt.
    this.doubts = []
  }

  mayGoOn () { return this.attempts < this.client._options.attemptsMax }

  async open () {
    for (;;) {
      const waitMs = Math.min(this.client._options.waitMsMax, this.pace.remaining())
      let error
      try {
        const begin = beginOf(this.client, this.requestId, this.options, this.level, waitMs, this.beside, this.conflicts)
        const reply = await this.client._post('/v1/transactions', begin)
        if (reply.replayed) {
          this.client._committed(reply.session)
          return this.replay(ranOf(reply, true))
        }
        if (!reply.transaction) throw new NoAnswer('the answer to an opening names no transaction')
        this.attempts += 1
        this.beside = true
        return new Transaction(this.client, this.requestId, reply, null, this.options.scope)
      } catch (why) {
        this.beside ||= why instanceof NoAnswer
        error = harmless(why)._about(this.requestId)
      }
      if (!(error.retryable || error instanceof InProgress) || !await this.pace.pause(error)) return this.giveUp(error)
    }
  }

  // Returns the outcome of a commit that was found. It is a replay unless the commit is one of this
  // run's attempts in doubt.
  replay (ran) {
    return { ...ran, attempts: this.attempts, replayed: !this.doubts.some(({ transaction }) => transaction._wrote(ran.version)) }
  }

  // Commits an attempt. Returns null if another attempt has to run.
  async commit (transaction, result) {
    let error
    try {
      const ran = await transaction._settle(result, this.pace, this.requestId === null ? Infinity : COMMIT_AGAIN_MAX)
      return ran.replayed ? this.replay(ran) : { ...ran, attempts: this.attempts }
    } catch (why) {
      error = harmless(why)
    }
    if (error.code === 'conflict') this.conflicts += 1
    if (error instanceof Unknown) {
      // Without a request ID a second attempt could commit twice.
      if (this.requestId === null) throw error
      this.doubts.push({ transaction, error })
    } else if (!error.retryable) {
      return this.giveUp(error)
    }
    if (this.mayGoOn() && await this.pace.pause(error)) return null
    return this.giveUp(error)
  }

  // Ends the run with `error`, unless a commit in doubt took effect, or stays in doubt.
  async giveUp (error) {
    const found = await this.clearDoubts()
    if (found !== null && !(found instanceof AftError)) return found
    if (found === null && error instanceof Unknown) {
      throw new Retry('every attempt was aborted: nothing was committed')._about(this.requestId)
    }
    throw found ?? error
  }

  // Aborts the attempts in doubt, since an aborted transaction never commits. If that fails for
  // one, looks the request up until it is found or the time is over. Returns null if no attempt has
  // committed, the outcome if one has, and the error if that stays unknown.
  async clearDoubts () {
    const left = []
    for (const doubt of this.doubts) {
      try {
        await doubt.transaction._sendAbort()
      } catch (why) {
        harmless(why)
        left.push(doubt)
      }
    }
    this.doubts = left
    while (this.doubts.length > 0) {
      const { error } = this.doubts.at(-1)
      try {
        const found = await this.client._lookUp(this.requestId, this.options.scope)
        if (found !== null) return this.replay({ result: found.result, version: found.version, resultSize: found.resultSize })
      } catch (why) {
        harmless(why)
      }
      if (!await this.pace.pause(error)) return error
    }
    return null
  }
}
