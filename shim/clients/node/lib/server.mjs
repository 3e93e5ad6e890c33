// The server that a client speaks to: its URL, its certificates, and the connections to it.

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import tls from 'node:tls'

import { Invalid } from './errors.mjs'
import { look } from './turns.mjs'
import { typeName } from './values.mjs'

// The time that an idle connection is kept: below the 30 s after which a server closes it.
const IDLE_MS_MAX = 20_000
// The most idle connections that are kept: as many as one program usually has calls in flight.
const IDLE_CONNECTIONS_MAX = 64
// The time that a connection may be idle, or have been looked at, without another look: within it a
// server is hardly started again.
const UNSEEN_MS_MAX = 5

// A URL's scheme, user information, host, port, and rest.
const URL_PARTS = /^(?:([^:/?#]*):\/\/)?(?:([^/?#]*)@)?(\[[^\]]*\]|[^:/?#]*)(?::([^/?#]*))?([^]*)$/

// Returns the module, the host and the port of a URL. No message repeats what may be a secret: user
// information, a query, a fragment.
export function parseUrl (url) {
  if (typeof url !== 'string') throw new Invalid(`the URL of a server must be a string, not ${typeName(url)}: write http://HOST:PORT`)
  const remedy = 'write http://HOST:PORT or https://HOST:PORT, without a path'
  // A password may hold any character, so everything before the last @ is left out.
  const at = url.lastIndexOf('@')
  if (at >= 0) {
    const rest = JSON.stringify(url.slice(at + 1).split(/[?#]/)[0])
    throw new Invalid(`the URL of the server ${rest} must not hold a user or a password: give the token by \`token\`, and ${remedy}`)
  }
  const shown = JSON.stringify(url.split(/[?#]/)[0])
  const [, scheme, , host, port, rest] = URL_PARTS.exec(url)
  if (scheme === undefined || !['http', 'https'].includes(scheme.toLowerCase())) throw new Invalid(
    `${shown} is not the URL of a server: ${remedy}`
  )
  if (port !== undefined && !(/^\d+$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) throw new Invalid(
    `the port ${JSON.stringify(port)} in ${shown} is not a number from 1 to 65535`
  )
  if (rest !== '' && rest !== '/') throw new Invalid(`${shown} has a path, a query or a fragment: ${remedy}`)
  let parts
  try { parts = new URL(url) } catch { throw new Invalid(`${shown} is not the URL of a server: ${JSON.stringify(host)} is not a host`) }
  const isSecure = parts.protocol === 'https:'
  const hostname = parts.hostname.replace(/^\[|\]$/g, '')
  return { isSecure, module: isSecure ? https : http, hostname, port: Number(parts.port || (isSecure ? 443 : 80)), name: parts.origin }
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^]*?-----END [^-]*-----/g
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/

function pem (name, path, holds) {
  if (path === undefined || path === null) return undefined
  if (typeof path !== 'string' || path === '') throw new Invalid(`${name} must be the path of a PEM file, not ${typeName(path)}`)
  let text
  try { text = readFileSync(path, 'latin1') } catch (why) { throw new Invalid(`${name}: cannot read ${JSON.stringify(path)} (${why.code})`) }
  if (!holds(text)) throw new Invalid(`${name}: ${JSON.stringify(path)} holds no ${name === 'key' ? 'private key' : 'certificate'} in PEM`)
  return text
}

// Returns true if a text holds certificates. Node would leave out those that it cannot read.
function holdsCertificates (text) {
  const found = text.match(CERTIFICATE) ?? []
  try { found.forEach(each => new X509Certificate(each)) } catch { return false }
  return found.length > 0
}

// Returns the options of TLS: the roots that are trusted instead of the usual ones, and the
// client's certificate.
export function readCertificates ({ ca, certificate, key }) {
  const given = name => name !== undefined && name !== null
  if (given(certificate) !== given(key)) throw new Invalid(
    given(key) ? 'key is given without certificate: give both, or neither' : 'certificate is given without key: give both, or neither'
  )
  const roots = pem('ca', ca, holdsCertificates)
  const own = pem('certificate', certificate, holdsCertificates)
  const secret = pem('key', key, text => PRIVATE_KEY.test(text))
  const check = (names, options) => {
    try { return tls.createSecureContext(options) } catch (why) { throw new Invalid(`${names} cannot be used: ${why.message}`) }
  }
  if (roots !== undefined) check(`ca ${JSON.stringify(ca)}`, { ca: roots })
  if (own !== undefined) check(`certificate ${JSON.stringify(certificate)} with key ${JSON.stringify(key)}`, { cert: own, key: secret })
  return { secureContext: check('the certificates', { ca: roots, cert: own, key: secret }) }
}

// The idle connections to a server. After a freeze of the process (a paused function, a suspended
// machine) timers have not run, so a connection's age is looked at when it is taken. Nor has the
// event loop heard then that the server has closed a connection, so it looks before one is taken.
export class Pool {
  constructor ({ module, isSecure }, certificates) {
    this.agent = new module.Agent({
      keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS_MAX, timeout: IDLE_MS_MAX, ...(isSecure ? readCertificates(certificates) : {})
    })
    // The time of each connection's last answer.
    this.idleSince = new WeakMap()
    this.now = () => ({ wall: Date.now(), monotonic: performance.now() })
    this.seen = this.now()
  }

  // Notes that the answer on a connection has ended.
  used (socket) { this.idleSince.set(socket, this.now()) }

  // Returns true if the loop has to look at the idle connections before one is taken.
  isUnseen () {
    // The agent takes the one that was used last.
    for (const free of Object.values(this.agent.freeSockets)) {
      const now = this.now()
      const since = this.idleSince.get(free.at(-1)) ?? now
      return ageMs(since, now) > UNSEEN_MS_MAX && ageMs(this.seen, now) > UNSEEN_MS_MAX
    }
    return false
  }

  // Lets the loop hear which idle connections the server has closed.
  async look () {
    await look()
    this.seen = this.now()
    this.#closeIdle(socket => socket.readableEnded || !socket.writable)
  }

  // Returns the agent, after closing the connections that were idle for too long.
  fresh () {
    const now = this.now()
    this.#closeIdle(socket => {
      const since = this.idleSince.get(socket)
      return since !== undefined && ageMs(since, now) > IDLE_MS_MAX
    })
    return this.agent
  }

  // Closes all idle connections.
  drain () { this.#closeIdle(() => true) }

  #closeIdle (isOld) {
    for (const free of Object.values(this.agent.freeSockets)) {
      for (const socket of [...free]) if (isOld(socket)) socket.destroy()
    }
  }

  close () { this.agent.destroy() }
}

// Returns the time between two moments, by the clock that says more: the monotonic one may stand
// still during a freeze. A wall clock that was set back says nothing, so the time counts as long.
function ageMs (since, now) {
  const wall = now.wall - since.wall
  return wall < 0 ? Infinity : Math.max(wall, now.monotonic - since.monotonic)
}
