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
//     })                                    // takes effect once, however often it is called
//     ran.result, ran.replayed              // <Buffer 'sold'>, false
//
// Two runs that read the same stock and both take one from it do not lose an order: runs are
// serializable, and the one that was overtaken runs again.
//
// What is tried again, and why that is safe: a call that cannot commit is repeated freely, in a new transaction, for whatever became of the old
// one was only ever in its own buffer. A call that commits is repeated only in a form that cannot commit twice or in part: the same call on the same
// transaction, or another attempt under the same request ID. Where neither is left, the error is `Unknown`. (docs/decisions/0008-clients.md)
//
// Values are bytes; text is written as UTF-8. What each call takes and gives stands in index.d.ts.

import { randomUUID } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'

// An idle connection is kept so long: below the 30 s after which a server closes it.
const IDLE_MS_MAX = 20_000
// Connections that are kept idle: as many calls as one program has under way, as a rule.
const IDLE_CONNECTIONS_MAX = 64
// A larger value is sent at once, as a raw body: what it costs is bytes, not calls.
const BUFFERED_VALUE_BYTES_MAX = 64 << 10
// Writes that wait for the commit call: half of what one call may have.
const BUFFERED_WRITES_MAX = 500
// The most bytes of writes that may wait: in base64, with room to spare, below the 8 MiB that a body may have.
const WRITE_BUFFER_BYTES_LIMIT = 4 << 20
// How long an opening waits, on the server, for another open attempt of its request: as long as servers do by default.
const WAIT_MS_MAX = 5_000
// How often a call inside a transaction is sent in all, where repeating it is harmless.
const TRIES_IN_PLACE_MAX = 3
// How often a commit in doubt is sent again while another attempt could tell as well: then a new attempt is the better question.
const COMMIT_AGAIN_MAX = 3
// The first pause before another try: some store round trips. The longest of our own: what a person would not call broken.
const PAUSE_MS_FIRST = 10
const PAUSE_MS_MAX = 1_000
// The longest pause that a server may ask for: longer than its own figures, far below a run's time.
const ASKED_MS_MAX = 5_000
// The longest key, as the server has it.
const KEY_BYTES_MAX = 1_088
// The longest answer, which is held in memory whole. Larger values and results are for a client that reads ranges.
const ANSWER_BYTES_MAX = 256 << 20
// A larger body is announced (Expect: 100-continue), and sent when the server asks for it, or says nothing for so long: what is refused by its head is then refused before
// there is anything to send. A server that closes while it is being sent to has its answer lost, more often than not: Node reads nothing after a write that failed.
const UNANNOUNCED_BYTES_MAX = 256 << 10
const ANNOUNCED_MS_MAX = 1_000
// Such a body is sent piece by piece, so that an answer that comes meanwhile is read first.
const PIECE_BYTES = 64 << 10
// How long a run waits for the answer to its abort, whose only use is that nobody waits for a dead attempt.
const ABORT_MS_MAX = 2_000
// Commits that a session token names, and the bytes of one: time, attempt, request hash.
const SESSION_LEN_MAX = 8
// Format number, and until when transactions are fresh.
const SESSION_PREFIX_LEN = { 2: 1 + 8, 3: 1 + 8 + 8 + 8 }
// Of an entry: time, attempt, request hash; then when it was heard of, flags.
const SESSION_IDENTITY_LEN = 8 + 16 + 32
const SESSION_ENTRY_LEN = SESSION_IDENTITY_LEN + 8 + 1
// For how long a merged session covers commits that had no room in it, by fresh transactions.
const SESSION_COVER_MS = 60_000n
const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

// --- errors --------------------------------------------------------------------------------------------------------

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
  } catch { /* It is no problem document. */ }
  const text = `status ${status} without a problem document`
  // The HTTP library refuses these before it reads; any other is of a proxy, which may have passed the call on.
  return [400, 414, 431].includes(status) ? new Invalid(text) : new NoAnswer(text)
}

const isOurs = why => why instanceof AftError || why instanceof NotSent || why instanceof NoAnswer

// The error of a call that cannot commit. What is neither a refusal nor a lost answer is a mistake in this file.
function harmless (why) {
  if (!isOurs(why)) throw why
  return why instanceof AftError ? why : new Unavailable(why.message)
}

// The error of a call that commits.
const committing = why => why instanceof NoAnswer ? new Unknown(why.message) : harmless(why)

// --- what is read and written --------------------------------------------------------------------------------------

export const Op = Object.freeze({
  get: key => ({ get: checked(key) }),
  put: (key, value, contentType, condition) => {
    const op = { put: checked(key), value: bytes(value), ...conditionOf(condition) }
    return contentType === undefined || contentType === null ? op : { ...op, contentType }
  },
  delete: (key, condition) => ({ delete: checked(key), ...conditionOf(condition) }),
  check: (key, condition) => {
    const given = conditionOf(condition)
    if (Object.keys(given).length === 0) throw new Invalid('a check needs ifAbsent, ifVersion or ifValue: it does nothing else')
    return { check: checked(key), ...given }
  },
  add: (key, by) => {
    if (!Number.isSafeInteger(by)) throw new Invalid(`an add has a whole number, not ${by}`)
    return { add: checked(key), by }
  }
})

// A condition as the server has it.
function conditionOf ({ ifAbsent = false, ifVersion, ifValue } = {}) {
  const given = {}
  if (ifAbsent) given.if_absent = true
  if (ifVersion !== undefined) given.if_version = ifVersion
  if (ifValue !== undefined) given.if_value = bytes(ifValue).toString('base64')
  if (Object.keys(given).length > 1) throw new Invalid('an operation has one of ifAbsent, ifVersion and ifValue')
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
  // A copy: what waits must not change with the caller's buffer.
  if (value instanceof Uint8Array) return Buffer.from(value)
  throw new Invalid(`a value is text or bytes, not ${typeof value}`)
}

function checked (key) {
  if (typeof key !== 'string') throw new Invalid(`a key is text, not ${typeof key}`)
  const encoded = Buffer.from(key)
  if (encoded.toString() !== key) throw new Invalid('a key is UTF-8: this one has half a surrogate pair')
  if (encoded.length < 1 || encoded.length > KEY_BYTES_MAX) {
    throw new Invalid(`a key has 1 to ${KEY_BYTES_MAX} bytes; this one has ${encoded.length}`)
  }
  return key
}

function checkedType (text) {
  if (!/^[ -~]*$/.test(text)) throw new Invalid(`a content type is visible ASCII, not ${JSON.stringify(text)}`)
  return text
}

const unbase64 = text => Buffer.from(text ?? '', 'base64')

function readOf (read) {
  if (read.value === null || read.value === undefined) return { key: read.key, value: null }
  const value = { bytes: unbase64(read.value), contentType: read.content_type ?? DEFAULT_CONTENT_TYPE, version: read.version ?? '' }
  return { key: read.key, value }
}

// How a commit went: `result` is its own, a replay's stands in the reply.
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

// What a session token says: until when transactions are fresh, the node through which all was seen, after which time that counts, the commits.
function parseSession (token) {
  const raw = Buffer.from(token, 'base64url')
  const prefix = SESSION_PREFIX_LEN[raw[0]]
  const readable = raw.toString('base64url') === token && prefix !== undefined && raw.length >= prefix
  if (!readable || (raw.length - prefix) % SESSION_ENTRY_LEN !== 0) throw new Error('not a session token of format 2 or 3')
  const number = at => at < prefix ? raw.readBigUInt64BE(at) : 0n
  const entries = []
  for (let at = prefix; at < raw.length; at += SESSION_ENTRY_LEN) entries.push(raw.subarray(at, at + SESSION_ENTRY_LEN))
  if (entries.some(entry => entry[SESSION_ENTRY_LEN - 1] > 1)) throw new Error('not a session token')
  const [fresh, through, mixed] = [1, 9, 17].map(number)
  const empty = fresh === 0n && through === 0n && mixed === 0n && entries.length === 0
  return { fresh, through, mixed, entries, empty, seen: entries.map(seenAt).reduce(most, 0n) }
}

// The node through which both were seen, and after which time that counts: when what was seen through the other node is shown by all.
function mergeThrough (one, other) {
  const mixed = most(one.mixed, other.mixed)
  if (one.through === other.through || other.empty) return { through: one.through, mixed }
  if (one.empty) return { through: other.through, mixed }
  const isFirst = one.seen < other.seen || (one.seen === other.seen && one.through < other.through)
  const [earlier, last] = isFirst ? [one, other] : [other, one]
  return { through: last.through, mixed: most(most(mixed, earlier.fresh), earlier.seen + SESSION_COVER_MS) }
}

export function mergeSessions (one, other) {
  // Of two entries of one commit, the one that was heard of last.
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

// The header by which a commit repeats its request: a server that has forgotten the transaction answers from the request's record.
function repeats (requestId) {
  // eslint-disable-next-line no-control-regex
  if (requestId === null || /[\x00-\x1f\x7f]/.test(requestId)) return null
  const escaped = requestId.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  // Headers are bytes: UTF-8, which Node takes as text of one byte a character.
  return { 'Idempotency-Key': Buffer.from(`"${escaped}"`).toString('latin1') }
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** The least and the greatest pause after so many failures before, in milliseconds, if the server asked for one. @internal */
export function pauseRange (nth, inProgress, asked) {
  const own = Math.min(PAUSE_MS_FIRST * 2 ** Math.min(nth, 20), PAUSE_MS_MAX)
  if (asked === null) return [own / 2, own]
  // When the other attempt ends at the latest: it is likely to end before.
  if (inProgress) return [Math.min(own, asked) / 2, Math.min(own, asked)]
  // Before that it is no use. Those who were told the same do not come back at once.
  const least = Math.min(asked, ASKED_MS_MAX)
  return [Math.max(least, own / 2), least + own]
}

// When to try again: exponential back-off with jitter, within a total time.
class Pace {
  constructor (ms) {
    this.until = performance.now() + ms
    this.nth = 0
  }

  remaining () { return Math.max(0, this.until - performance.now()) }

  // Pauses after a failure; false, without a pause, if the time would be over after it.
  async pause (after) {
    const [least, most] = pauseRange(this.nth, after instanceof InProgress, after.retryAfterMs)
    this.nth += 1
    const ms = least + Math.random() * (most - least)
    if (ms >= this.remaining()) return false
    await sleep(ms)
    return true
  }
}

// --- one call ------------------------------------------------------------------------------------------------------

// Sends calls over kept-alive connections; tries nothing twice.
class Transport {
  constructor (url, { token, connectTimeoutMs = 5_000, callTimeoutMs = 30_000 }) {
    const wrong = () => new Invalid(`${JSON.stringify(url)} is no server: it is written http://HOST:PORT, without a path`)
    let parts
    try { parts = new URL(url) } catch { throw wrong() }
    const plain = parts.pathname === '/' && !parts.search && !parts.username
    if (!['http:', 'https:'].includes(parts.protocol) || !plain) throw wrong()
    if (token !== undefined && !/^[!-~]+$/.test(token)) throw new Invalid('the bearer token has characters that a header cannot hold')
    this.module = parts.protocol === 'https:' ? https : http
    this.agent = new this.module.Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX, timeout: IDLE_MS_MAX })
    this.base = { hostname: parts.hostname.replace(/^\[|\]$/g, ''), port: parts.port || undefined, agent: this.agent }
    this.token = token
    this.connectTimeoutMs = connectTimeoutMs
    this.callTimeoutMs = callTimeoutMs
  }

  // A success; throws the refusal, NotSent, or NoAnswer.
  async send (method, path, body, headers = {}, timeoutMs = this.callTimeoutMs) {
    const all = { ...headers }
    if (body !== undefined) all['Content-Length'] = body.length
    if (body !== undefined && body.length > UNANNOUNCED_BYTES_MAX) all.Expect = '100-continue'
    if (this.token !== undefined) all.Authorization = `Bearer ${this.token}`
    const answer = await new Promise((resolve, reject) => {
      let connected = false
      // An answer has begun, or what cut it off: whatever the request hears then, its answer's end tells.
      let answering = false
      let broken = null
      const timers = []
      const fail = why => {
        timers.forEach(clearTimeout)
        reject(connected ? new NoAnswer(`no answer: ${why}`) : new NotSent(`cannot connect: ${why}`))
      }
      const request = this.module.request({ ...this.base, method, path, headers: all })
      const after = (ms, why) => timers.push(setTimeout(() => request.destroy(new Error(why)), ms))
      after(timeoutMs, `nothing within ${timeoutMs} ms`)
      request.on('socket', socket => {
        socket.setNoDelay(true)
        // A server may answer and close while the body is still being written: what the socket says after that is nobody's, and must not end the process.
        if (!heard.has(socket)) {
          heard.add(socket)
          socket.on('error', () => {})
        }
        connected = !socket.connecting
        if (connected) return
        const connecting = setTimeout(() => request.destroy(new Error(`no connection within ${this.connectTimeoutMs} ms`)), this.connectTimeoutMs)
        timers.push(connecting)
        socket.once('connect', () => {
          connected = true
          clearTimeout(connecting)
        })
      })
      request.on('error', why => {
        broken ??= why.message
        // A server may refuse a large body before it has all of it, and close: its answer is on its way all the same.
        if (!answering) fail(broken)
      })
      request.on('response', response => {
        const { 'content-length': length, 'transfer-encoding': coding } = response.headers
        // Otherwise nobody could tell the answer's end from that of a broken connection.
        if (length === undefined && coding === undefined && response.statusCode !== 204) return request.destroy(new Error('an answer without a length'))
        answering = true
        const chunks = []
        let len = 0
        response.on('data', chunk => {
          chunks.push(chunk)
          len += chunk.length
          if (len > ANSWER_BYTES_MAX) request.destroy(new Error('the answer is too long'))
        })
        response.on('error', why => fail(broken ?? why.message))
        // After its end this says nothing new.
        response.on('close', () => fail(broken ?? 'the answer is not whole'))
        response.on('end', () => {
          if (!response.complete) return fail(broken ?? 'the answer is not whole')
          timers.forEach(clearTimeout)
          const sent = request.writableFinished
          // Nobody wants the rest of the body.
          if (!sent) request.destroy()
          if (!sent && response.statusCode < 400) return fail(`status ${response.statusCode} to a call that was cut off`)
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
    // What is wrong, the request hears as well.
    if (!why) setImmediate(sendPiece, request, body, end, over)
  })
}

function reply (answer) {
  try {
    const reply = JSON.parse(answer.body.toString())
    if (reply !== null && typeof reply === 'object') return reply
  } catch { /* It is no JSON. */ }
  throw new NoAnswer('an answer that is no reply')
}

// --- the client ----------------------------------------------------------------------------------------------------

// What a commit carries. Without a request ID nobody comes back for the result, and to store it would take the right to write.
function resultOf (result, requestId) {
  return result.length > 0 && requestId !== null && requestId !== undefined ? { result: result.toString('base64') } : {}
}

// `level`: what is asked for unless the options say otherwise; null leaves it to the store.
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

// The level of runs and whole transactions: they run again after a conflict.
const SERIALIZABLE = 'serializable'

// Sockets whose late errors are heard.
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
      // Two transactions at once continue one token in two ways, and a replay starts a new one: so tokens are merged.
      this._session = this._session === null ? token : mergeSessions(token, this._session)
    } catch {
      // Of a newer server: then the last one counts.
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
    // A call that is sent again, since its answer was lost, is then known again, and does not meet its own write.
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
          error = why // It is known by now that it did not commit.
        }
      }
      if (error instanceof Unknown) {
        doubt = error
      } else if (!error.retryable && !(error instanceof InProgress)) {
        // Credentials that no longer hold, or a store that is damaged now, say nothing of an earlier sending.
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

  // What became of a commit in doubt of a request without an ID: only its transaction can be asked, if it is known.
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

// --- a transaction -------------------------------------------------------------------------------------------------

export class Transaction {
  /** @internal */
  constructor (client, requestId, opened, ran = null, scope = null) {
    this._client = client
    this._requestId = requestId ?? null
    this._scope = scope ?? null
    this.token = opened.transaction ?? ''
    this.ran = ran
    this._ended = ran !== null
    // A run commits or aborts it.
    this._ofRun = false
    this._buffer = new Map()
    this._bufferBytes = 0
    // What the opening call read, of keys that were not written since.
    this._reads = new Map((opened.results ?? []).map(readOf).map(read => [read.key, read.value]))
    // A call failed in a way that another attempt may not.
    this._doomed = null
    // Writes that the caller believes made may be missing: no commit may follow.
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
      // The writes that wait would perhaps not fit in beside these.
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
    if (this._ofRun) throw this._about(new Invalid('a run commits or aborts its transaction by itself: return a result or throw'))
  }

  _open () {
    if (this._ended) throw this._about(new Invalid('the transaction has ended: nothing more can be done in it'))
  }

  _about (error) { return error._about(this._requestId, this.token) }

  // Whether a version names what this transaction committed.
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
      // What was refused is as if it had never been asked for; what was not answered may stand or not.
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

  // Sends what waits, and these operations after it.
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
      throw this._failed(why, waited.length > 0 || (!readsOnly && why instanceof NoAnswer))
    }
  }

  // Sends a call, and again where that is harmless: if it was turned away for want of room, and if it only reads and was not answered.
  //
  // A write without an answer is not sent again: its first copy may still be on its way, and would then land after later writes.
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

  // Notes what a failed call means for the transaction.
  _failed (why, torn) {
    let error = harmless(why)
    // Its node has forgotten it, and no commit was sent.
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
      harmless(why) // Silence is abort too.
    }
  }

  // The table of answers stands in shim/clients/rust/src/commit.rs.
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
      // Sent again whole: if it never arrived, a bare commit would commit the transaction without these writes.
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

  // Sends a commit until its outcome is known. Throws Unknown, or why it did not commit. `{batchIsIn: doubt}`: the batch has arrived, and its
  // commit is under way or done.
  async _ask (rest, message, doubt, pace, timesMax) {
    const headers = repeats(this._requestId)
    const query = headers !== null && this._scope ? `?scope=${encodeURIComponent(this._scope)}` : ''
    for (let nth = 1; ; nth += 1) {
      let error
      try {
        const reply = await this._client._post(`/v1/transactions/${this.token}${rest}${query}`, message, headers ?? {})
        if (reply.committed || reply.replayed) return reply
        error = new Unknown('an answer to a commit that tells of none')
      } catch (why) {
        error = committing(why)
        // Whoever has opened the transaction is gone, and the transaction with it.
        if (why instanceof NotSent && doubt === null) throw error
      }
      if (error instanceof Unknown) {
        doubt = error
      } else if (error instanceof Unavailable || error.code === 'body_timeout') {
        // This call was turned away: that says nothing of an earlier one.
      } else if (error.code === 'ended' && rest === '/batch' && doubt !== null) {
        return { batchIsIn: doubt }
      } else if ((error instanceof NotFound || error instanceof Unauthorized || error instanceof Internal) && doubt !== null) {
        throw doubt // Nobody is left to ask, or what is wrong now says nothing of the first call.
      } else {
        throw error instanceof NotFound ? new Retry(error.detail, error.problem) : error
      }
      if (nth >= timesMax || !await pace.pause(error)) throw doubt ?? error
    }
  }
}

// --- a run ---------------------------------------------------------------------------------------------------------

// Attempts of one request, one after the other. While a commit is in doubt a named request may run again: one commit record decides for all
// attempts, and the next opening, or the next commit, is answered with the winner's result.
class Run {
  constructor (client, requestId, options, level) {
    this.client = client
    this.requestId = requestId ?? null
    this.options = options
    this.level = level
    this.pace = new Pace(client._options.runMsMax)
    this.attempts = 0
    // Attempts that met a conflict.
    this.conflicts = 0
    // An attempt of this run may still be open: waiting for it would be waiting for its deadline.
    this.beside = false
    // Attempts that may have committed, each with why that is not known.
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
        if (!reply.transaction) throw new NoAnswer('an opening was answered without a transaction')
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

  // A commit that was found; perhaps it is one of this run's own.
  replay (ran) {
    return { ...ran, attempts: this.attempts, replayed: !this.doubts.some(({ transaction }) => transaction._wrote(ran.version)) }
  }

  // Commits; null if another attempt is to run.
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
      if (this.requestId === null) throw error // Nobody could tell a second commit from the first.
      this.doubts.push({ transaction, error })
    } else if (!error.retryable) {
      return this.giveUp(error)
    }
    if (this.mayGoOn() && await this.pace.pause(error)) return null
    return this.giveUp(error)
  }

  // The run ends with this error, unless a commit in doubt is found, or stays in doubt.
  async giveUp (error) {
    const found = await this.clearDoubts()
    if (found !== null && !(found instanceof AftError)) return found
    if (found === null && error instanceof Unknown) {
      throw new Retry('every attempt was aborted: nothing was committed')._about(this.requestId)
    }
    throw found ?? error
  }

  // Aborts the attempts in doubt (one that was aborted never commits), or finds out that one has committed. null: none did.
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
