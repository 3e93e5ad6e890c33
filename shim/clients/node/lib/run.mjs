// A run: the attempts of one request.

import { AftError, InProgress, NoAnswer, Retry, Unknown, harmless } from './errors.mjs'
import { Pace } from './pace.mjs'
import { Transaction } from './transaction.mjs'
import { checked, ranOf } from './values.mjs'

// The most times that a commit is sent if the request has an ID. After that a new attempt finds out
// as much, and makes progress.
const COMMIT_AGAIN_MAX = 3

// Returns the message that opens an attempt. `level` is the level if the options name none; null
// leaves it to the store.
export function beginOf (client, requestId, options, level, waitMs, beside, conflicts) {
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

// The attempts of one request, one after the other. A named request may run again while a commit is
// in doubt, because one commit record decides for all attempts: the next opening, or the next
// commit, is answered with the winner's result.
export class Run {
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
      if (this.requestId === null) throw error // Without a request ID a second attempt could commit twice.
      this.doubts.push({ transaction, error })
    } else if (!error.retryable) {
      return this.giveUp(error)
    }
    if (this.mayGoOn() && await this.pace.pause(error)) return null
    return this.giveUp(error)
  }

  // Ends the run with `error`, unless a commit in doubt turns out to have taken effect, or stays in
  // doubt.
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
