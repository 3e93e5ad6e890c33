// Names in paths and headers.

/** @internal */
export function encodeName (text) {
  const escaped = encodeURIComponent(text).replace(/[!'()*]/g, char => '%' + char.charCodeAt(0).toString(16).toUpperCase())
  return escaped.replaceAll('%2F', '/')
}

export function lookUpPath (under, requestId, scope) {
  return `/v1/${under}/${encodeName(requestId)}${scope ? `?scope=${encodeURIComponent(scope)}` : ''}`
}

// Returns the header by which a commit repeats its request. With it a server that has forgotten the
// transaction can answer from the request's record. A request ID with control characters cannot be
// sent in a header.
export function repeats (requestId) {
  // eslint-disable-next-line no-control-regex
  if (requestId === null || /[\x00-\x1f\x7f]/.test(requestId)) return null
  const escaped = requestId.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  // The header's bytes are UTF-8. Node takes them as text with one byte for each character.
  return { 'Idempotency-Key': Buffer.from(`"${escaped}"`).toString('latin1') }
}
