// SPDX-License-Identifier: MIT
//
// npm run docs [-- DIRECTORY]: web pages of the documents, of the TSDoc of @mshare/core (typedoc, with
// typedoc.json) and of the man pages (go-md2man, mandoc), in DIRECTORY (build/docs). Whatever typedoc
// warns of is an error: a link that leads nowhere, something public without a comment.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

const root = new URL('../', import.meta.url).pathname
const [given] = process.argv.slice(2)
const destination = resolve(given ?? join(root, 'build/docs'))
process.chdir(root)
// Nothing but our own is cleared away.
if (!given) rmSync(destination, { recursive: true, force: true })
else if (existsSync(destination) && readdirSync(destination).length > 0) {
  console.error(`${destination} is not empty`)
  process.exit(1)
}

function run(command, ...args) {
  const { status, stdout, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status === 0) return stdout
  // typedoc says some of what it has to say there.
  console.error(`${stdout ?? ''}${command}: ${error?.message ?? `status ${status}`}`)
  process.exit(1)
}

run(
  'node_modules/.bin/typedoc',
  '--logLevel',
  'Warn',
  '--cleanOutputDir',
  'false',
  '--out',
  destination,
)

const man = join(destination, 'man')
mkdirSync(man)
const body = 'max-width: 50em; margin: 2em auto; padding: 0 1em; font-family: sans-serif'
writeFileSync(join(man, 'man.css'), `:root { color-scheme: light dark }\nbody { ${body} }\n`)
const roff = join(man, 'page')
for (const name of readdirSync('libmshare/man')) {
  // An alias says which page it is: `.so man3/mshare_mkdir.3`.
  const [, alias] = /^\.so man\d\/(.*)/.exec(readFileSync(`libmshare/man/${name}`, 'utf8')) ?? []
  run('go-md2man', '-in', `libmshare/man/${alias ? `${alias}.md` : name}`, '-out', roff)
  const html = run('mandoc', '-T', 'html', '-O', 'style=man.css', roff).replaceAll(
    /<b>([\w-]+)<\/b>\((\d)\)/g,
    (reference, page, number) => {
      const there = ['', '.md'].some((end) => existsSync(`libmshare/man/${page}.${number}${end}`))
      return there ? `<a href="${page}.${number}.html">${reference}</a>` : reference
    },
  )
  writeFileSync(join(man, `${basename(name, '.md')}.html`), html)
}
rmSync(roff)

// Links to the Markdown of a man page, which typedoc has copied, lead to the page; and no link to
// nowhere.
const broken = []
for (const name of readdirSync(destination, { recursive: true })) {
  if (!name.endsWith('.html')) continue
  const path = join(destination, name)
  const html = readFileSync(path, 'utf8').replaceAll(
    /(href="(?:\.\.\/)*)media\/([\w-]+\.\d)\.md(?=["#])/g,
    '$1man/$2.html',
  )
  writeFileSync(path, html)
  for (const [, target] of html.matchAll(/(?:href|src)="([^"#?:]+)[^":]*"/g)) {
    if (!existsSync(join(dirname(path), target))) broken.push(`${name}: ${target}`)
  }
}
for (const name of readdirSync(join(destination, 'media'))) {
  if (/\.\d\.md$/.test(name)) rmSync(join(destination, 'media', name))
}
if (broken.length > 0) {
  console.error(`Links that lead nowhere:\n  ${broken.join('\n  ')}`)
  process.exit(1)
}
console.log(join(destination, 'index.html'))
