// The transfer on Restate, built in the way of its documentation: accounts are virtual objects,
// whose state Restate keeps and whose calls it runs one by one; the transfer is a service that
// calls both. Prints the port that it serves at, and ends with the process that started it.

import http2 from 'node:http2'

import * as restate from '@restatedev/restate-sdk'

// The SDK needs this function, which Node 20 does not have yet.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((one, other) => { [resolve, reject] = [one, other] })
  return { promise, resolve, reject }
}

const opening = { balance: Number(process.argv[2]), moves: 0 }

const held = async ctx => await ctx.get('account') ?? opening

const account = restate.object({
  name: 'account',
  handlers: {
    withdraw: async (ctx, amount) => {
      const { balance, moves } = await held(ctx)
      if (balance < amount) throw new restate.TerminalError('not enough', { errorCode: 409 })
      ctx.set('account', { balance: balance - amount, moves: moves + 1 })
      return balance - amount
    },
    deposit: async (ctx, amount) => {
      const { balance, moves } = await held(ctx)
      ctx.set('account', { balance: balance + amount, moves: moves + 1 })
    },
    show: restate.handlers.object.shared(held)
  }
})

const bank = restate.service({
  name: 'bank',
  handlers: {
    transfer: async (ctx, { from, to, amount }) => {
      const left = await ctx.objectClient(account, from).withdraw(amount)
      await ctx.objectClient(account, to).deposit(amount)
      return { left }
    }
  }
})

// The same as `listen`, but only on the loopback address.
const endpoint = restate.endpoint().bind(account).bind(bank)
const server = http2.createServer(endpoint.http2Handler())
server.listen(0, '127.0.0.1', () => console.log(`serves at port ${server.address().port}`))
