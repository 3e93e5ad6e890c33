// Values in the bodies of answers: whole, a range, or a stream.

import { Invalid } from './errors.mjs'
import { notAft } from './refusals.mjs'
import { headOf, typeName } from './values.mjs'

function head (answer) {
  const found = headOf(answer)
  if (found !== null) return found
  // The page of another kind of server. Its body is not read further.
  answer.stream?.destroy()
  throw notAft({ ...answer, body: answer.body ?? Buffer.alloc(0) })
}

export const rawValue = answer => ({ bytes: answer.body, ...head(answer) })

export function streamedOf (answer) {
  const { contentType, version } = head(answer)
  return { stream: answer.stream, contentType, version, size: answer.stream.left }
}

// Returns a range of bytes with the header that asks for it.
export function checkedRange (start, length) {
  for (const [name, value, least] of [['start', start, 0], ['length', length, 1]]) {
    if (!Number.isSafeInteger(value) || value < least) throw new Invalid(
      `${name} must be a whole number of bytes from ${least} up, not ${typeof value === 'number' ? value : typeName(value)}`
    )
  }
  return { start, length, headers: { Range: `bytes=${start}-${start + length - 1}` } }
}

// Returns a range of a value that is in memory.
export function sliceOf (value, { start, length }) {
  const size = value.bytes.length
  if (start >= size) throw new Invalid(`the range begins at byte ${start}, and the value has ${size} bytes: ask for a range within it`)
  return { ...value, bytes: value.bytes.subarray(start, start + length), size }
}

export function rangeOf (answer, range) {
  const value = rawValue(answer)
  // A proxy may leave the header out; then the whole value is the answer.
  if (answer.status !== 206) return sliceOf(value, range)
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.headers['content-range'] ?? '')?.map(Number) ?? []
  if (first !== range.start || last - first + 1 !== value.bytes.length || value.bytes.length > range.length) throw notAft(answer)
  return { ...value, size }
}
