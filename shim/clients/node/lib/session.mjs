// Session tokens: how two of them are merged.

// The most commits that a session token names.
const SESSION_LEN_MAX = 8
// The bytes before the commits, by the token's format: the format's number, and the time until
// which transactions are fresh; in format 3 also the node through which everything was seen, and
// the time after which that counts.
const SESSION_PREFIX_LEN = { 2: 1 + 8, 3: 1 + 8 + 8 + 8 }
// The bytes of a commit: its identity (time, attempt, request hash), the time when the client heard
// of it, and flags.
const SESSION_IDENTITY_LEN = 8 + 16 + 32
const SESSION_ENTRY_LEN = SESSION_IDENTITY_LEN + 8 + 1
// The time for which a merged session covers commits that it has no room for, by making
// transactions fresh.
const SESSION_COVER_MS = 60_000n

const most = (one, other) => one > other ? one : other

const seenAt = entry => entry.readBigUInt64BE(SESSION_IDENTITY_LEN)

// Returns the contents of a session token: the time until which transactions are fresh, the node
// through which everything was seen, the time after which that counts, and the commits.
function parseSession (token) {
  const raw = Buffer.from(token, 'base64url')
  const prefix = SESSION_PREFIX_LEN[raw[0]]
  const readable = raw.toString('base64url') === token && prefix !== undefined && raw.length >= prefix
  if (!readable || (raw.length - prefix) % SESSION_ENTRY_LEN !== 0) throw new Error(
    'the text is not a session token of format 2 or 3'
  )
  const number = at => at < prefix ? raw.readBigUInt64BE(at) : 0n
  const entries = []
  for (let at = prefix; at < raw.length; at += SESSION_ENTRY_LEN) entries.push(raw.subarray(at, at + SESSION_ENTRY_LEN))
  if (entries.some(entry => entry[SESSION_ENTRY_LEN - 1] > 1)) throw new Error(
    'the text is not a session token: its commits are not readable'
  )
  const [fresh, through, mixed] = [1, 9, 17].map(number)
  const empty = fresh === 0n && through === 0n && mixed === 0n && entries.length === 0
  return { fresh, through, mixed, entries, empty, seen: entries.map(seenAt).reduce(most, 0n) }
}

// Returns the node through which both were seen, and the time after which that counts: by then all
// nodes show what was seen through the other node.
function mergeThrough (one, other) {
  const mixed = most(one.mixed, other.mixed)
  if (one.through === other.through || other.empty) return { through: one.through, mixed }
  if (one.empty) return { through: other.through, mixed }
  const isFirst = one.seen < other.seen || (one.seen === other.seen && one.through < other.through)
  const [earlier, last] = isFirst ? [one, other] : [other, one]
  return { through: last.through, mixed: most(most(mixed, earlier.fresh), earlier.seen + SESSION_COVER_MS) }
}

export function mergeSessions (one, other) {
  // If both have an entry of the same commit, keep the one that was heard of last.
  const entries = new Map()
  const both = [one, other].map(parseSession)
  let fresh = most(both[0].fresh, both[1].fresh)
  for (const session of both) {
    for (const entry of session.entries) {
      const identity = entry.toString('hex', 0, SESSION_IDENTITY_LEN)
      const known = entries.get(identity)
      if (known === undefined || Buffer.compare(known, entry) < 0) entries.set(identity, entry)
    }
  }
  const newest = [...entries.values()].sort(Buffer.compare).reverse()
  for (const entry of newest.slice(SESSION_LEN_MAX)) fresh = most(fresh, seenAt(entry) + SESSION_COVER_MS)
  const { through, mixed } = mergeThrough(...both)
  const format = through === 0n && mixed === 0n ? 2 : 3
  const prefix = Buffer.alloc(SESSION_PREFIX_LEN[format])
  prefix[0] = format
  const numbers = format === 2 ? [fresh] : [fresh, through, mixed]
  numbers.forEach((number, at) => prefix.writeBigUInt64BE(number < 2n ** 64n ? number : 2n ** 64n - 1n, 1 + 8 * at))
  return Buffer.concat([prefix, ...newest.slice(0, SESSION_LEN_MAX)]).toString('base64url')
}
