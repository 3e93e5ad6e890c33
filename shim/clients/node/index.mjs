// A client of AFT's HTTP API. Node's own modules only; Node 18 or newer.
//
//     const client = new Client('http://127.0.0.1:7400')
//     const ran = await client.run('order-22', async t => {
//       const stock = await t.get('stock/tea')
//       const left = stock ? Number(stock.bytes) : 0
//       if (left === 0) return 'sold out'
//       await t.put('stock/tea', String(left - 1))
//       await t.put('orders/22', '1 tea')
//       return 'sold'
//     })                                    // takes effect once, also if it is called again
//     ran.result, ran.replayed              // <Buffer 'sold'>, false
//
// Concurrent runs: runs are serializable. If two runs read the same stock and both take one from
// it, one commits, and the other runs again, so that no order is lost.
//
// Safe retries: a call that cannot commit is repeated freely, in a new transaction, since the old
// transaction's writes were never visible to others. A call that commits is repeated only in a form
// that can commit neither twice nor in part: the same call on the same transaction, or another
// attempt under the same request ID. Where neither is possible, the error is `Unknown`.
// (docs/decisions/0008-clients.md)
//
// Values are bytes; text is written as UTF-8. The arguments, results and errors of each call are
// documented in index.d.ts.

export { Client } from './lib/client.mjs'
export {
  AftError, ConditionFailed, InProgress, Internal, Invalid, KeyReused, NotFound, ResultGone, Retry, SessionLost, Unauthorized, Unavailable,
  Unknown
} from './lib/errors.mjs'
export { mergeSessions } from './lib/session.mjs'
export { Transaction } from './lib/transaction.mjs'
export { Op } from './lib/values.mjs'
