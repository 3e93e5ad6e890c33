// Errors: one class for each thing that the caller can do, and three marks of a failed call that do
// not leave the client: NotSent, NoAnswer and Aborted.

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
  get retryAfterMs () { return this.problem?.retry_after_ms ?? this._askedMs ?? null }
  get retryable () { return (this instanceof Retry || this instanceof Unavailable) && !this._isPermanent }

  /** @internal */
  _about (requestId, transaction) {
    this.requestId = requestId ?? this.requestId
    this.transaction = transaction ?? this.transaction
    const about = [this.code && `[${this.code}]`, this.requestId && `(request ${JSON.stringify(this.requestId)})`,
      this.transaction && `(transaction ${this.transaction})`]
    this.message = [this.detail, ...about.filter(Boolean)].join(' ')
    return this
  }

  // Adds to the text that the client tried `tries` times within `ms`, and that this was the last
  // failure.
  /** @internal */
  _gaveUp (tries, ms) {
    if (tries < 2 || this._hasGivenUp) return this
    this._hasGivenUp = true
    this.detail += ` (the last of ${tries} tries within ${(ms / 1_000).toFixed(1)} s)`
    return this._about(null, null)
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
export class SessionLost extends Invalid {}
export class NotFound extends AftError {}
export class Unauthorized extends AftError {}
export class Internal extends AftError {}

// No connection was made, so the call had no effect, and will have none. If `isPermanent`, another
// try would fail in the same way (TLS was refused).
export class NotSent extends Error {
  constructor (detail, isPermanent = false) {
    super(detail)
    this.isPermanent = isPermanent
  }
}

// The call may have had its effect, or may still have it. If `isPermanent`, another kind of server
// answered with a success, and would do so again. If `isStale`, a connection that had been idle was
// dead: it broke before any byte of the answer.
export class NoAnswer extends Error {
  constructor (detail, { isPermanent = false, isStale = false } = {}) {
    super(detail)
    this.isPermanent = isPermanent
    this.isStale = isStale
  }
}

// A signal of the caller ended the call. If `isSent`, the call may have had its effect.
export class Aborted extends Error {
  constructor (reason, isSent) {
    super('the caller aborted the call')
    this.reason = reason
    this.isSent = isSent
  }
}

// Returns the error of a call that another try cannot help, and that had no effect.
export function permanent (detail) {
  const error = new Unavailable(detail)
  error._isPermanent = true
  return error
}

const isOurs = why => why instanceof AftError || why instanceof NotSent || why instanceof NoAnswer

// Returns the error of a call that cannot commit. Throws the reason of a signal that ended the
// call. An exception that is neither the server's error nor a lost answer is a bug in the client,
// and is thrown.
export function harmless (why) {
  if (why instanceof Aborted) throw why.reason
  if (!isOurs(why)) throw why
  if (why instanceof AftError) return why
  return why.isPermanent ? permanent(why.message) : new Unavailable(why.message)
}

// Returns the error of a call that commits.
export function committing (why) {
  if (why instanceof Aborted && why.isSent) return interrupted(why.reason)
  return why instanceof NoAnswer ? new Unknown(why.message) : harmless(why)
}

// Returns the error of a commit that a signal of the caller ended while its outcome was open.
export function interrupted (reason) {
  const error = new Unknown('the caller aborted while the commit was in flight, so it may have committed')
  error.cause = reason
  error._isAborted = true
  return error
}

// Returns true if the server, or a proxy before it, turned the call away because it was busy.
export const isTurnedAway = why => why?.code === 'overloaded' || why?._isTurnedAway === true
