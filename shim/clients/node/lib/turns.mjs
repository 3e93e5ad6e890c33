// Turns of the event loop: after a process stood still (a frozen function, a long computation) the
// loop knows nothing yet of what has come on its sockets meanwhile.

const turn = () => new Promise(resolve => setImmediate(resolve))

// Waits until the loop has looked at its sockets. A turn that begins while sockets are being read
// ends before the next look, so there are two.
export async function look () {
  await turn()
  await turn()
}

// A limit of time that calls `onEnd` when it is over, unless it was moved or ended before. Timers
// fire before sockets are read, so the loop looks at the sockets once more in between: what they
// bring may move the limit.
export class Limit {
  constructor (ms, onEnd) {
    this.timer = setTimeout(() => { this.last = setImmediate(onEnd) }, ms)
  }

  // Lets the time begin again, unless the limit has ended.
  move () {
    if (this.isEnded) return
    clearImmediate(this.last)
    this.timer.refresh()
  }

  end () {
    this.isEnded = true
    clearImmediate(this.last)
    clearTimeout(this.timer)
  }
}
