// The client: runs, whole transactions, and single operations.

import { randomUUID } from 'node:crypto'

import { AftError, InProgress, Internal, NotFound, Unauthorized, Unknown, committing, harmless } from './errors.mjs'
import { encodeName, lookUpPath } from './names.mjs'
import { Pace } from './pace.mjs'
import { Run, beginOf } from './run.mjs'
import { mergeSessions } from './session.mjs'
import { Transaction } from './transaction.mjs'
import { Transport, reply } from './transport.mjs'
import { Op, bytes, checked, checkedType, isConditional, opJson, ranOf, rawValue, readOf, resultOf, unbase64 } from './values.mjs'

// The most bytes of buffered writes that can be set: in base64 they are, with some room, below the
// 8 MiB that a body may have.
const WRITE_BUFFER_BYTES_LIMIT = 4 << 20
// The longest time that an opening waits, on the server, for another open attempt of its request:
// the servers' default.
const WAIT_MS_MAX = 5_000

// The default level of runs and whole transactions, which run again after a conflict.
const SERIALIZABLE = 'serializable'

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
