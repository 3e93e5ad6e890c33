// The options of calls, by name. A name that a call does not know is rejected: a misspelt condition
// would be a write without one.

import { Invalid } from './errors.mjs'
import { typeName } from './values.mjs'

const CONDITIONS = ['ifAbsent', 'ifVersion', 'ifValue']
const OF_CALL = ['signal', 'runMsMax']
const OF_READ = ['fresh', ...OF_CALL]
const OF_REQUEST = ['scope', ...OF_CALL]
const OF_WHOLE = ['scope', 'fingerprint', 'timeoutMs', 'retentionS', 'wait', 'fresh', 'isolation', ...OF_CALL]
const OF_RUN = ['reads', ...OF_WHOLE]

const NAMES = {
  Client: ['token', 'ca', 'certificate', 'key', 'connectTimeoutMs', 'callTimeoutMs', 'transactionTimeoutMs', 'attemptsMax', 'runMsMax', 'session',
    'writeBufferBytesMax'],
  run: OF_RUN,
  begin: OF_RUN,
  once: ['key', ...OF_RUN],
  execute: OF_WHOLE,
  get: OF_READ,
  getRange: OF_READ,
  stream: OF_READ,
  put: [...CONDITIONS, ...OF_CALL],
  delete: [...CONDITIONS, ...OF_CALL],
  putStream: ['size', 'contentType', ...OF_CALL],
  add: OF_CALL,
  request: OF_REQUEST,
  result: OF_REQUEST,
  resultStream: OF_REQUEST,
  't.get': ['signal'],
  't.getRange': ['signal'],
  't.stream': ['signal'],
  't.put': ['signal'],
  't.delete': ['signal'],
  't.batch': ['signal'],
  't.putStream': ['size', 'contentType', 'signal'],
  't.list': ['after', 'pageLen', 'signal'],
  't.commit': OF_CALL,
  't.abort': ['signal']
}

// Returns the options of a call; empty ones if there are none.
export function optionsOf (call, options) {
  if (options === undefined || options === null) return {}
  if (typeof options !== 'object') throw new Invalid(`the options of ${call} must be an object, not ${typeName(options)}`)
  if (typeof options.addEventListener === 'function') throw new Invalid(`the options of ${call} are an ${typeName(options)}: write { signal }`)
  for (const name of Object.keys(options)) {
    if (!NAMES[call].includes(name)) throw new Invalid(`${JSON.stringify(name)} is no option of ${call}: ${remedy(call, name)}`)
  }
  return options
}

function remedy (call, name) {
  if (CONDITIONS.includes(name)) {
    const which = `{ ${name}: … }`
    if (call === 't.put') return `write t.batch([Op.put(key, value, contentType, ${which})])`
    if (call === 't.delete') return `write t.batch([Op.delete(key, ${which})])`
    if (call === 'putStream') return `use put for a value that fits into memory, or a run with t.batch([Op.check(key, ${which})]) and t.putStream`
    if (call === 't.putStream') return `write t.batch([Op.check(key, ${which})]) before it`
  }
  return `it takes ${NAMES[call].join(', ')}`
}

// Returns the condition among the options of a single write; undefined if there is none.
export function conditionAmong (options) {
  const given = Object.entries(options).filter(([name]) => CONDITIONS.includes(name))
  return given.length === 0 ? undefined : Object.fromEntries(given)
}
