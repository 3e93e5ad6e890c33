/** A value of a key. */
export interface Value {
  bytes: Buffer,
  /** The content type with which it was written; `application/octet-stream` if there was none. */
  contentType: string,
  /** The version's identity; `uncommitted` for the transaction's own write. */
  version: string
}
/** The result of a get or an add of a batch; `value` is null if the key has none. */
export interface Read { key: string, value: Value | null }
/**
 * A key of a listing. `size` is the size of its value in bytes; `version` is `uncommitted` for the
 * transaction's own write.
 */
export interface Listed { key: string, size: number, version: string }
/** The outcome of a run, or of another call, that has committed. */
export interface Ran {
  /** The result of the attempt that committed. */
  result: Buffer
  /**
   * True if another attempt, not one of this run's, has committed: the writes of this run had no
   * effect.
   */
  replayed: boolean
  /** The identity of the committed transaction; null if there was nothing to store. */
  version: string | null
  /**
   * The size of the result in bytes, if it is too large for `result`, which is empty then; else
   * null. `Client.result` reads it.
   */
  resultSize: number | null
  /**
   * The number of attempts that this call made; for a run, the number of calls of its function. 0
   * if the request had committed before.
   */
  attempts: number
}
/**
 * The outcome of a whole transaction that has committed. `reads` has one entry for every get and
 * add, in order; it is empty if the commit is known and its reads are not (after a replay, perhaps
 * of an earlier try of this same call, or if an answer was lost).
 */
export interface Executed { ran: Ran, reads: Read[] }
/** A committed request. */
export interface Found {
  /** The hash of the request's ID, by which the store names its record. */
  hash: string
  /** The identity of the committed transaction. */
  version: string
  /** The time of the commit (RFC 3339). */
  committedAt: string
  /** The time until which the commit is kept at least (RFC 3339). */
  keptUntil: string
  /** The keys that it wrote. */
  keys: string[]
  result: Buffer
  /**
   * The size of the result in bytes, if it is too large for `result`, which is empty then; else
   * null. `Client.result` reads it.
   */
  resultSize: number | null
}
/** Bytes, or text that is written as UTF-8. */
export type Bytes = string | Uint8Array
/**
 * A condition on the committed version of a key: it has no value, its value is of this version, or
 * its value has these bytes. Give one of them. The transaction's own writes are not considered. A
 * condition needs a serializable transaction, as `run` and `execute` open it. If it does not hold,
 * the call throws `ConditionFailed`.
 */
export interface Condition { ifAbsent?: boolean, ifVersion?: string, ifValue?: Bytes }
interface Given { if_absent?: boolean, if_version?: string, if_value?: string }
/** One operation of a batch, made by `Op`. */
export type Operation = { get: string } | ({ put: string, value: Buffer, contentType?: string } & Given) | ({ delete: string } & Given) |
  ({ check: string } & Given) | { add: string, by: number }
/**
 * Makes operations. Each method throws `Invalid` if the key is not valid: it must have 1 to 1,088
 * bytes of UTF-8.
 */
export const Op: {
  /** Reads a key. The value is among the results. */
  get(key: string): Operation
  /**
   * Writes a value, with an optional content type, which reads return with it, and an optional
   * condition.
   */
  put(key: string, value: Bytes, contentType?: string | null, condition?: Condition): Operation
  /** Deletes a key, with an optional condition. */
  delete(key: string, condition?: Condition): Operation
  /** Checks a condition, and does nothing else. */
  check(key: string, condition: Condition): Operation
  /**
   * Adds to the number that a key holds as decimal text; a key without a value counts as 0. The sum
   * is among the results. The operation is only possible in a call that commits, and not together
   * with a get.
   */
  add(key: string, by: number): Operation
}

export interface ClientOptions {
  /** The bearer token to present to the server. */
  token?: string
  /** The timeout for opening a connection, in milliseconds; 5,000 by default. */
  connectTimeoutMs?: number
  /** The timeout of one call, its answer included, in milliseconds; 30,000 by default. */
  callTimeoutMs?: number
  /**
   * The deadline of transactions, in milliseconds from their opening, unless the call sets its own.
   * By default the server chooses it: a minute unless the server is set otherwise.
   */
  transactionTimeoutMs?: number
  /** The most attempts of a run or a whole transaction; 10 by default, and at least one. */
  attemptsMax?: number
  /**
   * The time in milliseconds after which a run, or another call, starts no new attempt; 60,000 by
   * default. It does not interrupt a function that is running.
   */
  runMsMax?: number
  /**
   * True, the default, if each transaction sees the commits that this client made before it began,
   * on any node.
   */
  session?: boolean
  /**
   * The most bytes of small writes that are buffered until the commit; 1 MiB by default, and at
   * most 4 MiB. With 0 each write is a call of its own, and its errors are thrown at once.
   */
  writeBufferBytesMax?: number
}
export interface RequestOptions {
  /** A name that keeps the same IDs of different functions apart. */
  scope?: string
  /**
   * A fingerprint of the payload: a request with the same ID and another fingerprint is rejected
   * (`KeyReused`).
   */
  fingerprint?: string
  /**
   * The deadline of each attempt's transaction, in milliseconds from its opening. The default is
   * the client's `transactionTimeoutMs`.
   */
  timeoutMs?: number
  /** The time in whole seconds for which the commit and its result are kept; a day by default. */
  retentionS?: number
  /**
   * True to run at once beside another open attempt of the request instead of waiting for it, for
   * instance because that one is known to be gone. The request takes effect once in any case.
   */
  overlap?: boolean
  /**
   * True to see every commit that was acknowledged before the attempt began, on any server of the
   * store.
   */
  fresh?: boolean
  /**
   * The isolation level; by default `serializable` for `run` and `execute`, and null for `begin`.
   * - `serializable`: an attempt commits only if the versions that it read are still the newest;
   *   otherwise it
   *   has no effect. The check may cost a transaction that only reads a round trip to the store.
   * - `read_atomic`: nothing is checked; two transactions that read the same version may both
   *   overwrite it.
   * - null: on a shared store (`s3:`, `dynamodb:`, `redis:`) the level of the keys that the
   *   transaction
   *   writes; on a store that a single process holds (`memory:`, `local:`) read atomic.
   *
   * On a shared store a serializable transaction cannot list keys, and cannot use keys whose prefix
   * is read atomic: the server rejects both with the reason (`Invalid`). Ask for `read_atomic`
   * there.
   */
  isolation?: 'read_atomic' | 'serializable' | null
  /**
   * Keys to read in the call that opens the transaction, so that getting them needs no call of its
   * own.
   */
  reads?: string[]
}

/** A client of one server: a pool of connections, and one session. */
export class Client {
  /**
   * Makes a client. Nothing is sent yet.
   * @param url The server, `http://HOST[:PORT]` or `https://HOST[:PORT]`.
   * @throws {Invalid} The URL has another form, or the token cannot be sent in a header.
   */
  constructor(url: string, options?: ClientOptions)
  /** Closes the connections. */
  close(): void
  /**
   * The session's token, which another process can pass to `joinSession`; null before the first
   * commit, and if sessions are off.
   */
  readonly session: string | null
  /**
   * Merges the session of another process into this one: transactions that begin from now on see
   * that session's commits. With null, or if sessions are off, nothing happens.
   */
  joinSession(token: string | null): void
  /**
   * Calls `fn` in a transaction until its request has committed once.
   *
   * `fn` is called once for each attempt: once as a rule, several times after failures, and not at
   * all if the request has committed before. Its effects outside the transaction may therefore be
   * repeated. If it throws, the attempt is aborted and the run throws the same error; but if a call
   * of the transaction had failed before with a retryable error, `fn` is called again, in a new
   * attempt.
   *
   * A run is serializable unless `isolation` names another level. An attempt that loses a conflict
   * has no effect, and another follows after a random pause that grows with each failure, until
   * `attemptsMax` or `runMsMax` is used up.
   * @param requestId The ID of what the outside asked for once (a message's ID, an order's number);
   * never use one ID for two requests. With null no later call can find the outcome.
   * @param fn The function. Its result is returned to later attempts.
   * @returns The outcome of the attempt that committed.
   * @throws {Unknown} An attempt may have committed. After any other error none has.
   * @throws {Retry} The attempts or the time were used up; `code` is `conflict` if the last attempt
   * lost a conflict.
   * @throws {Unavailable} The server could not be reached, or had no room, until the time was used
   * up.
   * @throws {InProgress} Another attempt of the request was open until the time was used up.
   * @throws {AftError} The server rejected a call; see the other classes.
   */
  run(requestId: string | null, fn: (t: Transaction) => Promise<Bytes | void> | Bytes | void, options?: RequestOptions): Promise<Ran>
  /**
   * Opens a transaction by hand. If the request has committed already, `t.replayed` is true,
   * `t.ran` is the outcome, and the transaction takes no calls.
   *
   * The level is left to the store unless `isolation` names one. A transaction by hand is not run
   * again after a conflict: the commit of a serializable one throws `Retry` then.
   * @throws {InProgress} Another attempt of the request was open until `runMsMax` was used up.
   * @throws {Unavailable} The server could not be reached, or had no room, until the time was used
   * up.
   * @throws {AftError} The server rejected the opening.
   */
  begin(requestId?: string | null, options?: RequestOptions): Promise<Transaction>
  /**
   * Runs operations as one transaction, in one call and in order. After a conflict it is sent
   * again, as a run is; `ran.attempts` is the number of tries.
   *
   * If a condition or an add is among the operations, a request without an ID gets a random one. So
   * the server recognises a call that is sent again because its answer was lost, and the call does
   * not conflict with its own write.
   * @param result The result that is returned to later attempts of the request.
   * @returns The outcome, with the results of gets and adds.
   * @throws {ConditionFailed} A condition does not hold, and nothing took effect.
   * @throws {Unknown} The transaction may have committed, for instance because a request without an
   * ID got no answer.
   * @throws {AftError} Otherwise the errors of `run`.
   */
  execute(requestId: string | null, ops: Operation[], result?: Bytes, options?: RequestOptions): Promise<Executed>
  /**
   * Reads one key in a transaction of its own.
   * @param options `fresh`: true to read the value of the newest commit that was acknowledged
   * before the call, on any server of the store, or a newer one.
   * @returns The value; null if the key has none.
   * @throws {Invalid} The key is not valid.
   * @throws {Unavailable} The server did not answer until `runMsMax` was used up.
   */
  get(key: string, options?: { fresh?: boolean }): Promise<Value | null>
  /**
   * Writes one key in a transaction of its own. If the answer is lost, the write is not sent again,
   * since another client may have written a newer value meanwhile. For a write that must take
   * effect exactly once, use `run` or `execute` with a request ID.
   * @throws {Unknown} The answer was lost, and the write may have taken effect.
   * @throws {Invalid} The key, the value or the content type is not valid.
   * @throws {Unavailable} The server could not be reached until `runMsMax` was used up.
   */
  put(key: string, value: Bytes, contentType?: string | null): Promise<Ran>
  /**
   * Writes one key in a transaction of its own if a condition holds. The write takes effect once,
   * also if the call is sent several times. The value must fit into one call.
   * @throws {ConditionFailed} The condition does not hold, and nothing was written.
   * @throws {AftError} Otherwise the errors of `execute`.
   */
  put(key: string, value: Bytes, contentType: string | null | undefined, condition: Condition): Promise<Ran>
  /**
   * Deletes one key in a transaction of its own, with an optional condition.
   * @throws {AftError} The errors of `put`.
   */
  delete(key: string, condition?: Condition): Promise<Ran>
  /**
   * Adds to the number that a key holds as decimal text, in a transaction of its own. It is added
   * once, also if the call is sent several times.
   * @param by The number to add, a safe integer; 1 by default.
   * @returns The sum, rounded if it is beyond 2^53; null if the number was added but the answer
   * with the sum was lost.
   * @throws {Invalid} The key holds no number, the sum does not fit into 64 bits, or `by` is not a
   * safe integer.
   * @throws {AftError} Otherwise the errors of `execute`.
   */
  add(key: string, by?: number): Promise<number | null>
  /**
   * Looks a request up.
   * @returns Its commit, with the time, the keys and the result; null if no commit of it is known.
   * @throws {Unavailable} The server did not answer until `runMsMax` was used up.
   * @throws {AftError} The server rejected the call.
   */
  request(requestId: string, options?: { scope?: string }): Promise<Found | null>
  /**
   * Reads the result of a committed request, of any size.
   * @returns The result; null if no commit of the request is known, or if it has no result.
   * @throws {AftError} The errors of `request`.
   */
  result(requestId: string, options?: { scope?: string }): Promise<Buffer | null>
}

/**
 * An open transaction. `Client.begin` and `Client.run` make it. It reads its own writes and an
 * atomic snapshot of committed versions; others see its writes only after it has committed. Small
 * writes are buffered in it and sent with the commit.
 */
export class Transaction {
  private constructor()
  /**
   * The transaction's token, which identifies it in logs and problems; empty if the request was
   * replayed.
   */
  readonly token: string
  /** The outcome, once it has committed; null before. */
  readonly ran: Ran | null
  /**
   * True if another attempt of the request has committed: nothing is left to do, and `ran` is its
   * outcome.
   */
  readonly replayed: boolean
  /**
   * Reads a key.
   * @returns The value; null if the key has none.
   * @throws {Retry} No version is left that fits the earlier reads, or the server has forgotten the
   * transaction: run the request again.
   * @throws {Unavailable} The server did not answer.
   * @throws {Invalid} The key is not valid, or the transaction has ended.
   */
  get(key: string): Promise<Value | null>
  /**
   * Writes a value. A small value is buffered; errors of the server about it are thrown by the
   * commit.
   * @throws {Invalid} The key, the value or the content type is not valid, or the transaction has
   * ended.
   * @throws {AftError} The value was too large for the buffer, and its call failed.
   */
  put(key: string, value: Bytes, contentType?: string): Promise<void>
  /**
   * Deletes a key.
   * @throws {AftError} The errors of `put`.
   */
  delete(key: string): Promise<void>
  /**
   * Lists the keys that begin with a prefix, in the order of their bytes. Each page is one call.
   * @param prefix The prefix; by default all keys are listed.
   * @param options `after`: the text up to and including which keys are skipped. `pageLen`: the
   * number of keys on a page, 1 to 1,000, which is the default.
   * @throws {AftError} The errors of `get`, while the iterator runs. A serializable transaction
   * cannot list keys on a shared store (`Invalid`).
   */
  list(prefix?: string, options?: { after?: string, pageLen?: number }): AsyncGenerator<Listed>
  /**
   * Runs several operations in one call, in order and after the buffered writes. They take effect
   * together in the transaction, or not at all.
   * @returns One result for every get, in order.
   * @throws {ConditionFailed} A condition does not hold, and no operation took effect.
   * @throws {AftError} Otherwise the errors of `get` and `put`.
   */
  batch(ops: Operation[]): Promise<Read[]>
  /**
   * Commits. A commit in doubt is sent again until its outcome is known, or `runMsMax` is used up.
   * @param result The result that is returned to later attempts of the request; it is stored only
   * if the request has an ID.
   * @throws {Unknown} The transaction may have committed. After any other error it has not, and
   * will not.
   * @throws {Retry} It lost a conflict, or its time was over: run the request again.
   * @throws {Invalid} The transaction has ended, or belongs to `Client.run`, which commits by
   * itself.
   */
  commit(result?: Bytes): Promise<Ran>
  /**
   * Aborts the transaction and drops its writes. Without a call it would be aborted at its
   * deadline.
   * @throws {Invalid} The transaction has ended, or belongs to `Client.run`, which aborts if its
   * function throws.
   * @throws {AftError} The call failed.
   */
  abort(): Promise<void>
}

/**
 * Merges two session tokens of one client into one. The result names the newest commits of both;
 * the others are covered by making transactions fresh for a while.
 * @throws {Error} A token cannot be read. It may come from a newer server.
 */
export function mergeSessions(one: string, other: string): string

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
   * The pause before the next try, in milliseconds, if the server named one; else null. It is the
   * shortest sensible pause; for `InProgress` it is the longest.
   */
  readonly retryAfterMs: number | null
  /** True if certainly nothing was committed, and another attempt may succeed. */
  readonly retryable: boolean
}
/** Nothing was committed, and the transaction cannot continue: run the request again. */
export class Retry extends AftError {}
/**
 * Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try again
 * later.
 */
export class Unavailable extends AftError {}
/**
 * The outcome of the transaction is not known: it may have committed. With a request ID, run the
 * request again under the same ID, or look it up with `Client.request`. Without one, read the keys
 * that it would have written.
 */
export class Unknown extends AftError {}
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
/** The thing that the call names does not exist. A key without a value is not an error. */
export class NotFound extends AftError {}
/** The credentials are missing, or do not allow the call: present others. */
export class Unauthorized extends AftError {}
/**
 * The server or its store needs repair; or another kind of server answered. A commit that may have
 * taken effect is `Unknown` instead, with the damage in its text.
 */
export class Internal extends AftError {}
