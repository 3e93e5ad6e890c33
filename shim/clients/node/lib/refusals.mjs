// Answers that report no success: AFT's problem documents, and the answers of others (a proxy, a
// gateway, another kind of server).

import { STATUS_CODES } from 'node:http'

import {
  ConditionFailed, InProgress, Internal, Invalid, KeyReused, NoAnswer, NotFound, ResultGone, Retry, SessionLost, Unauthorized,
  Unavailable, Unknown, permanent
} from './errors.mjs'

// The most characters of a foreign answer that an error quotes.
const QUOTED_LEN_MAX = 200
// The most bytes of a foreign answer that are searched for text: enough to pass a page's styles.
const QUOTED_BYTES_MAX = 16 << 10

const OF_CODE = new Map(Object.entries({
  overloaded: Unavailable, not_serving: Unavailable, store_unavailable: Unavailable, in_progress: InProgress,
  key_reused: KeyReused, result_gone: ResultGone, condition_failed: ConditionFailed, session_lost: SessionLost
}))
const OF_ACTION = new Map(Object.entries({
  retry: Retry, unknown: Unknown, conflict: Invalid, invalid: Invalid, not_found: NotFound, unauthorized: Unauthorized,
  internal: Internal
}))

// Statuses of others with which a call may have been passed on to AFT: 409 can be an answer of
// AFT's whose body a proxy replaced.
const isPassedOn = status => status === 408 || status === 409 || (status >= 500 && status !== 501)

// Returns the error of an answer whose status is not a success.
export function refusal (answer) {
  try {
    const problem = JSON.parse(answer.body.toString())
    const Kind = OF_CODE.get(problem.code) ?? OF_ACTION.get(problem.action)
    if (Kind) return new Kind(String(problem.detail ?? problem.code), problem)
  } catch { /* The body is not a problem document. */ }
  const text = foreign(answer)
  const askedMs = retryAfterMs(answer.headers['retry-after'])
  if (answer.status === 429) {
    const error = new Unavailable(`${text}; it limits the rate of calls`)
    error._isTurnedAway = true
    error._askedMs = askedMs
    return error
  }
  if (isPassedOn(answer.status)) return new NoAnswer(text)
  return permanent(`${text}; check the URL, and what is between the client and the server`)
}

// Returns the description of an answer that is not AFT's.
export function foreign ({ status, headers, body }) {
  const said = ['location', 'server', 'via'].filter(name => headers[name]).map(name => {
    return `${name[0].toUpperCase()}${name.slice(1)}: ${excerpt(headers[name])}`
  })
  const quoted = excerpt(withoutMarkup(body.subarray(0, QUOTED_BYTES_MAX).toString()))
  if (quoted) said.push(`body: ${JSON.stringify(quoted)}`)
  const reason = STATUS_CODES[status]
  return `the answer has status ${status}${reason ? ` (${reason})` : ''} and is not AFT's answer: a proxy's?` +
    (said.length > 0 ? ` It says ${said.join(', ')}` : '')
}

const withoutMarkup = text => text.replace(/<(script|style|head)\b[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ')

const excerpt = text => text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]+/gu, ' ').replace(/ +/g, ' ').trim().slice(0, QUOTED_LEN_MAX)

// Returns the first bytes of what another kind of server says, as text.
export const quote = bytes => JSON.stringify(excerpt(bytes.subarray(0, 40).toString('latin1')))

// Returns the pause that a Retry-After header asks for in seconds or by a date; null without one.
function retryAfterMs (text) {
  if (text === undefined) return null
  if (/^\d+$/.test(text)) return Number(text) * 1_000
  const at = Date.parse(text)
  return Number.isNaN(at) ? null : Math.max(0, at - Date.now())
}

// Returns the error of a success that is not AFT's, for instance a captive portal's page.
export function notAft (answer) { return new NoAnswer(foreign(answer), { isPermanent: true }) }

// The fields of replies that the client reads, with the types that they have where they are there.
const TYPES = {
  transaction: 'string', version: 'string', session: 'string', result: 'string', next: 'string', hash: 'string', committed_at: 'string',
  kept_until: 'string', committed: 'boolean', replayed: 'boolean', result_size: 'number'
}

const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value)
const isListOf = (is, value) => Array.isArray(value) && value.every(is)
const hasKey = value => isObject(value) && typeof value.key === 'string'
const isTyped = reply => Object.entries(TYPES).every(([name, type]) => reply[name] === undefined || reply[name] === null || typeof reply[name] === type)
const isRead = read => hasKey(read) && (read.value === undefined || read.value === null || typeof read.value === 'string')

// What a reply of each kind has at least. Without it another kind of server has answered.
export const commits = reply => reply.committed === true || reply.replayed === true
export const opens = reply => reply.replayed === true || (typeof reply.transaction === 'string' && reply.transaction !== '')
export const lists = reply => isListOf(hasKey, reply.keys)
export const finds = reply => ['hash', 'version', 'committed_at', 'kept_until'].every(name => typeof reply[name] === 'string') &&
  (reply.keys === undefined || isListOf(key => typeof key === 'string', reply.keys))
// The reply to `len` gets of a transaction. A batch that only writes is answered with an empty
// object.
export const reads = len => reply => (reply.results ?? []).length === len

// Returns the object that a reply's body holds, if `isWhole` finds in it what such a reply has.
export function reply (answer, isWhole) {
  try {
    const reply = JSON.parse(answer.body.toString())
    if (isObject(reply) && isTyped(reply) && isListOf(isRead, reply.results ?? []) && isWhole(reply)) return reply
  } catch { /* The body is not JSON. */ }
  throw notAft(answer)
}

// Checks an answer without a body, as AFT gives it to an abort, and to a write in a transaction.
export function expectEmpty (answer) {
  if (answer.status !== 204) throw notAft(answer)
}
