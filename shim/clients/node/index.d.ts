/// <reference types="node" />
import type { CallOptions, ClientOptions, OnceOptions, ReadOptions, RequestOptions, StreamOptions, TransactionCallOptions } from './types/options.js'
import type {
  Bytes, ByteSource, Condition, Executed, Found, Listed, Operation, Ran, RangeValue, Read, StreamedResult, StreamedValue, Value
} from './types/values.js'

export * from './types/errors.js'
export * from './types/options.js'
export * from './types/values.js'

/**
 * A client of one server: a pool of connections, and one session. Every call rejects options that
 * it does not know (`Invalid`).
 */
export class Client {
  /**
   * Makes a client. Nothing is sent yet, but the files of `ca`, `certificate` and `key` are read.
   * @param url The server, `http://HOST[:PORT]` or `https://HOST[:PORT]`.
   * @throws {Invalid} The URL has another form, a file cannot be read, or the token cannot be sent
   * in a header. No message repeats a password or a query of the URL.
   */
  constructor(url: string, options?: ClientOptions)
  /** Closes the connections. */
  close(): void
  /**
   * The session's token, which another process can pass to `joinSession`; null before the first
   * commit, after `SessionLost`, and if sessions are off.
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
   *
   * Calls of the transaction that are in flight when `fn` returns are waited for, and are part of
   * the commit; if one fails, the run fails as if `fn` had thrown its error. A call that comes
   * later is rejected (`Invalid`). A run that wrote nothing, and has no request ID, is never
   * unknown: it runs again.
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
   * @throws {Invalid} The ID is not a string or null, or is blank, or the result is not text or
   * bytes.
   * @throws {AftError} The server rejected a call; see the other classes.
   */
  run(requestId: string | null, fn: (t: Transaction) => Promise<Bytes | null | void> | Bytes | null | void, options?: RequestOptions): Promise<Ran>
  /**
   * Opens a transaction by hand. If the request has committed already, `t.replayed` is true,
   * `t.ran` is the outcome, and the transaction takes no calls.
   *
   * The level is left to the store unless `isolation` names one. A transaction by hand is not run
   * again after a conflict: the commit of a serializable one throws `Retry` then.
   *
   * Its calls have the signal of the opening, which aborts it with the next call. `runMsMax` bounds
   * the opening, and then the commit.
   * @throws {InProgress} Another attempt of the request was open until `runMsMax` was used up.
   * @throws {Unavailable} The server could not be reached, or had no room, until the time was used
   * up.
   * @throws {AftError} The server rejected the opening.
   */
  begin(requestId: string | null, options?: RequestOptions): Promise<Transaction>
  /** Opens a transaction by hand for a request without an ID. */
  begin(): Promise<Transaction>
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
  execute(requestId: string | null, ops: Operation[], result?: Bytes | null, options?: Omit<RequestOptions, 'reads'>): Promise<Executed>
  /**
   * Reads one key in a transaction of its own.
   * @returns The value; null if the key has none.
   * @throws {Invalid} The key is not valid, or the value is larger than 256 MiB: use `stream`.
   * @throws {Unavailable} The server did not answer until `runMsMax` was used up; or, at once and
   * not retryable, TLS or a proxy refused the call.
   */
  get(key: string, options?: ReadOptions): Promise<Value | null>
  /**
   * Reads a range of one key's bytes in a transaction of its own.
   * @param start The first byte, from 0 up.
   * @param length The number of bytes, from 1 up; less come if the value ends before.
   * @returns The range, with the size of the whole value; null if the key has no value.
   * @throws {Invalid} The range begins behind the value's end, or is larger than 256 MiB.
   * @throws {AftError} Otherwise the errors of `get`.
   */
  getRange(key: string, start: number, length: number, options?: ReadOptions): Promise<RangeValue | null>
  /**
   * Opens a value of any size for reading, in a transaction of its own.
   * @returns The value, whose bytes are read from its stream; null if the key has none. A signal
   * ends the stream as well.
   * @throws {AftError} The errors of `get`, until the answer begins.
   */
  stream(key: string, options?: ReadOptions): Promise<StreamedValue | null>
  /**
   * Writes one key in a transaction of its own. If the answer is lost, the write is not sent again,
   * since another client may have written a newer value meanwhile. For a write that must take
   * effect exactly once, use `run` or `execute` with a request ID.
   * @throws {Unknown} The answer was lost, and the write may have taken effect.
   * @throws {Invalid} The key, the value or the content type is not valid.
   * @throws {Unavailable} The server could not be reached until `runMsMax` was used up.
   */
  put(key: string, value: Bytes, contentType?: string | null, options?: CallOptions): Promise<Ran>
  /**
   * Writes one key in a transaction of its own if a condition holds. The write takes effect once,
   * also if the call is sent several times. The value must fit into one call.
   * @throws {ConditionFailed} The condition does not hold, and nothing was written.
   * @throws {AftError} Otherwise the errors of `execute`.
   */
  put(key: string, value: Bytes, contentType: string | null | undefined, condition: Condition & CallOptions): Promise<Ran>
  /**
   * Writes a value of any size from a source, in one call and a transaction of its own. It is sent
   * again only if nothing was read from the source yet.
   * @throws {Unknown} The answer was lost, and the write may have taken effect.
   * @throws {Invalid} The source has another size than `size`, or gives something else than bytes;
   * nothing was written.
   * @throws The source's own error; nothing was written.
   * @throws {AftError} Otherwise the errors of `put`.
   */
  putStream(key: string, source: ByteSource, options?: StreamOptions): Promise<Ran>
  /**
   * Deletes one key in a transaction of its own, with an optional condition.
   * @throws {AftError} The errors of `put`.
   */
  delete(key: string, condition?: Condition & CallOptions): Promise<Ran>
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
  add(key: string, by?: number, options?: CallOptions): Promise<number | null>
  /**
   * Looks a request up.
   * @returns Its commit, with the time, the keys and the result; null if no commit of it is known.
   * @throws {Unavailable} The server did not answer until `runMsMax` was used up.
   * @throws {AftError} The server rejected the call.
   */
  request(requestId: string, options?: { scope?: string } & CallOptions): Promise<Found | null>
  /**
   * Reads the result of a committed request, of up to 256 MiB.
   * @returns The result; null if no commit of the request is known, or if it has no result.
   * @throws {Invalid} The result is larger: use `resultStream`.
   * @throws {AftError} Otherwise the errors of `request`.
   */
  result(requestId: string, options?: { scope?: string } & CallOptions): Promise<Buffer | null>
  /**
   * Opens the result of a committed request for reading, of any size.
   * @returns The result; null if no commit of the request is known, or if it has no result.
   * @throws {AftError} The errors of `request`, until the answer begins.
   */
  resultStream(requestId: string, options?: { scope?: string } & CallOptions): Promise<StreamedResult | null>
  /**
   * Wraps a function, so that it takes effect once for each event. Each call of the wrapper is a
   * `run` whose request ID comes from the event.
   * @param options `key` gives the ID; the others are those of `run`. Give each function a `scope`
   * of its own if several functions get events with the same IDs: without one they share their
   * requests.
   * @param fn The function, which gets the transaction and the wrapper's arguments.
   * @returns A function that returns the result of the attempt that committed. It throws `Invalid`,
   * and runs nothing, if the event has no ID or a blank one; otherwise the errors of `run`.
   * @throws {Invalid} An option is not valid.
   */
  once<Event = any, More extends any[] = any[]>(
    options: OnceOptions<Event, More>,
    fn: (t: Transaction, event: Event, ...more: More) => Promise<Bytes | null | void> | Bytes | null | void
  ): (event: Event, ...more: More) => Promise<Buffer>
}

/**
 * An open transaction. `Client.begin` and `Client.run` make it. It reads its own writes and an
 * atomic snapshot of committed versions; others see its writes only after it has committed. Small
 * writes are buffered in it and sent with the commit. The commit waits for the calls in flight, and
 * throws the error of a call that nobody awaited. A call after it is rejected (`Invalid`).
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
  get(key: string, options?: TransactionCallOptions): Promise<Value | null>
  /**
   * Reads a range of a key's bytes.
   * @param start The first byte, from 0 up.
   * @param length The number of bytes, from 1 up; less come if the value ends before.
   * @returns The range, with the size of the whole value; null if the key has no value.
   * @throws {Invalid} The range begins behind the value's end, or is larger than 256 MiB.
   * @throws {AftError} Otherwise the errors of `get`.
   */
  getRange(key: string, start: number, length: number, options?: TransactionCallOptions): Promise<RangeValue | null>
  /**
   * Opens a value of any size for reading. Read it to its end before the commit.
   * @returns The value, whose bytes are read from its stream; null if the key has none.
   * @throws {AftError} The errors of `get`, until the answer begins.
   */
  stream(key: string, options?: TransactionCallOptions): Promise<StreamedValue | null>
  /**
   * Writes a value. A small value is buffered; errors of the server about it are thrown by the
   * commit.
   * @throws {Invalid} The key, the value or the content type is not valid, or the transaction has
   * ended.
   * @throws {AftError} The value was too large for the buffer, and its call failed.
   */
  put(key: string, value: Bytes, contentType?: string | null, options?: TransactionCallOptions): Promise<void>
  /**
   * Writes a value of any size from a source, in a call of its own. It is sent again only if
   * nothing was read from the source yet. The function of a run is called for each attempt, so it
   * has to open the source itself.
   * @throws {Invalid} The source has another size than `size`, or gives something else than bytes.
   * @throws The source's own error; nothing was written.
   * @throws {AftError} Otherwise the errors of `put`.
   */
  putStream(key: string, source: ByteSource, options?: Omit<StreamOptions, 'runMsMax'>): Promise<void>
  /**
   * Deletes a key.
   * @throws {AftError} The errors of `put`.
   */
  delete(key: string, options?: TransactionCallOptions): Promise<void>
  /**
   * Lists the keys that begin with a prefix, in the order of their bytes. Each page is one call.
   * @param prefix The prefix; by default all keys are listed.
   * @param options `after`: the text up to and including which keys are skipped. `pageLen`: the
   * number of keys on a page, 1 to 1,000, which is the default.
   * @throws {AftError} The errors of `get`, while the iterator runs. A serializable transaction
   * cannot list keys on a shared store (`Invalid`).
   */
  list(prefix?: string, options?: { after?: string, pageLen?: number } & TransactionCallOptions): AsyncGenerator<Listed>
  /**
   * Runs several operations in one call, in order and after the buffered writes. They take effect
   * together in the transaction, or not at all.
   * @returns One result for every get, in order.
   * @throws {ConditionFailed} A condition does not hold, and no operation took effect.
   * @throws {AftError} Otherwise the errors of `get` and `put`.
   */
  batch(ops: Operation[], options?: TransactionCallOptions): Promise<Read[]>
  /**
   * Commits. A commit in doubt is sent again until its outcome is known, or `runMsMax` is used up.
   * @param result The result that is returned to later attempts of the request; it is stored only
   * if the request has an ID.
   * @throws {Unknown} The transaction may have committed; never if it only read, without a request
   * ID. After any other error it has not, and will not.
   * @throws {Retry} It lost a conflict, or its time was over: run the request again.
   * @throws {Invalid} The transaction has ended, or belongs to `Client.run`, which commits by
   * itself.
   */
  commit(result?: Bytes | null, options?: CallOptions): Promise<Ran>
  /**
   * Aborts the transaction and drops its writes. Without a call it would be aborted at its
   * deadline.
   * @throws {Invalid} The transaction has ended, or belongs to `Client.run`, which aborts if its
   * function throws.
   * @throws {AftError} The call failed.
   */
  abort(options?: TransactionCallOptions): Promise<void>
}

/**
 * Merges two session tokens of one client into one. The result names the newest commits of both;
 * the others are covered by making transactions fresh for a while.
 * @throws {Error} A token cannot be read. It may come from a newer server.
 */
export function mergeSessions(one: string, other: string): string
