/** A value of a key. `contentType` is `application/octet-stream` if it was written without one; `version` is `uncommitted` for a transaction's own write. */
export interface Value { bytes: Buffer, contentType: string, version: string }
/** What a get of a batch found. */
export interface Read { key: string, value: Value | null }
/** A key of a listing. */
export interface Listed { key: string, size: number, version: string }
/** How a run, or a commit, went: a commit stands. */
export interface Ran {
  /** What the attempt that committed has left. */
  result: Buffer
  /** Another attempt, not one of this run's, had committed: what this run's function did has no effect. */
  replayed: boolean
  /** The committed transaction's identity; null if there was nothing to store. */
  version: string | null
  /** The size of what it has left, where that is too large to stand in `result`, which is empty then: `Client.result` reads it; else null. */
  resultSize: number | null
  /** The attempts that this call made: for a run, how often its function was called. 0 if the request had committed before. */
  attempts: number
}
/** How a whole transaction went. `reads` is empty if the commit is known and its reads are not (a replay, perhaps of an earlier sending of this very call). */
export interface Executed { ran: Ran, reads: Read[] }
/** A committed request. */
export interface Found {
  hash: string
  version: string
  committedAt: string
  keptUntil: string
  keys: string[]
  result: Buffer
  resultSize: number | null
}
export type Bytes = string | Uint8Array
/**
 * What must be committed under the key for the call to take effect: no value, a value of this version, or a value of these
 * bytes. One of them. It does not speak of the transaction's own writes, and needs a serializable transaction, as `run` and
 * `execute` have it. If it does not hold, the call throws `ConditionFailed`.
 */
export interface Condition { ifAbsent?: boolean, ifVersion?: string, ifValue?: Bytes }
interface Given { if_absent?: boolean, if_version?: string, if_value?: string }
export type Operation = { get: string } | ({ put: string, value: Buffer, contentType?: string } & Given) | ({ delete: string } & Given) |
  ({ check: string } & Given) | { add: string, by: number }
export const Op: {
  get(key: string): Operation
  put(key: string, value: Bytes, contentType?: string | null, condition?: Condition): Operation
  delete(key: string, condition?: Condition): Operation
  /** A condition alone. */
  check(key: string, condition: Condition): Operation
  /** Adds to the number that the key holds as decimal text; no value counts as 0. The sum is among the results. The call commits, and has no get. */
  add(key: string, by: number): Operation
}

export interface ClientOptions {
  /** The bearer token to present. */
  token?: string
  /** How long a connection may take to open (5 s). */
  connectTimeoutMs?: number
  /** How long one call may take (30 s). */
  callTimeoutMs?: number
  /** How long a transaction may stay open (the server's default, a minute). */
  transactionTimeoutMs?: number
  /** How often a run may call its function, and a whole transaction may run (10). */
  attemptsMax?: number
  /** After how long a run begins nothing new (60 s). */
  runMsMax?: number
  /** Whether each transaction sees what this client committed before it began, on whatever node (true). */
  session?: boolean
  /** Bytes of small writes that wait for the commit call (1 MiB, at most 4); with 0 each write is a call. */
  writeBufferBytesMax?: number
}
export interface RequestOptions {
  /** Keeps IDs of different functions apart. */
  scope?: string
  /** Stands for the request's payload: another one under the same ID is refused (`KeyReused`). */
  fingerprint?: string
  /** How long each attempt's transaction may stay open. */
  timeoutMs?: number
  /** How long the commit is to be remembered (a day). */
  retentionS?: number
  /** Runs at once beside another open attempt, because that one is known to be gone. (One effect in any case.) */
  overlap?: boolean
  /** Sees every commit that was acknowledged before the attempt began, on whatever server of the store. */
  fresh?: boolean
  /**
   * The level: `serializable` for `run` and `execute` if left out, null for `begin`.
   * - `serializable`: an attempt commits only if what it read is still the newest; otherwise it has
   *   no effect. The check may cost what only reads a round trip to the store.
   * - `read_atomic`: nothing is checked; two that read the same version may both overwrite it.
   * - null: the level of the keys that it writes on a shared store (`s3:`, `dynamodb:`, `redis:`),
   *   read atomic on one that a single process holds (`memory:`, `local:`).
   *
   * On a shared store a serializable transaction cannot list keys, and cannot use keys whose prefix
   * is read atomic: the server refuses both with the reason (`Invalid`). Ask for `read_atomic`
   * there.
   */
  isolation?: 'read_atomic' | 'serializable' | null
  /** Keys to read in the call that opens the transaction, so that getting them costs no call. */
  reads?: string[]
}

/** A client of one server: a pool of connections, and one session. */
export class Client {
  /** Throws `Invalid` if the URL is not `http(s)://HOST[:PORT]`. Nothing is sent yet. */
  constructor(url: string, options?: ClientOptions)
  /** Closes the connections. */
  close(): void
  /** The session's token, to be handed to another process; null before the first commit. */
  readonly session: string | null
  /** Goes on with the session of another process too. */
  joinSession(token: string | null): void
  /**
   * Calls `fn` until its request has committed once; gives the result of the attempt that did. `fn` is called once an attempt, perhaps several times, perhaps
   * not at all: what it does outside the transaction it must be ready to do again. What it throws aborts the attempt and comes back as it is; after a call of the
   * transaction has failed with a retryable error, a failing `fn` is called again, in a new attempt. Throws `Unknown` if an attempt may have committed; after any other
   * error none has. `requestId` null: no later call can find the outcome.
   *
   * A run is serializable unless `isolation` says otherwise. An attempt that was overtaken has no
   * effect, and another follows after a pause that is drawn at random and grows, until
   * `attemptsMax` or `runMsMax` is used up: then `Retry`. `attempts` of the result tells how many
   * there were.
   */
  run(requestId: string | null, fn: (t: Transaction) => Promise<Bytes | void> | Bytes | void, options?: RequestOptions): Promise<Ran>
  /**
   * Opens a transaction by hand. If the request has committed already, `t.replayed` is true and
   * `t.ran` tells. Nothing is run again. So the level is left to the store unless `isolation` names
   * one; the commit of a serializable transaction that was overtaken throws `Retry`.
   */
  begin(requestId?: string | null, options?: RequestOptions): Promise<Transaction>
  /**
   * Runs operations as one transaction, in one call, in order. Without a request ID a lost answer
   * is `Unknown`. After a conflict it is sent again, as a run is. With a condition or an add, a
   * request without an ID is given one that is drawn at random: sent again, it does not meet its
   * own write.
   */
  execute(requestId: string | null, ops: Operation[], result?: Bytes, options?: RequestOptions): Promise<Executed>
  /** A key's value, read by itself; null if it has none. Fresh: that of the newest commit that was acknowledged before, or a newer one. */
  get(key: string, options?: { fresh?: boolean }): Promise<Value | null>
  /** Writes one key by itself. `Unknown` if the answer was lost: it is not sent again, since meanwhile somebody may have written a newer value. */
  put(key: string, value: Bytes, contentType?: string | null): Promise<Ran>
  /** Writes one key by itself if the condition holds, once, however often it is sent. At most what one call takes. */
  put(key: string, value: Bytes, contentType: string | null | undefined, condition: Condition): Promise<Ran>
  /** Deletes one key by itself; otherwise as `put`. */
  delete(key: string, condition?: Condition): Promise<Ran>
  /**
   * Adds to the number that a key holds as decimal text, once, however often it is sent, and gives the sum. null: it was added,
   * and the answer that told the sum was lost. A sum beyond 2^53 is rounded.
   */
  add(key: string, by?: number): Promise<number | null>
  /** Did the request commit, when, which keys, with what result? null: no commit of it is known. */
  request(requestId: string, options?: { scope?: string }): Promise<Found | null>
  /** What a committed request has left, whatever its size; null if no commit of it is known, or it left nothing. */
  result(requestId: string, options?: { scope?: string }): Promise<Buffer | null>
}

/** An open transaction: reads committed versions that fit together and its own writes. Small writes wait in it and go with the commit. */
export class Transaction {
  private constructor()
  /** Names it in logs and problems. */
  readonly token: string
  /** How it went, once a commit stands. */
  readonly ran: Ran | null
  /** Another attempt of the request has committed: nothing is to be done. */
  readonly replayed: boolean
  /** A key's value; null if it has none. */
  get(key: string): Promise<Value | null>
  /** Writes a value. What is wrong with a value that waits for the commit is told by the commit. */
  put(key: string, value: Bytes, contentType?: string): Promise<void>
  delete(key: string): Promise<void>
  /** The keys that begin with a prefix, in the order of their bytes; each page is a call. */
  list(prefix?: string, options?: { after?: string, pageLen?: number }): AsyncGenerator<Listed>
  /** Several operations in one call, in order; gives one result for every get. They take effect together in the transaction, or not at all. */
  batch(ops: Operation[]): Promise<Read[]>
  /** Commits; an outcome in doubt is asked for until it is known, or the run's time is over: then `Unknown`. Inside `Client.run`, which commits by itself, `Invalid`. */
  commit(result?: Bytes): Promise<Ran>
  /** Aborts. To do nothing would do the same, only later. */
  abort(): Promise<void>
}

/** One token for what two tell of one client's commits: the newest ones. Throws if one cannot be read. */
export function mergeSessions(one: string, other: string): string

/** Why there is no result; the class says what the caller must do. */
export class AftError extends Error {
  readonly detail: string
  /** The server's own words (RFC 9457), if they are the server's. */
  readonly problem: Record<string, unknown> | null
  readonly requestId: string | null
  readonly transaction: string | null
  readonly code: string | null
  /** When to try again, if the server said so: not before, and of InProgress at the latest then. */
  readonly retryAfterMs: number | null
  /** Whether it is certain that nothing was committed, and another attempt may succeed. */
  readonly retryable: boolean
}
/** Nothing was committed, and the transaction is of no use any more: run the request again. */
export class Retry extends AftError {}
/** Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try again later. */
export class Unavailable extends AftError {}
/** Whether the transaction committed is not known. With a request ID: run the request again under the same ID, or ask `Client.request`. Without one: read what it would have written. */
export class Unknown extends AftError {}
/** Another attempt of the request is open: it is being done. Come back for its result. */
export class InProgress extends AftError {}
/** The request ID belongs to another payload: a mistake of the caller. */
export class KeyReused extends AftError {}
/** The request committed long ago, and its result is no longer kept. It will not run again. */
export class ResultGone extends AftError {}
/** The call is wrong as it stands. In a transaction, nothing of it took effect. */
export class Invalid extends AftError {}
/** A condition of the call does not hold: nothing of the call took effect. Read the key, and decide anew. */
export class ConditionFailed extends Invalid {}
/** What the call names does not exist. A key without a value is no error. */
export class NotFound extends AftError {}
/** Present credentials that allow the call. */
export class Unauthorized extends AftError {}
/** Somebody has to mend the server or its store. A commit that is answered so may have taken effect. */
export class Internal extends AftError {}
