// Names in paths, queries and headers.

// Percent-encodes all but unreserved characters, as a query needs it.
export function encodeQuery (text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, char => '%' + char.charCodeAt(0).toString(16).toUpperCase())
}

/**
 * Encodes a name for a path, where its slashes stay as they are.
 * @internal
 */
export const encodeName = text => encodeQuery(text).replaceAll('%2F', '/')

/**
 * Returns true if no proxy rewrites the name in a path: it has no segment that is empty, `.` or
 * `..`.
 * @internal
 */
export const isPlain = name => name.split('/').every(segment => segment !== '' && segment !== '.' && segment !== '..')

// Returns `?name=value&…` of the parameters that have a value; empty if none has.
function queryOf (parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null)
  return given.length === 0 ? '' : `?${given.map(([name, value]) => `${name}=${encodeQuery(String(value))}`).join('&')}`
}

// Returns the path of a key below `base`, which is `/v1` or a transaction's path. A key that a
// proxy could rewrite is sent in the query.
export function keyPath (base, key, parameters = {}) {
  if (isPlain(key)) return `${base}/keys/${encodeName(key)}${queryOf(parameters)}`
  return `${base}/key${queryOf({ name: key, ...parameters })}`
}

// Returns the path of a request (`what` is `request`) or of its result (`result`).
export function requestPath (what, requestId, scope) {
  if (isPlain(requestId)) return `/v1/${what}s/${encodeName(requestId)}${queryOf({ scope })}`
  return `/v1/${what}${queryOf({ id: requestId, scope })}`
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
