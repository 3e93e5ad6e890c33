// A proxy that cuts connections at random bytes and delivers calls late.

import net from 'node:net'

import { SERVER, listen, sleep } from './index.mjs'

// Returns a generator of numbers from 0 up to 1, from a seed (mulberry32).
function randomFrom (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// Starts a TCP proxy that cuts every connection at a byte that a seed chooses, in either direction.
// Sometimes it delivers the call to the server after it has cut off the client.
export async function cut (seed, use) {
  const random = randomFrom(seed)
  const counted = { cuts: 0 }
  const proxy = net.createServer({ noDelay: true }, client => {
    counted.cuts += 1
    const limit = Math.floor(random() * (random() < 0.4 ? 400 : 3000))
    const kind = ['up', 'up', 'down', 'down', 'late'][Math.floor(random() * 5)]
    const pause = random() * 60
    const server = net.connect({ host: SERVER.hostname, port: SERVER.port, noDelay: true })
    const end = () => { client.destroy(); server.destroy() }
    let up = 0
    let down = 0
    let late = false
    client.on('data', async chunk => {
      if (late) return
      if (kind !== 'down' && up + chunk.length > limit) {
        late = true
        client.destroy()
        if (kind === 'up') return server.end(chunk.subarray(0, limit - up), end)
        await sleep(pause)
        server.write(chunk)
        // Give the server time to carry the call out before it notices that the client is gone.
        await sleep(100)
        return end()
      }
      server.write(chunk)
      up += chunk.length
    })
    server.on('data', chunk => {
      if (late) return
      if (kind === 'down' && down + chunk.length > limit) {
        client.end(chunk.subarray(0, limit - down), end)
        late = true
        return
      }
      client.write(chunk)
      down += chunk.length
    })
    client.on('error', () => late || end()).on('close', () => late || end())
    server.on('error', end).on('close', end)
  })
  const url = await listen(proxy)
  try {
    return await use({ url, counted })
  } finally {
    proxy.close()
  }
}
