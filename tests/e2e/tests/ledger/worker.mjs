// Moves money between accounts in several tasks of one process. Arguments and lines are those of
// worker.py.

import { AftError, Client } from '../../../../shim/clients/node/index.mjs'

const TASKS = 3

const [urls, name, accounts, seconds] = process.argv.slice(2)
const until = performance.now() + Number(seconds) * 1000
const options = { runMsMax: 20_000, attemptsMax: 10_000 }
const clients = urls.split(',').map(url => new Client(url, options))
const say = line => process.stdout.write(JSON.stringify(line) + '\n')
const below = bound => Math.floor(Math.random() * bound)

async function transfer (here, id, source, target, amount) {
  const move = async t => {
    for (const [account, by] of [[source, -amount], [target, amount]]) {
      const key = `account/${account}`
      const { bytes } = await t.get(key)
      await t.put(key, String(Number(bytes) + by))
    }
    return 'done'
  }
  try {
    return (await here.run(id, move)).result.toString()
  } catch (why) {
    if (!(why instanceof AftError)) throw why
    return why.name
  }
}

async function work (task) {
  for (let nth = 1; performance.now() < until; nth += 1) {
    const [id, amount, source] = [`${name}-${task}-${nth}`, 1 + below(4), below(Number(accounts))]
    const target = (source + 1 + below(Number(accounts) - 1)) % Number(accounts)
    const [here, there] = [clients[nth % clients.length], clients[(nth + 1) % clients.length]]
    here.joinSession(there.session)
    say({ begins: id, source, target, amount })
    let ended = await transfer(here, id, source, target, amount)
    if (below(5) === 0) {
      // The same request again, on the other server: it must not be done twice.
      const again = await transfer(there, id, source, target, amount)
      if (again === 'done' || ended !== 'done') ended = again
    }
    say({ ended: id, how: ended })
  }
}

await Promise.all(Array.from({ length: TASKS }, (_, task) => work(task)))
for (const client of clients) client.close()
