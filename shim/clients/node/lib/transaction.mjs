// A transaction: its buffered writes and its calls. Its commit is in commit.mjs.

import { Readable } from 'node:stream'

import { Calls } from './calls.mjs'
import { settle } from './commit.mjs'
import { Aborted, Invalid, NoAnswer, NotFound, Retry, harmless, isTurnedAway } from './errors.mjs'
import { encodeQuery, keyPath } from './names.mjs'
import { optionsOf } from './options.mjs'
import { Pace, checkedMs, checkedWhole } from './pace.mjs'
import { checkedRange, rangeOf, rawValue, sliceOf, streamedOf } from './reading.mjs'
import { expectEmpty, lists, reads, reply } from './refusals.mjs'
import { Source } from './streams.mjs'
import { DEFAULT_CONTENT_TYPE, Op, bytes, checked, checkedOps, checkedType, isGet, keyOf, opJson, readOf, weight } from './values.mjs'

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
// The time that a caller who aborted waits for it.
const ABORTED_MS_MAX = 100

// Returns true if a call may have had its effect.
const isOpen = why => why instanceof NoAnswer || (why instanceof Aborted && why.isSent)

export class Transaction {
  /** @internal */
  constructor (client, requestId, opened, { ran = null, scope = null, pace = new Pace(Infinity), runMsMax, isOfRun = false } = {}) {
    this._client = client
    this._requestId = requestId ?? null
    this._scope = scope ?? null
    this.token = opened.transaction ?? ''
    this.ran = ran
    this._isEnded = ran !== null
    this._isCommitting = false
    // True if a run commits or aborts it.
    this._isOfRun = isOfRun
    // The limits of a run's calls; by hand, the signals of the opening.
    this._pace = pace
    this._runMsMax = runMsMax ?? client._options.runMsMax
    this._calls = new Calls()
    this._buffer = new Map()
    this._bufferBytes = 0
    // The values that the opening call read, of keys that were not written since.
    this._reads = new Map((opened.results ?? []).map(readOf).map(read => [read.key, read.value]))
    // True once anything was written or checked, so that a commit without an answer is in doubt.
    this._isChanging = false
    // The first error of a call after which another attempt may succeed.
    this._doomed = null
    // The first error after which writes that the caller believes done may be missing. No commit
    // may follow it.
    this._torn = null
    // The error of a call that came after the commit had begun.
    this._late = null
    // The end of an abort whose failure does not matter.
    this._aborting = null
  }

  get replayed () { return this.ran?.replayed ?? false }

  get (key, options) { return this._calls.track(this._get(key, options)) }

  getRange (key, start, length, options) { return this._calls.track(this._getRange(key, start, length, options)) }

  stream (key, options) { return this._calls.track(this._stream(key, options)) }

  put (key, value, contentType, options) { return this._calls.track(this._put(key, value, contentType, options)) }

  putStream (key, source, options) { return this._calls.track(this._putStream(key, source, options)) }

  delete (key, options) { return this._calls.track(this._delete(key, options)) }

  batch (ops, options) { return this._calls.track(this._batch(ops, options)) }

  async * list (prefix = '', options = undefined) {
    const { after = '', signal, ...given } = optionsOf('t.list', options)
    const pageLen = checkedWhole('pageLen', given.pageLen, 1, 1_000, 1_000)
    let next = after
    while (next !== undefined && next !== null) {
      const page = await this._calls.track(this._page(prefix, next, pageLen, signal))
      yield * page.keys
      next = page.next
    }
  }

  async commit (result, options) {
    const { signal, runMsMax } = optionsOf('t.commit', options)
    this._byHand()
    const kept = bytes(result)
    const pace = new Pace(checkedMs('runMsMax', runMsMax, this._runMsMax)).within(Infinity, signal)
    pace.signals.push(...this._pace.signals)
    await this._calls.settle()
    try {
      return await settle(this, kept, pace, Infinity)
    } finally {
      this._isCommitting = false
    }
  }

  async abort (options) {
    const { signal } = optionsOf('t.abort', options)
    this._byHand()
    this._open()
    this._isEnded = true
    try {
      await this._sendAbort(this._limits(signal))
    } catch (why) {
      throw this._about(harmless(why))
    }
  }

  _byHand () {
    if (this._isOfRun) throw this._about(new Invalid(
      'the function of a run must not commit or abort: return a result to commit, or throw an error to abort'
    ))
  }

  _open () {
    if (!this._isEnded) return
    if (!this._isCommitting) throw this._about(new Invalid('the transaction has ended and takes no more calls: begin a new one'))
    this._late ??= this._about(new Invalid(
      'a call of this transaction was not awaited: it came after the commit had begun, and had no effect; await every call before ' +
      (this._isOfRun ? 'the function returns' : 'the commit')
    ))
    throw this._late
  }

  _about (error) { return error._about(this._requestId, this.token) }

  // Returns true if this transaction committed `version`.
  _isOf (version) { return version?.split('-')[1] === this.token.split('-')[1] }

  get _path () { return `/v1/transactions/${this.token}` }

  // Returns the limits of one call.
  _limits (signal) { return this._pace.within(Infinity, signal) }

  _own (key) {
    const own = this._buffer.get(checked(key))
    if (own === undefined) return undefined
    if (own.put === undefined) return null
    return { bytes: Buffer.from(own.value), contentType: own.contentType ?? DEFAULT_CONTENT_TYPE, version: 'uncommitted' }
  }

  async _get (key, options) {
    const { signal } = optionsOf('t.get', options)
    this._open()
    const own = this._own(key)
    if (own !== undefined) return own
    if (this._reads.has(key)) return this._reads.get(key)
    return this._reading(key, signal, {}, rawValue)
  }

  async _getRange (key, start, length, options) {
    const { signal } = optionsOf('t.getRange', options)
    const range = checkedRange(start, length)
    this._open()
    const own = this._own(key)
    if (own !== undefined) return own && sliceOf(own, range)
    return this._reading(key, signal, { headers: range.headers }, answer => rangeOf(answer, range))
  }

  async _stream (key, options) {
    const { signal } = optionsOf('t.stream', options)
    this._open()
    const own = this._own(key)
    if (own === null) return null
    if (own !== undefined) {
      const { bytes, contentType, version } = own
      return { stream: Readable.from([bytes], { objectMode: false }), contentType, version, size: bytes.length }
    }
    return this._reading(key, signal, { isStreamed: true }, streamedOf)
  }

  async _reading (key, signal, { headers = {}, isStreamed = false }, use) {
    try {
      return use(await this._send('GET', keyPath(this._path, key), undefined, headers, signal, { reads: true, isStreamed }))
    } catch (why) {
      if (why?.code === 'absent') return null
      throw this._failed(why, false)
    }
  }

  async _put (key, value, contentType, options) {
    const { signal } = optionsOf('t.put', options)
    return this._write(Op.put(key, value, contentType), signal)
  }

  async _delete (key, options) {
    const { signal } = optionsOf('t.delete', options)
    return this._write(Op.delete(key), signal)
  }

  async _putStream (key, source, options) {
    const { size, contentType, signal } = optionsOf('t.putStream', options)
    this._open()
    checked(key)
    const headers = contentType === undefined || contentType === null ? {} : { 'Content-Type': checkedType(contentType) }
    const body = new Source(source, size)
    try {
      await this._writeAtOnce('PUT', key, body, headers, signal)
    } finally {
      body.close()
    }
  }

  async _page (prefix, after, pageLen, signal) {
    this._open()
    await this._flush([], signal)
    const query = `?prefix=${encodeQuery(prefix)}&after=${encodeQuery(after)}&limit=${pageLen}`
    try {
      return reply(await this._send('GET', `${this._path}/keys${query}`, undefined, {}, signal, { reads: true }), lists)
    } catch (why) {
      throw this._failed(why, false)
    }
  }

  async _batch (ops, options) {
    const { signal } = optionsOf('t.batch', options)
    checkedOps(ops)
    this._open()
    if (ops.length > BUFFERED_WRITES_MAX || ops.reduce((sum, op) => sum + weight(op), 0) > BUFFERED_VALUE_BYTES_MAX) {
      // Send the buffered writes first: with them the call might be too large.
      await this._flush([], signal)
    }
    return this._flush(ops, signal)
  }

  async _write (op, signal) {
    this._open()
    const key = keyOf(op)
    const most = this._client._options.writeBufferBytesMax
    if (most > 0 && (op.value?.length ?? 0) <= BUFFERED_VALUE_BYTES_MAX) {
      const replaced = this._buffer.get(key)
      const more = weight(op) - (replaced === undefined ? 0 : weight(replaced))
      if (this._bufferBytes + more > most || this._buffer.size + (replaced === undefined ? 1 : 0) > BUFFERED_WRITES_MAX) {
        await this._flush([], signal)
        this._open()
      }
      this._unbuffer(key)
      this._buffer.set(key, op)
      this._bufferBytes += weight(op)
      this._reads.delete(key)
      return
    }
    const headers = op.contentType === undefined ? {} : { 'Content-Type': op.contentType }
    await this._writeAtOnce(op.put === undefined ? 'DELETE' : 'PUT', key, op.value, headers, signal)
  }

  async _writeAtOnce (method, key, body, headers, signal) {
    this._isChanging = true
    try {
      expectEmpty(await this._send(method, keyPath(this._path, key), body, headers, signal))
    } catch (why) {
      // A write that was rejected had no effect. A write without an answer may have had its effect.
      throw this._failed(why, isOpen(why))
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
  async _flush (ops, signal) {
    for (const op of ops) if (!isGet(op)) this._reads.delete(keyOf(op))
    const waited = this._take()
    const all = [...waited, ...ops]
    if (all.length === 0) return []
    const onlyReads = all.every(isGet)
    if (!onlyReads) this._isChanging = true
    const body = Buffer.from(JSON.stringify({ ops: all.map(opJson) }))
    try {
      const answer = await this._send('POST', `${this._path}/batch`, body, { 'Content-Type': 'application/json' }, signal, { reads: onlyReads })
      return (reply(answer, reads(all.filter(isGet).length)).results ?? []).map(readOf)
    } catch (why) {
      // The buffered writes are out of the buffer, and the caller believes them done: after any
      // failure the transaction must not commit without them.
      throw this._failed(why, waited.length > 0 || (!onlyReads && isOpen(why)))
    }
  }

  // Sends a call, and sends it again where that is harmless: if the server was overloaded, or if
  // the call only reads and got no answer.
  //
  // A write without an answer is not sent again: its first copy may still be in flight, and would
  // then take effect after later writes.
  async _send (method, path, body, headers, signal, more = {}) {
    const pace = this._limits(signal)
    const until = performance.now() + this._client._transport.callTimeoutMs
    for (let tries = 1; ; tries += 1) {
      try {
        return await this._client._transport.send(method, path, body, headers, pace, more)
      } catch (why) {
        const again = !body?.isRead && ((more.reads && why instanceof NoAnswer && !why.isPermanent) || isTurnedAway(why))
        if (!again || tries === TRIES_IN_PLACE_MAX || performance.now() >= until || !await pace.pause(harmless(why))) throw why
      }
    }
  }

  // Records what a failed call means for the transaction, and returns its error.
  _failed (why, torn) {
    let error
    try { error = harmless(why) } catch (reason) {
      // The caller ended the whole transaction, or this call; a write may have had its effect then.
      if (this._pace.aborted !== undefined) this._abortQuietly(true)
      if (torn) this._torn ??= this._about(new Retry('a call of the transaction was aborted: run the request again'))
      throw reason
    }
    // The node has forgotten the transaction, and no commit was sent: run the request again.
    if (error instanceof NotFound && error.code !== 'no_such_path') error = new Retry(error.detail, error.problem)
    this._about(error)
    if (error.retryable) this._doomed ??= error
    if (torn) this._torn ??= error
    return error
  }

  async _sendAbort (pace) { expectEmpty(await this._client._transport.send('POST', `${this._path}/abort`, undefined, {}, pace)) }

  // Aborts without an error. If the caller has aborted, hardly waits for the answer.
  async _abortQuietly (isAborted = false) {
    if (!this._isEnded) {
      this._isEnded = true
      // Without an abort the transaction ends at its deadline.
      this._aborting = this._sendAbort(new Pace(ABORT_MS_MAX)).catch(why => { harmless(why) })
    }
    if (!isAborted) return this._aborting
    let timer
    await Promise.race([this._aborting, new Promise(resolve => { timer = setTimeout(resolve, ABORTED_MS_MAX) })])
    clearTimeout(timer)
  }
}
