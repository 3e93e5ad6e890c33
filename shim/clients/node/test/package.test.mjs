// Goal: the package holds every file that it needs. Method: the files that package.json names are
// copied into a folder, as `npm pack` does, and imported from there.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json')))

// Returns the paths that a file imports, below the package's folder.
const imports = path => [...readFileSync(join(ROOT, path), 'utf8').matchAll(/from '(\.[^']*)'/g)].map(([, to]) => join(dirname(path), to))

test('a copy of the package can be imported', () => {
  const folder = mkdtempSync(join(tmpdir(), 'aft-package-'))
  const copy = join(folder, 'node_modules', PACKAGE.name)
  mkdirSync(copy, { recursive: true })
  for (const name of [...PACKAGE.files, 'package.json']) cpSync(join(ROOT, name), join(copy, name), { recursive: true })
  writeFileSync(join(folder, 'app.mjs'), "import { Client, Op } from 'aft-client'\nnew Client('http://127.0.0.1:1').close()\nconsole.log(typeof Op.get)\n")
  assert.equal(execFileSync(process.execPath, ['app.mjs'], { cwd: folder }).toString(), 'function\n')
  for (const path of ['index.d.ts', ...readdirSync(join(copy, 'types')).map(name => `types/${name}`)]) {
    for (const to of imports(path)) readFileSync(join(copy, to.replace(/\.js$/, '.d.ts')))
  }
})

test('only modules of Node are imported', () => {
  for (const name of readdirSync(join(ROOT, 'lib'))) {
    for (const [, from] of readFileSync(join(ROOT, 'lib', name), 'utf8').matchAll(/ from '([^']*)'/g)) assert.match(from, /^(node:|\.\/)/, name)
  }
})

test('every public name has a type, and the other way round', async () => {
  const declared = ['index.d.ts', ...readdirSync(join(ROOT, 'types')).map(name => `types/${name}`)].flatMap(path =>
    [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^export (?:class|const|function) (\w+)/gm)].map(([, name]) => name))
  assert.deepEqual(Object.keys(await import('../index.mjs')).sort(), declared.sort())
})
