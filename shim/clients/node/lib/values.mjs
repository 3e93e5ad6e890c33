// Values, keys, operations and outcomes: how they are checked, sent and read.

import { Invalid } from './errors.mjs'

// The longest key in bytes, as the server has it.
const KEY_BYTES_MAX = 1_088
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

// An operation that `Op` has made. Others would be sent as they are, unchecked.
class Operation {
  #isMade = true

  constructor (fields) { Object.freeze(Object.assign(this, fields)) }

  static is (op) { return typeof op === 'object' && op !== null && #isMade in op && op.#isMade }
}

export const Op = Object.freeze({
  get: key => new Operation({ get: checked(key) }),
  put: (key, value, contentType, condition) => {
    const op = { put: checked(key), value: bytes(value), ...conditionOf(condition) }
    if (contentType !== undefined && contentType !== null) op.contentType = checkedType(contentType)
    return new Operation(op)
  },
  delete: (key, condition) => new Operation({ delete: checked(key), ...conditionOf(condition) }),
  check: (key, condition) => {
    const given = conditionOf(condition)
    if (Object.keys(given).length === 0) throw new Invalid(
      'a check without a condition does nothing: give it ifAbsent, ifVersion or ifValue'
    )
    return new Operation({ check: checked(key), ...given })
  },
  add: (key, by) => {
    if (!Number.isSafeInteger(by)) throw new Invalid(
      `by must be a whole number between -(2^53 - 1) and 2^53 - 1, not ${typeof by === 'number' ? by : typeName(by)}`
    )
    return new Operation({ add: checked(key), by })
  }
})

const CONDITIONS = ['ifAbsent', 'ifVersion', 'ifValue']

// Returns a condition's field of an operation, as the server reads it.
function conditionOf (condition) {
  if (condition === undefined || condition === null) return {}
  if (typeof condition !== 'object') throw new Invalid(`a condition must be an object like { ifAbsent: true }, not ${typeName(condition)}`)
  // A misspelt condition would otherwise be a write without one.
  const unknown = Object.keys(condition).find(name => !CONDITIONS.includes(name))
  if (unknown !== undefined) throw new Invalid(`${JSON.stringify(unknown)} is no condition: write ${CONDITIONS.join(', ')}`)
  // So would be one whose value is missing, like `old?.version` of a key without a value.
  const missing = Object.keys(condition).find(name => condition[name] === undefined || condition[name] === null)
  if (missing !== undefined) throw new Invalid(
    `${missing} is ${condition[missing]}: leave it out for a write without a condition; ifAbsent: true is the condition that the key has no value`
  )
  const { ifAbsent = false, ifVersion, ifValue } = condition
  const given = {}
  if (typeof ifAbsent !== 'boolean') throw new Invalid(`ifAbsent must be true or false, not ${typeName(ifAbsent)}`)
  if (ifAbsent) given.if_absent = true
  if (ifVersion !== undefined) {
    if (typeof ifVersion !== 'string') throw new Invalid(`ifVersion must be a version's text, not ${typeName(ifVersion)}`)
    given.if_version = ifVersion
  }
  if (ifValue !== undefined) given.if_value = bytes(ifValue).toString('base64')
  if (Object.keys(given).length > 1) throw new Invalid(
    'an operation can have only one condition: ifAbsent, ifVersion or ifValue'
  )
  return given
}

// Returns the operations of a call.
export function checkedOps (ops) {
  if (!Array.isArray(ops)) throw new Invalid(`ops must be an array of operations, not ${typeName(ops)}: write [Op.put(…), Op.get(…)]`)
  const other = ops.findIndex(op => !Operation.is(op))
  if (other >= 0) throw new Invalid(`operation ${other} is not one that Op has made: make it by Op.get, Op.put, Op.delete, Op.check or Op.add`)
  return ops
}

export const keyOf = op => op.get ?? op.put ?? op.delete ?? op.check ?? op.add
export const isConditional = op => op.add !== undefined || op.if_absent !== undefined || op.if_version !== undefined || op.if_value !== undefined
export const isGet = op => op.get !== undefined
export const weight = op => 64 + keyOf(op).length + (op.value?.length ?? 0) + (op.contentType?.length ?? 0)

export function opJson (op) {
  if (op.put === undefined) return op
  const { contentType, ...rest } = op
  const json = { ...rest, value: op.value.toString('base64') }
  return contentType === undefined ? json : { ...json, content_type: contentType }
}

// Returns the type of a value for messages: `number`, `null`, `Array`, `Promise`.
export function typeName (value) {
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value
  return value.constructor?.name || 'object'
}

// Half of a surrogate pair, which UTF-8 cannot hold.
const HALF = /\p{Surrogate}/u

// Returns the bytes of a value. They are copied: a buffered write must not change with the caller's
// buffer.
export function bytes (value) {
  if (value === undefined || value === null) return Buffer.alloc(0)
  if (typeof value === 'string') {
    if (HALF.test(value)) throw new Invalid('a value of text must be valid UTF-8: this one has half of a surrogate pair')
    return Buffer.from(value)
  }
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (value instanceof ArrayBuffer) return Buffer.from(value.slice(0))
  const hint = typeof value.then === 'function' ? 'await it' : 'write String(value), JSON.stringify(value) or Buffer.from(value)'
  throw new Invalid(`a value must be a string, a Buffer, a Uint8Array or an ArrayBuffer, not ${typeName(value)}: ${hint}`)
}

export function checked (key) {
  if (typeof key !== 'string') throw new Invalid(`a key must be a string, not ${typeName(key)}: write String(key)`)
  if (HALF.test(key)) throw new Invalid('a key must be valid UTF-8: this one has half of a surrogate pair')
  const len = Buffer.byteLength(key)
  if (len < 1 || len > KEY_BYTES_MAX) throw new Invalid(`a key has 1 to ${KEY_BYTES_MAX} bytes; this one has ${len}`)
  return key
}

// Returns a request's ID, or null for a request without one.
export function checkedId (requestId) {
  if (requestId === null) return null
  if (requestId === undefined) throw new Invalid('requestId is undefined: pass null if the request has no ID')
  return checkedText('requestId', requestId, 'pass null if the request has no ID')
}

// Returns the ID of a request that is looked up.
export function checkedFindId (requestId) {
  if (requestId === null || requestId === undefined) throw new Invalid(
    `requestId is ${requestId}: pass the ID of the request to look up`
  )
  return checkedText('requestId', requestId, 'pass the ID of the request to look up')
}

// Returns a scope; undefined if there is none.
export function checkedScope (scope) {
  return scope === undefined || scope === null ? undefined : checkedText('scope', scope, 'leave it out if there is none')
}

// A blank name would be shared by all who send it by mistake.
function checkedText (name, text, otherwise) {
  if (typeof text !== 'string') throw new Invalid(`${name} must be a string, not ${typeName(text)}: write String(id), or ${otherwise}`)
  if (text.trim() === '') throw new Invalid(`${name} is ${text === '' ? 'empty' : 'blank'}: ${otherwise}`)
  if (HALF.test(text)) throw new Invalid(`${name} must be valid UTF-8: this one has half of a surrogate pair`)
  return text
}

export function checkedType (text) {
  if (typeof text !== 'string') throw new Invalid(`a content type must be a string, not ${typeName(text)}`)
  if (!/^[ -~]*$/.test(text)) throw new Invalid(`a content type must be printable ASCII, not ${JSON.stringify(text)}`)
  return text
}

export const unbase64 = text => Buffer.from(text ?? '', 'base64')

export function readOf (read) {
  if (read.value === null || read.value === undefined) return { key: read.key, value: null }
  const value = { bytes: unbase64(read.value), contentType: read.content_type ?? DEFAULT_CONTENT_TYPE, version: read.version ?? '' }
  return { key: read.key, value }
}

// Returns the outcome of a commit. `result` is its own result; that of a replay is in the reply.
export function ranOf (reply, replayed, result) {
  const { version = null, result_size: resultSize = null } = reply
  return { result: replayed ? unbase64(reply.result) : result, replayed, version, resultSize, attempts: replayed ? 0 : 1 }
}

// Returns the content type and the version of an answer with a value. Every answer of AFT's with a
// value names its version; another page with status 200 does not.
export function headOf (answer) {
  const { 'content-type': contentType = DEFAULT_CONTENT_TYPE, 'aft-version': version } = answer.headers
  return version === undefined ? null : { contentType, version }
}

// Returns the result's field of a commit. Without a request ID no later attempt can ask for the
// result, and storing it would need the right to write.
export function resultOf (result, requestId) {
  return result.length > 0 && requestId !== null && requestId !== undefined ? { result: result.toString('base64') } : {}
}
