// Values of any size: bodies that are read from a source, and answers that are read by the caller.

import { Readable } from 'node:stream'

import { Aborted, Invalid, Unavailable } from './errors.mjs'
import { onAbort } from './pace.mjs'
import { Limit } from './turns.mjs'
import { bytes, typeName } from './values.mjs'

// The body of a call that is read from a source piece by piece, and read once.
export class Source {
  constructor (source, size) {
    const iterate = source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator]
    if (typeof source === 'string' || ArrayBuffer.isView(source) || typeof iterate !== 'function') throw new Invalid(
      `a source must be a Readable, a ReadableStream or another iterable of bytes, not ${typeName(source)}` +
      (typeof source === 'string' || ArrayBuffer.isView(source) ? ': write a value in memory with put' : '')
    )
    if (size !== undefined && size !== null && !(Number.isSafeInteger(size) && size >= 0)) throw new Invalid(
      `size must be a number of bytes from 0 up, not ${typeof size === 'number' ? size : typeName(size)}`
    )
    this.source = source
    this.size = size ?? undefined
    this.len = 0
    // True once bytes may have been taken from the source, so that it cannot be sent again.
    this.isRead = false
    // A stream may fail before it is read; without a listener that would end the process.
    if (typeof source.on === 'function') source.on('error', why => { this.broken ??= why })
  }

  // Gives all pieces to `write` in order, until it returns false. The last piece is given only once
  // the source has ended with the size that was announced: so a source of another size never
  // becomes a whole body.
  async send (write) {
    this.isRead = true
    if (this.broken) throw this.broken
    let held = Buffer.alloc(0)
    for await (const piece of this.source) {
      const more = bytes(piece)
      if (more.length === 0) continue
      this.len += more.length
      if (this.len > this.size) throw new Invalid(`the source has more than the ${this.size} bytes that its size says`)
      // The iteration ends here, which closes a stream.
      if (held.length > 0 && !await write(held)) return
      held = more
    }
    if (this.size !== undefined && this.len !== this.size) throw new Invalid(`the source has ${this.len} bytes, and its size says ${this.size}`)
    if (held.length > 0) await write(held)
  }

  // Closes a source that is not needed any more.
  close () { if (!this.isRead || !this.source.destroyed) this.source.destroy?.() }
}

// The body of an answer, as a stream that fails unless all of it came.
export class Download extends Readable {
  constructor (exchange, response, len) {
    super({ highWaterMark: 256 << 10 })
    this.exchange = exchange
    this.response = response
    this.left = len
    response.pause()
    response.on('data', chunk => {
      if (this.left !== null) this.left -= chunk.length
      this.#rest()
      if (!this.push(chunk)) response.pause()
      else this.#wait()
    })
    response.on('end', () => {
      this.#rest()
      if (!response.complete || (this.left !== null && this.left !== 0)) return this.#cut()
      this.push(null)
    })
    response.on('error', why => this.#cut(why))
    response.on('close', () => { if (!response.complete) this.#cut() })
    // A stream that nobody reads fails without ending the process; a later reader gets the
    // error. A reader without a listener for errors is a mistake that Node reports.
    this.on('error', why => { if (this.readableFlowing !== null && this.listenerCount('error') === 1) throw why })
    this.endSignals = onAbort(exchange.call.pace.signals, signal => this.destroy(new Aborted(signal.reason, true)))
  }

  _read () {
    this.#wait()
    this.response.resume()
  }

  // The time that the reader takes is not the server's silence.
  #wait () {
    this.#rest()
    const ms = this.exchange.silenceMs
    this.limit = new Limit(ms, () => this.#cut(new Error(`nothing was received for ${Math.ceil(ms)} ms`)))
  }

  #rest () { this.limit?.end() }

  #cut (why) {
    const text = this.exchange.transport.isClosed ? 'the client was closed' : why?.message || 'the connection was closed'
    this.destroy(new Unavailable(`the answer broke off in the middle: ${text}; read it again from its beginning`))
  }

  _destroy (why, callback) {
    this.#rest()
    this.endSignals()
    // A connection with an answer that was not read to its end cannot be used again.
    if (!this.response.complete) this.exchange.request.destroy()
    callback(why instanceof Aborted ? why.reason ?? why : why)
  }
}
