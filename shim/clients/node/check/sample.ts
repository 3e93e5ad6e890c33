// A sample that uses every type of the client, as a check of index.d.ts:
//
//     npx -p typescript -p @types/node tsc --strict --noEmit --module nodenext check/sample.ts

import { createReadStream } from 'node:fs'

import {
  AftError, Client, ConditionFailed, Invalid, Op, Retry, Unavailable, Unknown, mergeSessions
} from 'aft-client'
import type { ByteSource, Bytes, Found, Listed, Ran, RangeValue, Read, StreamedValue, Transaction, Value } from 'aft-client'

interface Order { id: string, detail: { orderId: string } }

export async function sample (signal: AbortSignal): Promise<void> {
  const client = new Client('https://aft.example:7400', {
    token: 't', ca: 'ca.pem', certificate: 'c.pem', key: 'k.pem', connectTimeoutMs: 1, callTimeoutMs: 2, runMsMax: 3, attemptsMax: 4,
    session: true, writeBufferBytesMax: 0, transactionTimeoutMs: 5
  })
  const limits = { signal, runMsMax: 1_000 }
  const ran: Ran = await client.run('r', async (t: Transaction) => {
    const value: Value | null = await t.get('k', { signal })
    const range: RangeValue | null = await t.getRange('k', 0, 1)
    const streamed: StreamedValue | null = await t.stream('k')
    await t.put('k', new ArrayBuffer(1), null, { signal })
    await t.putStream('k', createReadStream('f'), { size: 1, contentType: 'x/y', signal })
    await t.delete('k', { signal })
    const reads: Read[] = await t.batch([Op.get('k'), Op.check('k', { ifAbsent: true }), Op.add('k', 1)], { signal })
    for await (const listed of t.list('p', { after: 'a', pageLen: 1, signal })) use(listed satisfies Listed)
    use(value, range?.size, streamed?.stream.destroy(), reads)
    return 'done'
  }, { ...limits, scope: 's', reads: ['k'], isolation: null, fresh: true, wait: true, fingerprint: 'f', timeoutMs: 1, retentionS: 1 })
  await client.run(null, () => {})
  await client.run(null, () => null)
  const t = await client.begin()
  await (await client.begin(null, limits)).abort({ signal })
  await t.commit(Buffer.from('x'), limits)
  const { reads } = await client.execute(null, [Op.put('k', 'v', null, { ifVersion: 'v' })], null, limits)
  use(await client.get('k', { fresh: true, ...limits }), await client.getRange('k', 0, 1, limits), await client.stream('k', limits))
  await client.put('k', 'v', null, { ifValue: 'x', ...limits })
  await client.put('k', 'v', undefined, limits)
  const source: ByteSource = [new Uint8Array(1), 'x' as Bytes]
  await client.putStream('k', source, { size: 2, ...limits })
  await client.delete('k', { ifAbsent: true })
  const sum: number | null = await client.add('k', 1, limits)
  const found: Found | null = await client.request('r', { scope: 's', ...limits })
  const result: Buffer | null = await client.result('r', limits)
  const streamed = await client.resultStream('r')
  const handler = client.once({ key: (event: Order) => event.id, scope: 's' }, async (t, event) => event.detail.orderId)
  const other = client.once<Order, [{ by: string }]>({ key: 'detail.orderId' }, async (t, event, context) => context.by)
  const told: Buffer = await other({ id: 'i', detail: { orderId: 'o' } }, { by: 'me' })
  use(ran.attempts, reads, sum, found, result, streamed?.size, await handler({ id: 'i', detail: { orderId: 'o' } }), told)
  client.joinSession(mergeSessions('a', client.session ?? 'b'))
  try { client.close() } catch (why) {
    if (why instanceof Unknown) use(why.cause)
    if (why instanceof AftError) use(why.retryable, why.retryAfterMs, why.code, why.problem, why.detail, why.requestId, why.transaction)
    use(why instanceof Invalid, why instanceof ConditionFailed, why instanceof Retry, why instanceof Unavailable)
  }
  // @ts-expect-error A number is no value.
  await client.put('k', 1)
  // @ts-expect-error A request ID that may be missing.
  await client.run(undefined as string | undefined, () => {})
}

function use (...given: unknown[]): void { if (given.length < 0) throw new Error() }
