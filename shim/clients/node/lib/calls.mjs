// The calls of a transaction that are in flight, and those that failed without anybody seeing it.

// A promise that knows if anybody waits for it.
class Call extends Promise {
  static get [Symbol.species] () { return Promise }

  then (...listeners) {
    this.isAwaited = true
    return super.then(...listeners)
  }
}

export class Calls {
  constructor () {
    this.open = new Set()
    this.failed = []
  }

  // Returns the promise of a call, and keeps an eye on it.
  track (promise) {
    const call = new Call(resolve => resolve(promise))
    this.open.add(call)
    // This is not the listener of a caller. It also keeps a failure that nobody waits for from
    // ending the process: the commit throws it.
    Promise.prototype.then.call(call, () => this.open.delete(call), why => {
      this.open.delete(call)
      this.failed.push({ call, why })
    })
    return call
  }

  // Waits until no call is in flight. Throws the first failure of a call that was in flight, or of
  // one that nobody waited for.
  async settle () {
    const unseen = this.failed.find(({ call }) => !call.isAwaited)
    if (unseen !== undefined) throw unseen.why
    const before = this.failed.length
    // A call that ends may be followed by another one, which a function that nobody waits for
    // makes. Such functions go on within a turn of the event loop.
    do {
      await Promise.allSettled([...this.open])
      await new Promise(resolve => setImmediate(resolve))
    } while (this.open.size > 0)
    if (this.failed.length > before) throw this.failed[before].why
  }
}
