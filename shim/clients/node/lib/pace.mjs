// Pauses between tries.

import { InProgress } from './errors.mjs'

// The first pause between tries: a few round trips to a store.
const PAUSE_MS_FIRST = 10
// The longest pause that the client chooses: short enough that a person who waits does not notice a
// stall.
const PAUSE_MS_MAX = 1_000
// The longest pause that a server may ask for: above the values that servers send, far below a
// run's time.
const ASKED_MS_MAX = 5_000

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/**
 * Returns the shortest and the longest pause in milliseconds after `nth` earlier failures; `asked`
 * is the pause that the server asked for.
 * @internal
 */
export function pauseRange (nth, inProgress, asked) {
  const own = Math.min(PAUSE_MS_FIRST * 2 ** Math.min(nth, 20), PAUSE_MS_MAX)
  if (asked === null) return [own / 2, own]
  // The server named the latest end of the other attempt, which is likely to end earlier.
  if (inProgress) return [Math.min(own, asked) / 2, Math.min(own, asked)]
  // An earlier try is useless. The random part spreads the clients that got the same answer.
  const least = Math.min(asked, ASKED_MS_MAX)
  return [Math.max(least, own / 2), least + own]
}

// The pauses between tries: exponential back-off with jitter, within a total time.
export class Pace {
  constructor (ms) {
    this.until = performance.now() + ms
    this.nth = 0
  }

  remaining () { return Math.max(0, this.until - performance.now()) }

  // Pauses after a failure. Returns false at once, without a pause, if the time would be over after
  // it.
  async pause (after) {
    const [least, most] = pauseRange(this.nth, after instanceof InProgress, after.retryAfterMs)
    this.nth += 1
    const ms = least + Math.random() * (most - least)
    if (ms >= this.remaining()) return false
    await sleep(ms)
    return true
  }
}
