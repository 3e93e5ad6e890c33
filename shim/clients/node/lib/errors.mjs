// Errors: one class for each thing that the caller can do, and two marks of a failed call that stay
// inside.

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
export class NotSent extends Error {}
// The call may have had its effect, or may still have it.
export class NoAnswer extends Error {}

const OF_CODE = new Map(Object.entries({
  overloaded: Unavailable, not_serving: Unavailable, store_unavailable: Unavailable, in_progress: InProgress,
  key_reused: KeyReused, result_gone: ResultGone, condition_failed: ConditionFailed
}))
const OF_ACTION = new Map(Object.entries({
  retry: Retry, unknown: Unknown, conflict: Invalid, invalid: Invalid, not_found: NotFound, unauthorized: Unauthorized,
  internal: Internal
}))

export function refusal (status, body) {
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
export function harmless (why) {
  if (!isOurs(why)) throw why
  return why instanceof AftError ? why : new Unavailable(why.message)
}

// Returns the error of a call that commits.
export const committing = why => why instanceof NoAnswer ? new Unknown(why.message) : harmless(why)
