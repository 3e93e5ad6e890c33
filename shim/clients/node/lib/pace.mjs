// The limits of a call or a run: its time, the signals of its caller, and the pauses between tries.

import { Aborted, InProgress, Invalid, interrupted } from './errors.mjs'
import { typeName } from './values.mjs'

// The first pause between tries: a few round trips to a store.
const PAUSE_MS_FIRST = 10
// The longest pause that the client chooses: short enough that a person who waits does not notice a
// stall.
const PAUSE_MS_MAX = 1_000
// The longest pause that a server may ask for: above the values that servers send, far below a
// run's time.
const ASKED_MS_MAX = 5_000
// The least silence that a call may have although the time of its run is used up, so that a commit
// after a long function is not in doubt from its beginning.
const SILENCE_MS_MIN = 250

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

// The longest time that can be set: Node's timers know no longer one, and would fire at once.
const MS_MAX = 2 ** 31 - 1

// Returns a limit of time that the caller gave, or `otherwise` if there is none.
export function checkedMs (name, ms, otherwise) {
  if (ms === undefined || ms === null) return otherwise
  if (typeof ms === 'number' && ms >= 0 && ms <= MS_MAX) return ms
  throw new Invalid(`${name} must be a number of milliseconds from 0 to ${MS_MAX} (24 days), not ${typeof ms === 'number' ? ms : typeName(ms)}`)
}

// Returns a whole number that the caller gave, or `otherwise` if there is none.
export function checkedWhole (name, number, least, most, otherwise) {
  if (number === undefined || number === null) return otherwise
  if (Number.isInteger(number) && number >= least && number <= most) return number
  throw new Invalid(
    `${name} must be a whole number from ${least} to ${most}, not ${typeof number === 'number' ? number : typeName(number)}`
  )
}

// Returns the signals of a call as a list.
export function signalsOf (signal) {
  if (signal === undefined || signal === null) return []
  if (typeof signal === 'object' && typeof signal.aborted === 'boolean' && typeof signal.addEventListener === 'function') return [signal]
  throw new Invalid(`signal must be an AbortSignal, not ${typeName(signal)}: pass controller.signal`)
}

// The functions that wait for a signal. Each signal gets one listener, because Node warns of more
// than ten.
const waiting = new WeakMap()

function listen (signal, abort) {
  let all = waiting.get(signal)
  if (all === undefined) {
    all = { aborts: new Set(), heard: () => { for (const each of [...all.aborts]) each(signal) } }
    waiting.set(signal, all)
  }
  if (all.aborts.size === 0) signal.addEventListener('abort', all.heard)
  all.aborts.add(abort)
  return () => {
    if (all.aborts.delete(abort) && all.aborts.size === 0) signal.removeEventListener('abort', all.heard)
  }
}

// Calls `abort` with a signal that is aborted. Returns a function that ends the waiting.
export function onAbort (signals, abort) {
  const ends = signals.map(signal => listen(signal, signal => abort(signal)))
  return () => ends.forEach(end => end())
}

// Exponential back-off with jitter, within a total time, until a signal of the caller.
export class Pace {
  constructor (ms, signals = []) {
    this.ms = ms
    this.since = performance.now()
    this.signals = signals
    this.nth = 0
  }

  // Returns the limits of one call within these: with another signal, and at most `ms`.
  within (ms, signal) { return new Pace(Math.min(ms, this.remaining()), [...this.signals, ...signalsOf(signal)]) }

  remaining () { return Math.max(0, this.since + this.ms - performance.now()) }

  // Returns the longest silence of a call that starts now.
  silenceMs (callTimeoutMs) { return Math.min(callTimeoutMs, Math.max(SILENCE_MS_MIN, this.remaining())) }

  // The signal that the caller has aborted, if there is one.
  get aborted () { return this.signals.find(signal => signal.aborted) }

  check () {
    const signal = this.aborted
    if (signal !== undefined) throw new Aborted(signal.reason, false)
  }

  // Pauses after a failure. Returns false at once, without a pause, if the time would be over after
  // it. If a signal ends it, throws the signal's reason, or Unknown if a commit is in doubt.
  async pause (after, doubt = null) {
    const [least, most] = pauseRange(this.nth, after instanceof InProgress, after.retryAfterMs)
    this.nth += 1
    const ms = least + Math.random() * (most - least)
    if (ms >= this.remaining() && this.aborted === undefined) return false
    let timer
    try {
      await this.unlessAborted(new Promise(resolve => { timer = setTimeout(resolve, ms) }))
    } catch (reason) {
      clearTimeout(timer)
      throw doubt === null ? reason : interrupted(reason)
    }
    return true
  }

  // Waits for a promise. Throws the reason of a signal as soon as it comes, whatever the promise
  // does then.
  async unlessAborted (promise) {
    if (this.signals.length === 0) return promise
    let end = () => {}
    const aborted = new Promise((resolve, reject) => {
      if (this.aborted !== undefined) return reject(this.aborted.reason)
      end = onAbort(this.signals, signal => reject(signal.reason))
    })
    try {
      return await Promise.race([aborted, promise])
    } finally {
      end()
    }
  }

  // Returns the error with which the client gives up.
  gaveUp (error) { return error._gaveUp(this.nth, performance.now() - this.since) }
}
