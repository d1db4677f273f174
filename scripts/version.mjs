// SPDX-License-Identifier: MIT
//
// The one version of the library and the packages, which is that of the root's package.json.
//
//	node scripts/version.mjs		is it everywhere the same? Names where it is not.
//	npm run release:version -- X.Y.Z	makes it so.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))
const read = (path) => readFileSync(join(root, path), 'utf8')
const json = (path) => JSON.parse(read(path))

const asked = process.argv[2]
if (asked !== undefined && !/^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}$/.test(asked)) {
  console.error(`${asked}: a version is three numbers, as 1.2.3`)
  process.exit(2)
}

const directories = json('package.json').workspaces.flatMap((pattern) => {
  if (!pattern.endsWith('/*')) return [pattern]
  const parent = pattern.slice(0, -2)
  return readdirSync(join(root, parent)).map((name) => `${parent}/${name}`)
})
const manifests = directories
  .filter((directory) => existsSync(join(root, directory, 'package.json')))
  .map((directory) => ({ directory, path: `${directory}/package.json` }))
const ours = new Set(manifests.map(({ path }) => json(path).name))
const wanted = asked ?? json('package.json').version
const wrong = []

/** A version in an object, set or looked at. */
function one(path, object, key) {
  if (object[key] === wanted) return
  if (asked) object[key] = wanted
  else wrong.push(`${path}: ${key} is ${object[key]}, not ${wanted}`)
}

/** A manifest, or what the lock has of one: its version, and which one of the others it needs. */
function manifest(path, object) {
  one(path, object, 'version')
  for (const kind of ['', 'dev', 'peer', 'optional']) {
    const needs = object[kind ? `${kind}Dependencies` : 'dependencies'] ?? {}
    for (const name of Object.keys(needs)) if (ours.has(name)) one(path, needs, name)
  }
}

function file(path, change) {
  const object = json(path)
  change(object)
  if (asked) writeFileSync(join(root, path), `${JSON.stringify(object, null, 2)}\n`)
}

/** A line of a source: `pattern` has what is before the version, the version, and what is after. */
function line(path, pattern, version) {
  const text = read(path)
  const found = pattern.exec(text)?.[2]
  if (found === version) return
  if (found === undefined) wrong.push(`${path}: there is no ${pattern}`)
  else if (asked) writeFileSync(join(root, path), text.replace(pattern, `$1${version}$3`))
  else wrong.push(`${path}: ${found}, not ${version}`)
}

file('package.json', (object) => manifest('package.json', object))
for (const { path } of manifests) file(path, (object) => manifest(path, object))
file('package-lock.json', (lock) => {
  one('package-lock.json', lock, 'version')
  for (const directory of ['', ...manifests.map(({ directory }) => directory)]) {
    const entry = lock.packages[directory]
    if (entry) manifest(`package-lock.json: ${directory || 'the root'}`, entry)
    else wrong.push(`package-lock.json: nothing of ${directory}: npm install`)
  }
})
const header = 'libmshare/include/mshare.h'
line(header, /^(#define MSHARE_VERSION ")(.*)(")$/m, wanted)
for (const [i, part] of ['MAJOR', 'MINOR', 'PATCH'].entries()) {
  line(header, new RegExp(`^(#define MSHARE_VERSION_${part} )(.*)()$`, 'm'), wanted.split('.')[i])
}
line('packages/core/src/version.ts', /^(export const version = ')(.*)(')$/m, wanted)

// Debian's is a history: a new version is a new entry.
const history = 'debian/changelog'
if (existsSync(join(root, history))) {
  const text = read(history)
  const found = /^mshare \((.*)\)/.exec(text)?.[1]
  if (found !== wanted && asked) {
    const { author } = json('package.json')
    const date = execFileSync('date', ['-R'], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    })
    const entry = `mshare (${wanted}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n`
    writeFileSync(join(root, history), `${entry} -- ${author}  ${date}\n${text}`)
  } else if (found !== wanted) wrong.push(`${history}: ${found}, not ${wanted}`)
}

for (const what of wrong) console.log(what)
if (wrong.length > 0 && !asked) console.log(`npm run release:version -- ${wanted}`)
process.exit(wrong.length > 0 ? 1 : 0)
