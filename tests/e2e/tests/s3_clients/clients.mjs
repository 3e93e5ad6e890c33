// Uses the S3 endpoint as JavaScript programs do, with the SDK of AWS (version 3) as it is.
//
// Goal: programs that use the SDK need no change but the address of the endpoint.
//
// Method: each function of `checks` makes the calls of one kind and compares what it gets with
// what it sent. A small proxy counts how often a call is really sent, so that repetitions that the
// SDK keeps to itself are seen. If the endpoint checks signatures, they are tested as well.
//
// Usage: clients.mjs S3_URL [NATIVE_URL]
//
// Keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Longer transactions are tested if there
// is the URL of the native API; AFT_TOKEN has a token for it, if it needs one, which must be of the
// same credential as the access key. Needs @aws-sdk/client-s3 and @aws-sdk/s3-request-presigner in
// the folder that the program is started in. The exit code is 0 if everything is right.

import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import net from 'node:net'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

const load = createRequire(process.cwd() + '/package.json')
const sdk = load('@aws-sdk/client-s3')
const { getSignedUrl } = load('@aws-sdk/s3-request-presigner')
const { version } = load('@aws-sdk/client-s3/package.json')

const [s3Url, nativeUrl] = process.argv.slice(2)
const Bucket = `js-${randomUUID().slice(0, 13)}`
const keys = ['a', 'a b', 'a+b', 'a%41b', 'ä/ö', 'a//b', 'd/', 'd/e/f', '&<>"\'', 'x=1&y=2?#',
  '~', '…\u0800😀']
const small = 'some bytes\n'
const large = randomBytes(3_000_000)
// The checksums of `small`, computed by other programs.
const checksums = {
  CRC32: 'KUn6lw==',
  CRC32C: 'a0JYdA==',
  CRC64NVME: 'oKBeN2CAZYs=',
  SHA1: createHash('sha1').update(small).digest('base64'),
  SHA256: createHash('sha256').update(small).digest('base64')
}

// Makes a client.
function client ({ url = s3Url, secret, token, ...more } = {}) {
  const made = new sdk.S3Client({
    endpoint: url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: {
      accessKeyId: process.env.AWS_ACCESS_KEY_ID,
      secretAccessKey: secret ?? process.env.AWS_SECRET_ACCESS_KEY
    },
    ...more
  })
  if (token) made.middlewareStack.add(inTransaction(token), { step: 'build' })
  return made
}

// Makes a middleware that names a transaction in every call.
function inTransaction (token) {
  return next => args => {
    args.request.headers['aft-transaction'] = token
    return next(args)
  }
}

const s3 = client()

// Makes a call; `name` is that of the operation.
const call = (name, input, by = s3) => by.send(new sdk[name + 'Command']({ Bucket, ...input }))
const put = (Key, Body = small, more = {}, by = s3) =>
  call('PutObject', { Key, Body, ...more }, by)
const got = async answer => Buffer.from(await answer.Body.transformToByteArray())
const get = async (Key, more = {}, by = s3) => got(await call('GetObject', { Key, ...more }, by))
const text = async (...args) => (await get(...args)).toString()

// Makes sure that a call fails with one of some codes, and returns the error.
async function fails (codes, promise) {
  const error = await promise.then(
    () => assert.fail(`the call succeeded instead of failing with ${codes}`), error => error)
  assert(codes.split(' ').includes(error.name), `${error.name} instead of ${codes}: ${error.stack}`)
  return error
}

// Starts a proxy that counts the requests with a method.
async function counter (method) {
  const { hostname, port } = new URL(s3Url)
  const head = new RegExp(`(?:^|\\n)${method} /[^ ]* HTTP/1.1`, 'g')
  const counted = { count: 0 }
  counted.server = net.createServer(near => {
    const far = net.connect(Number(port), hostname)
    near.on('data', bytes => {
      counted.count += bytes.toString('latin1').match(head)?.length ?? 0
    })
    near.pipe(far).pipe(near)
    for (const socket of [near, far]) socket.on('error', () => { near.destroy(); far.destroy() })
  })
  await new Promise(resolve => counted.server.listen(0, '127.0.0.1', resolve))
  counted.server.unref()
  counted.url = `http://127.0.0.1:${counted.server.address().port}`
  return counted
}

async function buckets () {
  await call('HeadBucket')
  const { Buckets } = await call('ListBuckets')
  assert(Buckets.some(bucket => bucket.Name === Bucket))
  assert.equal((await call('GetBucketLocation')).LocationConstraint, undefined)
  await fails('BucketAlreadyOwnedByYou', call('CreateBucket'))
  await put('a')
  await fails('BucketNotEmpty', call('DeleteBucket'))
  await fails('NotFound', call('HeadBucket', { Bucket: Bucket + '-none' }))
  await fails('NoSuchBucket', put('a', small, { Bucket: Bucket + '-none' }))
}

async function bodies () {
  const stream = () => ({ Body: Readable.from([small, large]), ContentLength: small.length + 3e6 })
  const both = Buffer.concat([Buffer.from(small), large])
  for (const [body, whole] of [
    [{ Body: small }, Buffer.from(small)],
    [{ Body: '' }, Buffer.alloc(0)],
    [{}, Buffer.alloc(0)],
    [{ Body: large }, large],
    [{ Body: new Uint8Array(large) }, large],
    [{ Body: Readable.from([]), ContentLength: 0 }, Buffer.alloc(0)],
    [stream(), both]
  ]) {
    const { ETag } = await call('PutObject', { Key: 'body', ...body })
    assert.equal(ETag, `"${createHash('md5').update(whole).digest('hex')}"`)
    assert(whole.equals(await get('body')))
    assert.equal((await call('HeadObject', { Key: 'body' })).ContentLength, whole.length)
  }
}

// Checks that checksums before and after a body are verified, kept and sent back.
async function sums () {
  const stream = () => Readable.from([small.slice(0, 3), small.slice(3)])
  for (const [ChecksumAlgorithm, sum] of Object.entries(checksums)) {
    const [field, Key] = [`Checksum${ChecksumAlgorithm}`, `sum-${ChecksumAlgorithm}`]
    const algorithm = { ChecksumAlgorithm }
    for (const more of [{}, { Body: Buffer.from(small) }, { Body: stream(), ContentLength: 11 }]) {
      assert.equal((await put(Key, small, { ...algorithm, ...more }))[field], sum)
      const answer = await call('GetObject', { Key, ChecksumMode: 'ENABLED' })
      assert.equal(answer[field], sum)
      assert.equal((await got(answer)).toString(), small)
    }
    const about = await call('GetObjectAttributes', { Key, ObjectAttributes: ['Checksum'] })
    assert.equal(about.Checksum[field], sum)
    const wrong = Buffer.alloc(Buffer.from(sum, 'base64').length).toString('base64')
    await fails('BadDigest', put(Key + '-wrong', small, { [field]: wrong }))
    await fails('NotFound', call('HeadObject', { Key: Key + '-wrong' }))
  }
}

async function names () {
  for (const key of keys) await put(`names/${key}`, key)
  const listed = (await call('ListObjectsV2', { Prefix: 'names/' })).Contents.map(({ Key }) => Key)
  const ordered = keys.map(key => `names/${key}`)
    .sort((one, two) => Buffer.compare(Buffer.from(one), Buffer.from(two)))
  assert.deepEqual(listed, ordered)
  for (const key of keys) {
    assert.equal(await text(`names/${key}`), key)
    const CopySource = encodeURIComponent(`${Bucket}/names/${key}`)
    await call('CopyObject', { Key: `copies/${key}`, CopySource })
    assert.equal(await text(`copies/${key}`), key)
  }
  const Objects = keys.map(key => ({ Key: `copies/${key}` }))
  assert.equal((await call('DeleteObjects', { Delete: { Objects } })).Deleted.length, keys.length)
  assert.equal((await call('ListObjectsV2', { Prefix: 'copies/' })).KeyCount, 0)
}

async function attributes () {
  const about = {
    ContentType: 'text/plain; charset=utf-8',
    CacheControl: 'max-age=5',
    ContentDisposition: 'attachment; filename="a b"',
    ContentEncoding: 'gzip',
    ContentLanguage: 'de',
    Metadata: { one: '1', two: 'a b' }
  }
  await put('about', small, { ...about, Tagging: 'k=v&l=a%20b' })
  const head = await call('HeadObject', { Key: 'about' })
  for (const name in about) assert.deepEqual(head[name], about[name])
  // A stream is framed, and the framing is no part of what is kept.
  const stream = { Body: Readable.from([small]), ContentLength: small.length }
  await put('framed', small, { ...about, ...stream })
  assert.equal((await call('HeadObject', { Key: 'framed' })).ContentEncoding, 'gzip')
  const TagSet = [{ Key: 'k', Value: 'v' }, { Key: 'l', Value: 'a b' }]
  assert.deepEqual((await call('GetObjectTagging', { Key: 'about' })).TagSet, TagSet)
  await call('PutObjectTagging', { Key: 'about', Tagging: { TagSet: [TagSet[1]] } })
  assert.deepEqual((await call('GetObjectTagging', { Key: 'about' })).TagSet, [TagSet[1]])
  await call('DeleteObjectTagging', { Key: 'about' })
  assert.deepEqual((await call('GetObjectTagging', { Key: 'about' })).TagSet ?? [], [])
}

async function reads () {
  const { ETag } = await put('read', '0123456789')
  for (const [Range, bytes] of [['bytes=2-4', '234'], ['bytes=8-', '89'], ['bytes=-3', '789'],
    ['bytes=5-99', '56789'], ['bytes=1-2,4-5', '0123456789']]) {
    assert.equal(await text('read', { Range }), bytes, Range)
  }
  await fails('InvalidRange', get('read', { Range: 'bytes=10-' }))
  assert.equal(await text('read', { IfMatch: ETag }), '0123456789')
  const error = await call('GetObject', { Key: 'read', IfNoneMatch: ETag }).catch(error => error)
  assert.equal(error.$metadata?.httpStatusCode, 304)
  await fails('PreconditionFailed', get('read', { IfMatch: '"other"' }))
  await fails('NoSuchKey', get('none'))
  await fails('NotFound', call('HeadObject', { Key: 'none' }))
}

async function listings () {
  const all = [...'abc'].flatMap(group => [...'123456789'].map(at => `list/${group}/${at}`))
  all.push('list/d')
  for (const key of all) await put(key, '')
  const asked = [{ client: s3 }, { Bucket, Prefix: 'list/' }]
  const listed = []
  for await (const page of sdk.paginateListObjectsV2({ ...asked[0], pageSize: 4 }, asked[1])) {
    listed.push(...page.Contents.map(({ Key }) => Key))
  }
  assert.deepEqual(listed, all)
  const page = await call('ListObjectsV2', { Prefix: 'list/', Delimiter: '/' })
  const prefixes = page.CommonPrefixes.map(({ Prefix }) => Prefix)
  assert.deepEqual(prefixes, ['list/a/', 'list/b/', 'list/c/'])
  assert.deepEqual(page.Contents.map(({ Key }) => Key), ['list/d'])
}

async function deletions () {
  const Objects = Array.from({ length: 1000 }, (_, at) => ({ Key: `many/${at}` }))
  await put('many/7')
  assert.equal((await call('DeleteObjects', { Delete: { Objects } })).Deleted.length, 1000)
  const quiet = await call('DeleteObjects', { Delete: { Objects, Quiet: true } })
  assert.equal(quiet.Deleted, undefined)
  const tooMany = [...Objects, { Key: 'one more' }]
  await fails('MalformedXML', call('DeleteObjects', { Delete: { Objects: tooMany } }))
}

// Checks conditions of writes, and that a failed one is sent once.
async function conditionalWrites () {
  const counted = await counter('PUT')
  const by = client({ url: counted.url })
  const { ETag } = await put('lock', small, { IfNoneMatch: '*' }, by)
  for (const condition of [{ IfNoneMatch: '*' }, { IfMatch: '"other"' }]) {
    counted.count = 0
    const error = await fails('PreconditionFailed', put('lock', small, condition, by))
    assert.deepEqual([error.$metadata.attempts, counted.count], [1, 1])
  }
  await fails('NoSuchKey', put('no lock', small, { IfMatch: ETag }))
  const changed = await put('lock', 'other', { IfMatch: ETag })
  await fails('PreconditionFailed', call('DeleteObject', { Key: 'lock', IfMatch: ETag }))
  await call('DeleteObject', { Key: 'lock', IfMatch: changed.ETag })
  by.destroy()
}

// Runs a task several times at once, and returns the number of successes. All others must have
// lost a race.
async function race (calls, task) {
  const ended = await Promise.allSettled(Array.from({ length: calls }, (_, at) => task(at)))
  for (const { reason } of ended) {
    const lost = ['PreconditionFailed', 'ConditionalRequestConflict']
    assert(!reason || lost.includes(reason.name), reason)
  }
  return ended.filter(({ status }) => status === 'fulfilled').length
}

async function races () {
  for (const Key of ['race/1', 'race/2', 'race/3']) {
    assert.equal(await race(8, at => put(Key, `${at}`, { IfNoneMatch: '*' })), 1)
    const { ETag } = await call('HeadObject', { Key })
    assert.equal(await race(8, at => put(Key, `new ${at}`, { IfMatch: ETag })), 1)
  }
}

async function presigned () {
  const sign = (name, Key, more = {}, expiresIn = 60) =>
    getSignedUrl(s3, new sdk[name + 'Command']({ Bucket, Key, ...more }), { expiresIn })
  const Key = 'presigned/ä b'
  const written = await fetch(await sign('PutObject', Key), { method: 'PUT', body: small })
  assert.equal(written.status, 200)
  const url = await sign('GetObject', Key, { ResponseContentType: 'image/png' })
  const read = await fetch(url)
  assert.deepEqual([await read.text(), read.headers.get('content-type')], [small, 'image/png'])
  if (!verified) return
  assert.equal((await fetch(url.replace('presigned', 'other'))).status, 403)
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 403)
  const short = await sign('GetObject', Key, {}, 1)
  await sleep(2000)
  assert.equal((await fetch(short)).status, 403)
}

async function signatures () {
  const wrong = client({ secret: 'wrong' })
  await fails('SignatureDoesNotMatch', call('ListBuckets', {}, wrong))
  await fails('SignatureDoesNotMatch', put('unsigned', small, {}, wrong))
  const stream = { Body: Readable.from([small]), ContentLength: small.length }
  await fails('SignatureDoesNotMatch', put('unsigned', small, stream, wrong))
  await fails('NotFound', call('HeadObject', { Key: 'unsigned' }))
  // The SDK sets its clock by the answer to the first call.
  const early = client({ systemClockOffset: 3_600_000 })
  await fails('RequestTimeTooSkewed', call('ListBuckets', {}, early))
  await call('ListBuckets', {}, early)
}

// Calls the native API.
async function native (path, body = '{}') {
  const token = process.env.AFT_TOKEN
  const headers = { 'content-type': 'application/json' }
  if (token) headers.authorization = `Bearer ${token}`
  const answer = await fetch(nativeUrl + path, { method: 'POST', body, headers })
  assert(answer.ok, `${path}: ${answer.status}`)
  return JSON.parse(await answer.text() || '{}')
}

const begin = async () => (await native('/v1/transactions')).transaction
const end = (token, how) => native(`/v1/transactions/${token}/${how}`)

// Checks that two clients of a transaction see each other's writes, and that nobody else does
// until it commits.
async function transaction () {
  await put('old', 'old')
  const token = await begin()
  const [one, two] = [client({ token }), client({ token })]
  await put('t/1', 'one', {}, one)
  await put('old', 'new', {}, two)
  assert.deepEqual([await text('t/1', {}, two), await text('old', {}, one)], ['one', 'new'])
  const seen = await call('ListObjectsV2', { Prefix: 't/' }, two)
  assert.deepEqual(seen.Contents.map(({ Key }) => Key), ['t/1'])
  await fails('NoSuchKey', get('t/1'))
  assert.equal((await call('ListObjectsV2', { Prefix: 't/' })).KeyCount, 0)
  assert.equal(await text('old'), 'old')
  await end(token, 'commit')
  assert.deepEqual([await text('t/1'), await text('old')], ['one', 'new'])
}

// Checks that the tracing context of a function names a transaction.
async function trace () {
  const token = await begin()
  process.env.AWS_LAMBDA_FUNCTION_NAME = 'f'
  process.env._X_AMZN_TRACE_ID = `Root=1-5759e988-bd862e3fe1be46a994272793;Txn=${token}`
  try {
    await put('traced', small, {}, client())
  } finally {
    delete process.env._X_AMZN_TRACE_ID
    delete process.env.AWS_LAMBDA_FUNCTION_NAME
  }
  assert.equal(await text('traced', {}, client({ token })), small)
  await fails('NoSuchKey', get('traced'))
  await end(token, 'commit')
  assert.equal(await text('traced'), small)
}

// Checks that an abort takes everything back, and that the end of a transaction is told once: the
// SDK must not repeat a call in it.
async function ending () {
  const token = await begin()
  await put('gone', small, {}, client({ token }))
  await end(token, 'abort')
  await fails('NotFound', call('HeadObject', { Key: 'gone' }))
  const counted = await counter('PUT')
  const by = client({ token, url: counted.url })
  const error = await fails('OperationAborted', put('gone', small, {}, by))
  assert.deepEqual([error.$metadata.httpStatusCode, error.$metadata.attempts], [409, 1])
  assert.equal(counted.count, 1)
  by.destroy()
}

// Checks that the end of a transaction that has taken too long is told once as well.
async function expired () {
  const { transaction: token } = await native('/v1/transactions', '{"timeout_ms": 100}')
  await sleep(500)
  for (const [method, name] of [['PUT', 'PutObject'], ['GET', 'GetObject']]) {
    const counted = await counter(method)
    const by = client({ token, url: counted.url })
    const error = await fails('OperationAborted', call(name, { Key: 'late' }, by))
    assert.deepEqual([error.$metadata.httpStatusCode, error.$metadata.attempts], [409, 1])
    assert.equal(counted.count, 1)
    by.destroy()
  }
}

// Deletes the bucket with its objects.
async function empty () {
  for await (const page of sdk.paginateListObjectsV2({ client: s3 }, { Bucket })) {
    const Objects = page.Contents?.map(({ Key }) => ({ Key }))
    if (Objects) await call('DeleteObjects', { Delete: { Objects } })
  }
  await call('DeleteBucket')
}

// Runs a check, and returns true if it passes. Prints the reason if it does not.
async function passes (check) {
  try {
    await check()
    return true
  } catch (error) {
    console.error(`FAILED ${check.name}\n${error.stack}`)
    return false
  }
}

const isAccepted = call('ListBuckets', {}, client({ secret: 'wrong' }))
const verified = await isAccepted.then(() => false, () => true)
const checks = [buckets, bodies, sums, names, attributes, reads, listings, deletions,
  conditionalWrites, races, presigned]
if (verified) checks.push(signatures)
if (nativeUrl) checks.push(transaction, trace, ending, expired)
await call('CreateBucket')
let passed = 0
for (const check of checks) passed += await passes(check)
await empty()
console.log(`@aws-sdk/client-s3 ${version}: ${passed} passed, ${checks.length - passed} failed; ` +
  `signatures ${verified ? 'verified' : 'not verified'}, ` +
  `transactions ${nativeUrl ? 'tested' : 'not tested'}`)
process.exit(passed === checks.length ? 0 : 1)
