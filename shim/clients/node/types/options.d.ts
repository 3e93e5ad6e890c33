// Settings of a client, and options of its calls.

/** Limits of a call. */
export interface CallOptions {
  /**
   * Ends the call when it is aborted: the call in flight is ended with its connection, an open
   * transaction of a run is aborted, and the call rejects with `signal.reason`. If a commit was in
   * flight, the call rejects with `Unknown` instead, whose `cause` is `signal.reason`: it may have
   * committed.
   */
  signal?: AbortSignal
  /**
   * The time in milliseconds for all that the client does for this call, its pauses and tries; by
   * default the client's `runMsMax`. It does not interrupt a function that is running.
   */
  runMsMax?: number
}
/** Options of a read. */
export interface ReadOptions extends CallOptions {
  /**
   * True to read the value of the newest commit that was acknowledged before the call, on any
   * server of the store, or a newer one.
   */
  fresh?: boolean
}
/** Options of a write whose value is a stream. */
export interface StreamOptions extends CallOptions {
  /**
   * The size of the value in bytes, if it is known. It saves memory on the server, and a source of
   * another size is rejected.
   */
  size?: number
  /** The content type, which reads return with the value. */
  contentType?: string | null
}
/** Options of a call of a transaction. */
export interface TransactionCallOptions {
  /**
   * Ends this call when it is aborted; it rejects with `signal.reason`. The transaction stays open,
   * unless a write may be missing: then its commit throws `Retry`.
   */
  signal?: AbortSignal
}

/** The settings of a client. Times are from 0 to 2,147,483,647 ms (24 days). */
export interface ClientOptions {
  /** The bearer token to present to the server. */
  token?: string
  /**
   * The path of a PEM file with the roots that the server's certificate is checked against, instead
   * of those that Node trusts.
   */
  ca?: string
  /** The path of a PEM file with the client's certificate. It needs `key`. */
  certificate?: string
  /** The path of a PEM file with the private key of `certificate`. */
  key?: string
  /** The timeout for opening a connection, TLS included, in milliseconds; 5,000 by default. */
  connectTimeoutMs?: number
  /**
   * The longest silence of a call in milliseconds, 30,000 by default: the time in which no byte
   * went in either direction. A call may last for as long as bytes go. After a large body the
   * answer may take longer, by a second for each 128 KiB of at most 8 MiB that the system still
   * holds.
   */
  callTimeoutMs?: number
  /**
   * The deadline of transactions, in milliseconds from their opening, unless the call sets its own.
   * By default the server chooses it: a minute unless the server is set otherwise.
   */
  transactionTimeoutMs?: number
  /** The most attempts of a run or a whole transaction; 10 by default, and at least one. */
  attemptsMax?: number
  /**
   * The time in milliseconds for all that the client does for a run, or for another call: its
   * pauses, tries and calls; 60,000 by default. No new attempt starts after it. It does not
   * interrupt a function that is running, and a commit after a function that took longer is still
   * sent.
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
/** Options of a run, an opening, or a whole transaction. */
export interface RequestOptions extends CallOptions {
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
   * True to wait for another open attempt of the request instead of running at once beside it: for
   * requests whose work is expensive, and that arrive twice. An attempt whose process has died is
   * waited for until its deadline. The request takes effect once in any case.
   */
  wait?: boolean
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

/** Options of `Client.once`. */
export interface OnceOptions<Event = any, More extends any[] = any[]> extends RequestOptions {
  /**
   * The request ID of an event: a function of the wrapper's arguments, or a path of properties like
   * `detail.orderId`.
   */
  key: string | ((event: Event, ...more: More) => string | Promise<string>)
}
