// A run: the attempts of one request.

import { Aborted, AftError, InProgress, Invalid, NoAnswer, Retry, Unknown, harmless, interrupted } from './errors.mjs'
import { settle } from './commit.mjs'
import { Pace, checkedMs, checkedWhole, signalsOf } from './pace.mjs'
import { opens, reads } from './refusals.mjs'
import { Transaction } from './transaction.mjs'
import { bytes, checked, checkedId, checkedScope, ranOf, typeName } from './values.mjs'

// The most times that a commit is sent if the request has an ID. After that a new attempt finds out
// as much, and makes progress.
const COMMIT_AGAIN_MAX = 3

// The longest retention that is sent, in seconds: above what servers allow, and within all times.
const RETENTION_S_MAX = 2_147_483

// Returns the message that opens an attempt. `level` is the level if the options name none; null
// leaves it to the store.
export function beginOf (client, requestId, options, level, waitMs, beside, conflicts) {
  const { fingerprint, retentionS, wait, fresh, isolation = level, reads = [] } = options
  if (!Array.isArray(reads)) throw new Invalid(`reads must be an array of keys, not ${typeName(reads)}`)
  const timeoutMs = checkedMs('timeoutMs', options.timeoutMs, client._options.transactionTimeoutMs)
  const begin = {
    request_id: requestId ?? undefined,
    scope: checkedScope(options.scope),
    fingerprint,
    timeout_ms: timeoutMs === undefined ? undefined : Math.ceil(timeoutMs),
    wait_ms: Math.floor(waitMs),
    retention_s: checkedWhole('retentionS', retentionS, 0, RETENTION_S_MAX),
    session: client.session ?? undefined
  }
  // Waiting for an attempt of this run would mean waiting for its deadline.
  begin.if_open = wait && !beside ? 'wait' : 'run'
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
    this.requestId = checkedId(requestId)
    this.options = options
    this.level = level
    this.pace = new Pace(checkedMs('runMsMax', options.runMsMax, client._options.runMsMax), signalsOf(options.signal))
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

  // Opens an attempt. Returns its transaction, or the outcome of another attempt that has
  // committed. By hand, its calls have no common limit of time.
  async open (isByHand = false) {
    for (;;) {
      // The server answers in time although it waits.
      const waitMs = Math.min(this.client._options.waitMsMax, this.pace.remaining() / 2)
      let error
      try {
        const begin = beginOf(this.client, this.requestId, this.options, this.level, waitMs, this.beside, this.conflicts)
        const isWhole = reply => opens(reply) && (reply.replayed || reads(begin.ops?.length ?? 0)(reply))
        const reply = await this.client._post('/v1/transactions', begin, this.pace, isWhole)
        if (reply.replayed) {
          this.client._committed(reply.session)
          return this.replay(ranOf(reply, true))
        }
        this.attempts += 1
        this.beside = true
        const pace = isByHand ? new Pace(Infinity, this.pace.signals) : this.pace
        const more = { scope: this.options.scope, pace, runMsMax: this.pace.ms, isOfRun: !isByHand }
        return new Transaction(this.client, this.requestId, reply, more)
      } catch (why) {
        this.beside ||= why instanceof NoAnswer
        error = harmless(why)._about(this.requestId)
      }
      if (!(error.retryable || error instanceof InProgress) || !await this.pace.pause(error)) return this.giveUp(error)
    }
  }

  // Calls `fn` in attempts until one has committed.
  async until (fn) {
    try {
      for (;;) {
        const opened = await this.open()
        if (!(opened instanceof Transaction)) return opened
        const ran = await this.attempt(opened, fn)
        if (ran !== null) return ran
      }
    } catch (why) {
      // A commit that an earlier attempt left in doubt stays in doubt if the caller aborts.
      const { aborted } = this.pace
      if (aborted === undefined || this.doubts.length === 0 || why instanceof Unknown) throw why
      throw interrupted(aborted.reason)._about(this.requestId, this.doubts.at(-1).transaction.token)
    }
  }

  // Makes one attempt. Returns null if another one has to run.
  async attempt (opened, fn) {
    let result
    try {
      result = bytes(await this.pace.unlessAborted(fn(opened)))
      await this.pace.unlessAborted(opened._calls.settle())
    } catch (own) {
      if (this.pace.aborted !== undefined) {
        await opened._abortQuietly(true)
        throw own
      }
      // If a call of the transaction failed in a way that another attempt may not, run again: the
      // function's error is likely to follow from it. Otherwise throw it, but only if no earlier
      // attempt has committed.
      const doomed = opened._doomed
      await opened._abortQuietly()
      if (doomed !== null && this.mayGoOn() && await this.pace.pause(doomed)) return null
      const found = await this.clearDoubts()
      // The function may have thrown null.
      if (found === null) throw doomed !== null && own === doomed ? this.pace.gaveUp(own) : own
      if (found instanceof AftError) throw found
      return found
    }
    return this.commit(opened, result)
  }

  // Returns the outcome of a commit that was found. It is a replay unless the commit is one of this
  // run's attempts in doubt.
  replay (ran) {
    return { ...ran, attempts: this.attempts, replayed: !this.doubts.some(({ transaction }) => transaction._isOf(ran.version)) }
  }

  // Commits an attempt. Returns null if another attempt has to run.
  async commit (transaction, result) {
    let error
    try {
      const ran = await settle(transaction, result, this.pace, this.requestId === null ? Infinity : COMMIT_AGAIN_MAX)
      return ran.replayed ? this.replay(ran) : { ...ran, attempts: this.attempts }
    } catch (why) {
      if (this.pace.aborted !== undefined) throw why
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

  // Ends the run with `error`, unless a commit in doubt turns out to have taken effect, or stays in
  // doubt.
  async giveUp (error) {
    const found = await this.clearDoubts()
    if (found !== null && !(found instanceof AftError)) return found
    if (found === null && error instanceof Unknown) {
      throw new Retry('every attempt was aborted: nothing was committed')._about(this.requestId)
    }
    throw found ?? this.client._told(this.pace.gaveUp(error))
  }

  // Aborts the attempts in doubt, since an aborted transaction never commits. If that fails for
  // one, looks the request up until it is found or the time is over. Returns null if no attempt has
  // committed, the outcome if one has, and the error if that stays unknown.
  async clearDoubts () {
    const left = []
    for (const doubt of this.doubts) {
      try {
        await doubt.transaction._sendAbort(this.pace)
      } catch (why) {
        if (why instanceof Aborted) throw why.reason
        harmless(why)
        left.push(doubt)
      }
    }
    this.doubts = left
    while (this.doubts.length > 0) {
      const { error } = this.doubts.at(-1)
      try {
        const found = await this.client._lookUp(this.requestId, this.options.scope, this.pace)
        if (found !== null) return this.replay({ result: found.result, version: found.version, resultSize: found.resultSize })
      } catch (why) {
        // A failure that another try cannot help leaves the outcome open for good.
        const failed = harmless(why)
        if (!failed.retryable && failed._isPermanent) return error
      }
      if (!await this.pace.pause(error, error)) return error
    }
    return null
  }
}
