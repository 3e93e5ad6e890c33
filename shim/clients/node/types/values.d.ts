// Values, operations and outcomes.

/// <reference types="node" />
import type { Readable } from 'node:stream'

/** A value of a key. */
export interface Value {
  bytes: Buffer,
  /** The content type with which it was written; `application/octet-stream` if there was none. */
  contentType: string,
  /** The version's identity; `uncommitted` for the transaction's own write. */
  version: string
}
/**
 * A range of a value: `bytes` are the range, and `size` is the size of the whole value in bytes.
 */
export interface RangeValue extends Value { size: number }
/**
 * A value of any size, whose bytes are read from `stream`. Read the stream to its end or destroy
 * it. It fails with `Unavailable` if the connection breaks, is silent for `callTimeoutMs` while the
 * reader waits, or ends before all bytes have come: then open it again.
 */
export interface StreamedValue {
  stream: Readable
  /** The content type with which it was written; `application/octet-stream` if there was none. */
  contentType: string
  /** The version's identity; `uncommitted` for the transaction's own write. */
  version: string
  /** The size in bytes; null if a proxy has left it out. */
  size: number | null
}
/** The result of a request, of any size in bytes; `stream` is as that of a `StreamedValue`. */
export interface StreamedResult { stream: Readable, size: number | null }
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
/** Bytes, or text that is written as UTF-8. Anything else is rejected (`Invalid`). */
export type Bytes = string | Uint8Array | ArrayBuffer
/**
 * Bytes that are read piece by piece: a `Readable`, a file's stream, a `ReadableStream`, a
 * generator. It is read once, and closed at the end.
 */
export type ByteSource = AsyncIterable<Bytes> | Iterable<Bytes>
/**
 * A condition on the committed version of a key: it has no value, its value is of this version, or
 * its value has these bytes. Give one of them. The transaction's own writes are not considered. A
 * condition needs a serializable transaction, as `run` and `execute` open it. If it does not hold,
 * the call throws `ConditionFailed`. A condition that is present with undefined or null is rejected
 * (`Invalid`): it would be a write without one.
 */
export interface Condition { ifAbsent?: boolean, ifVersion?: string, ifValue?: Bytes }
interface Given { if_absent?: boolean, if_version?: string, if_value?: string }
/** One operation of a batch, made by `Op`; others are rejected (`Invalid`). */
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
