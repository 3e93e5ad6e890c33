// The client: runs, whole transactions, and single operations.

import { randomUUID } from 'node:crypto'

import {
  Aborted, InProgress, Internal, Invalid, NoAnswer, NotFound, Retry, SessionLost, Unauthorized, Unavailable, Unknown, committing, harmless,
  interrupted
} from './errors.mjs'
import { ask } from './commit.mjs'
import { keyPath, requestPath } from './names.mjs'
import { once } from './once.mjs'
import { conditionAmong, optionsOf } from './options.mjs'
import { Pace, checkedMs, checkedWhole, signalsOf } from './pace.mjs'
import { checkedRange, rangeOf, rawValue, streamedOf } from './reading.mjs'
import { commits, finds, reply } from './refusals.mjs'
import { Run, beginOf } from './run.mjs'
import { mergeSessions } from './session.mjs'
import { Source } from './streams.mjs'
import { Transaction } from './transaction.mjs'
import { Transport } from './transport.mjs'
import {
  Op, bytes, checked, checkedFindId, checkedId, checkedScope, checkedOps, checkedType, isConditional, isGet, opJson, ranOf, readOf,
  resultOf, typeName, unbase64
} from './values.mjs'

// The most bytes of buffered writes that can be set: in base64 they are, with some room, below the
// 8 MiB that a body may have.
const WRITE_BUFFER_BYTES_LIMIT = 4 << 20
// The longest time that an opening waits, on the server, for another open attempt of its request:
// the servers' default.
const WAIT_MS_MAX = 5_000

// The default level of runs and whole transactions, which run again after a conflict.
const SERIALIZABLE = 'serializable'

export class Client {
  constructor (url, given) {
    const options = optionsOf('Client', given)
    this._transport = new Transport(url, options)
    const { attemptsMax, runMsMax, session = true, writeBufferBytesMax, transactionTimeoutMs } = options
    this._options = {
      attemptsMax: Math.max(1, checkedWhole('attemptsMax', attemptsMax, 0, Number.MAX_SAFE_INTEGER, 10)),
      runMsMax: checkedMs('runMsMax', runMsMax, 60_000),
      session,
      transactionTimeoutMs: checkedMs('transactionTimeoutMs', transactionTimeoutMs),
      writeBufferBytesMax: Math.min(
        checkedWhole('writeBufferBytesMax', writeBufferBytesMax, 0, Number.MAX_SAFE_INTEGER, 1 << 20), WRITE_BUFFER_BYTES_LIMIT
      ),
      waitMsMax: Math.min(WAIT_MS_MAX, this._transport.callTimeoutMs / 2)
    }
    this._session = null
  }

  close () { this._transport.close() }

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

  // Returns an error that the caller gets now. If the store has lost a commit of the session, the
  // session is dropped here and no earlier: so no call reads the older state before the caller has
  // heard of the loss.
  _told (error) {
    if (error instanceof SessionLost) this._session = null
    return error
  }

  async run (requestId, fn, options) {
    const run = new Run(this, requestId, optionsOf('run', options), SERIALIZABLE)
    if (typeof fn !== 'function') throw new Invalid(`fn must be a function, not ${typeName(fn)}: write run(requestId, async t => { … })`)
    return run.until(async transaction => fn(transaction))
  }

  once (options, fn) { return once(this, options, fn) }

  // Called without arguments it opens a transaction without a request ID. An argument that is
  // undefined is an ID that is missing.
  async begin (...given) {
    const [requestId = given.length === 0 ? null : undefined, options] = given
    const opened = await new Run(this, requestId, optionsOf('begin', options), null).open(true)
    return opened instanceof Transaction ? opened : new Transaction(this, requestId, {}, { ran: opened })
  }

  async execute (requestId, ops, result, options) {
    return this._execute(requestId, checkedOps(ops), result, optionsOf('execute', options))
  }

  async _execute (requestId, ops, result, options) {
    requestId = checkedId(requestId)
    // With an ID the server recognises a call that is sent again because its answer was lost, and
    // the call does not conflict with its own write.
    if (requestId === null && ops.some(isConditional)) requestId = randomUUID()
    const kept = bytes(result)
    // What leaves nothing behind has no outcome that matters.
    const onlyReads = requestId === null && ops.every(isGet)
    const pace = this._pace(options)
    let doubt = null
    let conflicts = 0
    for (;;) {
      const waitMs = Math.min(this._options.waitMsMax, pace.remaining() / 2)
      const begin = beginOf(this, requestId, options, SERIALIZABLE, waitMs, doubt !== null, conflicts)
      begin.ops = ops.map(opJson)
      Object.assign(begin, resultOf(kept, requestId))
      let error
      let isForeign = false
      try {
        return this._executed(await this._post('/v1/execute', begin, pace, commits), kept, conflicts)
      } catch (why) {
        // Something that is not AFT took the call, and would take the next one.
        isForeign = why instanceof NoAnswer && why.isPermanent
        if (why instanceof Aborted && doubt !== null) throw interrupted(why.reason)._about(requestId)
        error = (onlyReads ? harmless : committing)(why)
        if (onlyReads && error instanceof Unknown) error = new Retry(error.detail, error.problem)
        error._about(requestId)
        if (error._isAborted) throw error
        if (isForeign) throw doubt ?? error
      }
      if (error instanceof Unknown && requestId === null) {
        try {
          return this._executed(await this._resolve(error, pace), kept, conflicts)
        } catch (why) {
          if (!why?.retryable) throw why
          error = why // The query showed that it did not commit.
        }
      }
      if (error instanceof Unknown) {
        doubt = error
      } else if (!error.retryable && !(error instanceof InProgress)) {
        // Credentials that are rejected now, a store that is damaged or has lost writes now, or a
        // proxy's answer say nothing about an earlier try.
        const isBlind = [Unauthorized, Internal, Unavailable, SessionLost].some(kind => error instanceof kind)
        throw this._told(isBlind ? doubt ?? error : error)
      }
      if (error.code === 'conflict') conflicts += 1
      if (conflicts >= this._options.attemptsMax || !await pace.pause(error, doubt)) throw pace.gaveUp(doubt ?? error)
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
    const reply = await ask(new Transaction(this, null, { transaction: doubt.transaction }), '/commit', {}, doubt, pace, Infinity)
    if (reply.batchIsIn) throw doubt
    return reply
  }

  async get (key, options) {
    const answer = await this._readKey(key, optionsOf('get', options))
    return answer && rawOf(rawValue, answer)
  }

  async getRange (key, start, length, options) {
    const range = checkedRange(start, length)
    const answer = await this._readKey(key, optionsOf('getRange', options), { headers: range.headers })
    return answer && rawOf(answer => rangeOf(answer, range), answer)
  }

  async stream (key, options) {
    const answer = await this._readKey(key, optionsOf('stream', options), { isStreamed: true })
    return answer && rawOf(streamedOf, answer)
  }

  async put (key, value, contentType, given) {
    const options = optionsOf('put', given)
    const condition = conditionAmong(options)
    if (condition !== undefined) return this._writeIf(Op.put(key, value, contentType, condition), options)
    const headers = contentType === undefined || contentType === null ? {} : { 'Content-Type': checkedType(contentType) }
    return this._write('PUT', key, bytes(value), headers, options)
  }

  async putStream (key, source, given) {
    const options = optionsOf('putStream', given)
    const { size, contentType } = options
    const headers = contentType === undefined || contentType === null ? {} : { 'Content-Type': checkedType(contentType) }
    checked(key)
    const body = new Source(source, size)
    try {
      return await this._write('PUT', key, body, headers, options)
    } finally {
      body.close()
    }
  }

  async delete (key, given) {
    const options = optionsOf('delete', given)
    const condition = conditionAmong(options)
    if (condition !== undefined) return this._writeIf(Op.delete(key, condition), options)
    return this._write('DELETE', key, undefined, {}, options)
  }

  async add (key, by = 1, options) {
    const { reads } = await this._execute(null, [Op.add(key, by)], undefined, optionsOf('add', options))
    return reads[0]?.value ? Number(reads[0].value.bytes.toString()) : null
  }

  async request (requestId, given) {
    const options = optionsOf('request', given)
    const scope = checkedScope(options.scope)
    checkedFindId(requestId)
    const pace = this._pace(options)
    for (;;) {
      let error
      try {
        return await this._lookUp(requestId, scope, pace)
      } catch (why) {
        error = harmless(why)
      }
      if (!error.retryable || !await pace.pause(error)) throw pace.gaveUp(error)
    }
  }

  async result (requestId, options) {
    const answer = await this._readResult(requestId, optionsOf('result', options))
    return answer && rawOf(rawValue, answer).bytes
  }

  async resultStream (requestId, options) {
    const answer = await this._readResult(requestId, optionsOf('resultStream', options), { isStreamed: true })
    if (answer === null) return null
    const { stream, size } = rawOf(streamedOf, answer)
    return { stream, size }
  }

  _pace (options) {
    return new Pace(checkedMs('runMsMax', options?.runMsMax, this._options.runMsMax), signalsOf(options?.signal))
  }

  async _readKey (key, options, more = {}) {
    const path = keyPath('/v1', checked(key), { fresh: options.fresh ? true : undefined })
    const answer = await this._read(path, { ...this._sessionHeader(), ...more.headers }, options, more, 'absent')
    this._committed(answer?.headers['aft-session'])
    return answer
  }

  async _readResult (requestId, options, more) {
    const path = requestPath('result', checkedFindId(requestId), checkedScope(options.scope))
    return this._read(path, {}, options, more, 'not_found', requestId)
  }

  // Sends a call that reads one thing until it is answered. Returns null if there is no such thing.
  async _read (path, headers, options, more, missing, requestId = null) {
    const pace = this._pace(options)
    for (;;) {
      let error
      try {
        return await this._transport.send('GET', path, undefined, headers, pace, { reads: true, ...more })
      } catch (why) {
        error = harmless(why)._about(requestId)
      }
      if (error.code === missing || error.code === 'absent') return null
      if (!error.retryable || !await pace.pause(error)) throw this._told(pace.gaveUp(error))
    }
  }

  async _writeIf (op, options) {
    const { ran } = await this._execute(null, [op], undefined, options)
    return ran
  }

  async _write (method, key, body, headers, options) {
    const path = keyPath('/v1', checked(key))
    const pace = this._pace(options)
    for (;;) {
      let done
      try {
        done = reply(await this._transport.send(method, path, body, { ...headers, ...this._sessionHeader() }, pace), commits)
      } catch (why) {
        const error = committing(why)
        if (error instanceof Unknown) {
          if (error._isAborted) throw error
          done = await this._resolve(error, pace)
        } else {
          if (error.retryable && !body?.isRead && await pace.pause(error)) continue
          throw this._told(pace.gaveUp(error))
        }
      }
      this._committed(done.session)
      return ranOf(done, false, Buffer.alloc(0))
    }
  }

  _sessionHeader () { return this._session === null ? {} : { 'Aft-Session': this._session } }

  async _lookUp (requestId, scope, pace) {
    try {
      const answer = await this._transport.send('GET', requestPath('request', requestId, scope), undefined, {}, pace, { reads: true })
      const found = reply(answer, finds)
      const { hash, version, committed_at: committedAt, kept_until: keptUntil, keys = [] } = found
      return { hash, version, committedAt, keptUntil, keys, result: unbase64(found.result), resultSize: found.result_size ?? null }
    } catch (why) {
      const error = harmless(why)._about(requestId)
      if (error instanceof NotFound && error.code !== 'no_such_path') return null
      throw error
    }
  }

  async _post (path, message, pace, isWhole, headers = {}) {
    const all = { 'Content-Type': 'application/json', ...headers }
    return reply(await this._transport.send('POST', path, Buffer.from(JSON.stringify(message)), all, pace), isWhole)
  }
}

// Returns what `use` makes of an answer. Throws the error of an answer that is not AFT's.
function rawOf (use, answer) {
  try { return use(answer) } catch (why) { throw harmless(why) }
}
