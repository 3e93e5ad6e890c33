// A transaction: its buffered writes, its calls, and its commit.

import { AftError, Internal, Invalid, NoAnswer, NotFound, NotSent, Retry, Unauthorized, Unavailable, Unknown, committing, harmless } from './errors.mjs'
import { encodeName, repeats } from './names.mjs'
import { Pace } from './pace.mjs'
import { reply } from './transport.mjs'
import { DEFAULT_CONTENT_TYPE, Op, bytes, checked, checkedType, isGet, keyOf, opJson, ranOf, rawValue, readOf, resultOf, weight } from './values.mjs'

// The largest value that is buffered. A larger one is sent at once, as a raw body: its cost is in
// its bytes, not in the call.
const BUFFERED_VALUE_BYTES_MAX = 64 << 10
// The most writes that are buffered: half of what one call may have.
const BUFFERED_WRITES_MAX = 500
// The most times that a call inside a transaction is sent, if repeating it is harmless.
const TRIES_IN_PLACE_MAX = 3
// The time that a run waits for the answer to its abort. The abort's only use is that other
// attempts do not wait for a dead one.
const ABORT_MS_MAX = 2_000

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
        throw doubt // The server has forgotten the transaction, or its error says nothing about the first call.
      } else {
        throw error instanceof NotFound ? new Retry(error.detail, error.problem) : error
      }
      if (nth >= timesMax || !await pace.pause(error)) throw doubt ?? error
    }
  }
}
