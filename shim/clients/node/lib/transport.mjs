// Calls over HTTP. Nothing is retried here but a call that only reads and met a dead connection.

import { Invalid, NoAnswer } from './errors.mjs'
import { Exchange } from './exchange.mjs'
import { checkedMs } from './pace.mjs'
import { refusal } from './refusals.mjs'
import { Pool, parseUrl } from './server.mjs'
import { typeName } from './values.mjs'

export class Transport {
  constructor (url, { token, ca, certificate, key, connectTimeoutMs, callTimeoutMs }) {
    this.server = parseUrl(url)
    if (token !== undefined && token !== null) {
      if (typeof token !== 'string') throw new Invalid(`token must be a string, not ${typeName(token)}: read its file as UTF-8`)
      if (!/^[!-~]+$/.test(token)) throw new Invalid('the bearer token contains characters that a header cannot hold: remove line breaks from it')
      this.token = token
    }
    this.pool = new Pool(this.server, { ca, certificate, key })
    // Calls after the end open connections again; streams that were open have ended.
    this.isClosed = false
    this.connectTimeoutMs = checkedMs('connectTimeoutMs', connectTimeoutMs, 5_000)
    this.callTimeoutMs = checkedMs('callTimeoutMs', callTimeoutMs, 30_000)
  }

  // Sends a call and returns its answer, a success. Throws the server's error, NotSent, NoAnswer,
  // or Aborted. `pace` has the limits of the call. `more.reads` says that the call only reads, and
  // `more.isStreamed` that the caller reads the body of the answer.
  async send (method, path, body, headers, pace, { reads = false, isStreamed = false } = {}) {
    let answer
    try {
      answer = await this.#exchange({ method, path, body, headers, pace, isStreamed })
    } catch (why) {
      if (!(reads && why instanceof NoAnswer && why.isStale)) throw why
      // The other idle connections are likely to be dead as well.
      this.pool.drain()
      answer = await this.#exchange({ method, path, body, headers, pace, isStreamed })
    }
    if (answer.status >= 200 && answer.status < 300) return answer
    throw refusal(answer)
  }

  // Lets the event loop look at the idle connections if it may have missed that one was closed.
  async look () { if (this.pool.isUnseen()) await this.pool.look() }

  async #exchange (call) {
    if (this.pool.isUnseen()) await this.pool.look()
    call.pace.check()
    return new Exchange(this, call).run()
  }

  close () {
    this.isClosed = true
    this.pool.close()
  }
}
