// The commit of a transaction. The table of answers is in shim/clients/rust/src/commit.rs.

import {
  Aborted, AftError, Internal, NotFound, NotSent, Retry, Unauthorized, Unavailable, Unknown, committing, interrupted
} from './errors.mjs'
import { encodeQuery, repeats } from './names.mjs'
import { commits } from './refusals.mjs'
import { opJson, ranOf, resultOf } from './values.mjs'

// Commits a transaction, and sends the commit at most `timesMax` times. Throws Unknown, or the
// reason why it did not commit.
export async function settle (transaction, result, pace, timesMax) {
  while (transaction._calls.open.size > 0) await transaction._calls.settle()
  transaction._open()
  if (transaction._torn !== null) {
    await transaction._abortQuietly()
    throw transaction._torn
  }
  transaction._isEnded = true
  transaction._isCommitting = true
  const alone = resultOf(result, transaction._requestId)
  const ops = transaction._take().map(opJson)
  // Without a request ID a transaction that only read leaves nothing behind, so its outcome does
  // not matter: a commit without an answer is run again.
  const onlyReads = transaction._requestId === null && !transaction._isChanging && ops.length === 0
  const times = onlyReads ? 1 : timesMax
  let reply
  try {
    // The whole call is repeated: if it never arrived, a bare commit would commit the transaction
    // without these writes.
    if (ops.length > 0) reply = await ask(transaction, '/batch', { ops, commit: true, ...alone }, null, pace, times)
    else reply = await ask(transaction, '/commit', alone, null, pace, times)
    if (reply.batchIsIn) reply = await ask(transaction, '/commit', alone, reply.batchIsIn, pace, times)
  } catch (why) {
    let error = why
    if (onlyReads && error instanceof Unknown) {
      if (error._isAborted) error = error.cause
      else error = new Retry(`the transaction only read, and its commit has no outcome: ${error.detail}`, error.problem)
    }
    if (!(error instanceof Unknown)) {
      transaction._isEnded = false
      await transaction._abortQuietly(pace.aborted !== undefined)
    }
    throw error instanceof AftError ? transaction._about(error) : error
  }
  transaction._client._committed(reply.session)
  const replayed = reply.replayed ?? false
  transaction.ran = ranOf(reply, replayed, result)
  return transaction.ran
}

// Sends a commit until its outcome is known. Throws Unknown, or the reason why it did not commit.
// Returns `{batchIsIn: doubt}` if the batch has arrived, and its commit is in flight or done.
export async function ask (transaction, rest, message, doubt, pace, timesMax) {
  const headers = repeats(transaction._requestId)
  const query = headers !== null && transaction._scope ? `?scope=${encodeQuery(transaction._scope)}` : ''
  for (let nth = 1; ; nth += 1) {
    let error
    try {
      await transaction._client._transport.look()
      // A call that was made while no commit has been sent would be missing in it. From here to the
      // sending nothing else of the program runs.
      if (transaction._late !== null && doubt === null) throw transaction._late
      return await transaction._client._post(`${transaction._path}${rest}${query}`, message, pace, commits, headers ?? {})
    } catch (why) {
      if (why instanceof Aborted && doubt !== null) throw interrupted(why.reason)
      error = committing(why)
      // The server that opened the transaction is gone, and the transaction with it.
      if (why instanceof NotSent && doubt === null) throw error
    }
    if (error instanceof Unknown) {
      doubt = error
      if (error._isAborted) throw error
    } else if ((error instanceof Unavailable && error.retryable) || error.code === 'body_timeout') {
      // The server rejected this call for now, which says nothing about an earlier one.
    } else if (error.code === 'ended' && rest === '/batch' && doubt !== null) {
      return { batchIsIn: doubt }
    } else if (doubt !== null && [NotFound, Unauthorized, Internal, Unavailable].some(kind => error instanceof kind)) {
      // The server has forgotten the transaction, or its error says nothing about the first call.
      throw doubt
    } else {
      throw error instanceof NotFound ? new Retry(error.detail, error.problem) : error
    }
    if (nth >= timesMax || !await pace.pause(error, doubt)) throw pace.gaveUp(doubt ?? error)
  }
}
