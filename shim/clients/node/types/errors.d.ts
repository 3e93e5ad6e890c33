// Errors: one class for each thing that the caller can do.

/**
 * The reason why a call has no result. There is one class for each thing that the caller can do.
 */
export class AftError extends Error {
  /** The description of the failure. */
  readonly detail: string
  /** The server's problem document (RFC 9457), if the server rejected the call; else null. */
  readonly problem: Record<string, unknown> | null
  /** The request's ID, if it has one; else null. */
  readonly requestId: string | null
  /** The transaction's token, if it is known; else null. */
  readonly transaction: string | null
  /** The code of the server's problem document, if the server rejected the call; else null. */
  readonly code: string | null
  /**
   * The pause before the next try, in milliseconds, if the server or a proxy named one; else null.
   * It is the shortest sensible pause; for `InProgress` it is the longest.
   */
  readonly retryAfterMs: number | null
  /**
   * True if certainly nothing was committed, and another attempt may succeed. False for an
   * `Unavailable` that lasts: TLS was refused, or a proxy rejects the calls.
   */
  readonly retryable: boolean
}
/** Nothing was committed, and the transaction cannot continue: run the request again. */
export class Retry extends AftError {}
/**
 * Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try again
 * later. If `retryable` is false, correct the URL, the certificates, or what is between client and
 * server: the text says which.
 */
export class Unavailable extends AftError {}
/**
 * The outcome of the transaction is not known: it may have committed. With a request ID, run the
 * request again under the same ID, or look it up with `Client.request`. Without one, read the keys
 * that it would have written.
 */
export class Unknown extends AftError {
  /** The reason of the signal, if the caller aborted while a commit was in flight. */
  readonly cause?: unknown
}
/** Another attempt of the request is open. Send the request again later to get its result. */
export class InProgress extends AftError {}
/** The request ID was used for another payload: use a new ID for a new request. */
export class KeyReused extends AftError {}
/** The request committed long ago, and its result is no longer kept. It will not run again. */
export class ResultGone extends AftError {}
/** The call is not valid: correct it. In a transaction, nothing of the call took effect. */
export class Invalid extends AftError {}
/**
 * A condition of the call does not hold, and nothing of the call took effect. Read the key, and
 * decide again.
 */
export class ConditionFailed extends Invalid {}
/**
 * The store does not have a commit that this client's session names: it was restored from an older
 * backup, has lost writes, or is another store. The client has dropped the session, so a new call
 * reads what the store has.
 */
export class SessionLost extends Invalid {}
/** The thing that the call names does not exist. A key without a value is not an error. */
export class NotFound extends AftError {}
/** The credentials are missing, or do not allow the call: present others. */
export class Unauthorized extends AftError {}
/**
 * The server or its store needs repair; or another kind of server answered. A commit that may have
 * taken effect is `Unknown` instead, with the damage in its text.
 */
export class Internal extends AftError {}
