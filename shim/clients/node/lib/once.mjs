// Functions that take effect once for each event.

import { Invalid } from './errors.mjs'
import { optionsOf } from './options.mjs'
import { checkedScope, typeName } from './values.mjs'

// Returns a function that runs `fn` in a run whose request ID comes from its first argument.
export function once (client, options, fn) {
  const { key, scope, ...more } = optionsOf('once', options)
  if (typeof key !== 'function' && typeof key !== 'string') throw new Invalid(
    `key must be a function of the event, or a path like 'detail.orderId', not ${typeName(key)}`
  )
  if (typeof fn !== 'function') throw new Invalid(`fn must be a function, not ${typeName(fn)}: write once({ key }, async (t, event) => { … })`)
  checkedScope(scope)
  const idOf = typeof key === 'function' ? (event, ...others) => key(event, ...others) : event => at(event, key)
  return async (event, ...others) => {
    const requestId = await idOf(event, ...others)
    checkKey(requestId, key)
    const ran = await client.run(requestId, t => fn(t, event, ...others), { ...more, scope })
    if (ran.resultSize === null) return ran.result
    return client.result(requestId, { scope })
  }
}

function at (event, path) {
  let value = event
  for (const part of path.split('.')) {
    const isThere = value !== null && typeof value === 'object' && Object.hasOwn(value, part)
    if (!isThere) throw new Invalid(`the event has no ${JSON.stringify(part)} on the path ${JSON.stringify(path)} of its request ID`)
    value = value[part]
  }
  return value
}

// The event's ID must be there: without one the function could take effect twice.
function checkKey (requestId, key) {
  const source = typeof key === 'string' ? `the path ${JSON.stringify(key)} of the event` : 'key'
  if (typeof requestId !== 'string') throw new Invalid(
    `${source} gives ${requestId === null || requestId === undefined ? requestId : typeName(requestId)}: the request ID of an event must be a string`
  )
  if (requestId.trim() === '') throw new Invalid(`${source} gives a blank text: the request ID of an event must name it`)
}
