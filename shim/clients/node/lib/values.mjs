// Values, keys, operations and outcomes: how they are checked, sent and read.

import { Invalid } from './errors.mjs'

// The longest key in bytes, as the server has it.
const KEY_BYTES_MAX = 1_088
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

export const Op = Object.freeze({
  get: key => ({ get: checked(key) }),
  put: (key, value, contentType, condition) => {
    const op = { put: checked(key), value: bytes(value), ...conditionOf(condition) }
    return contentType === undefined || contentType === null ? op : { ...op, contentType }
  },
  delete: (key, condition) => ({ delete: checked(key), ...conditionOf(condition) }),
  check: (key, condition) => {
    const given = conditionOf(condition)
    if (Object.keys(given).length === 0) throw new Invalid(
      'a check without a condition does nothing: give it ifAbsent, ifVersion or ifValue'
    )
    return { check: checked(key), ...given }
  },
  add: (key, by) => {
    if (!Number.isSafeInteger(by)) throw new Invalid(
      `an add needs a whole number between -(2^53 - 1) and 2^53 - 1, not ${by}`
    )
    return { add: checked(key), by }
  }
})

// Returns a condition's field of an operation, as the server reads it.
function conditionOf ({ ifAbsent = false, ifVersion, ifValue } = {}) {
  const given = {}
  if (ifAbsent) given.if_absent = true
  if (ifVersion !== undefined) given.if_version = ifVersion
  if (ifValue !== undefined) given.if_value = bytes(ifValue).toString('base64')
  if (Object.keys(given).length > 1) throw new Invalid(
    'an operation can have only one condition: ifAbsent, ifVersion or ifValue'
  )
  return given
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

export function bytes (value) {
  if (value === undefined || value === null) return Buffer.alloc(0)
  if (typeof value === 'string') return Buffer.from(value)
  // Copy the bytes: a buffered write must not change with the caller's buffer.
  if (value instanceof Uint8Array) return Buffer.from(value)
  throw new Invalid(`a value must be a string or a Uint8Array, not ${typeof value}`)
}

export function checked (key) {
  if (typeof key !== 'string') throw new Invalid(`a key must be a string, not ${typeof key}`)
  const encoded = Buffer.from(key)
  if (encoded.toString() !== key) throw new Invalid('a key must be valid UTF-8: this one has half of a surrogate pair')
  if (encoded.length < 1 || encoded.length > KEY_BYTES_MAX) {
    throw new Invalid(`a key has 1 to ${KEY_BYTES_MAX} bytes; this one has ${encoded.length}`)
  }
  return key
}

export function checkedType (text) {
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

export function rawValue (answer) {
  const { 'content-type': contentType = DEFAULT_CONTENT_TYPE, 'aft-version': version = '' } = answer.headers
  return { bytes: answer.body, contentType, version }
}

// Returns the result's field of a commit. Without a request ID no later attempt can ask for the
// result, and storing it would need the right to write.
export function resultOf (result, requestId) {
  return result.length > 0 && requestId !== null && requestId !== undefined ? { result: result.toString('base64') } : {}
}
