// SPDX-License-Identifier: MIT
/** The Markdown files of this tree, taken apart for the tests beside this file. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Slugger from 'github-slugger'
import type { Code, Root } from 'mdast'
import { fromMarkdown } from 'mdast-util-from-markdown'
import { toString as plain } from 'mdast-util-to-string'
import { visit } from 'unist-util-visit'

export const top = fileURLToPath(new URL('..', import.meta.url))

export interface Block {
  /** `docs/faq.md:12` */
  readonly at: string
  readonly path: string
  /** What is behind the fence: `c`, `ts`, `sh` …; empty for none. */
  readonly language: string
  readonly code: string
  /** The heading it stands below. */
  readonly section: string
}

export interface Document {
  readonly path: string
  readonly text: string
  readonly blocks: Block[]
  /** Targets of links and pictures, as written. */
  readonly links: string[]
  /** What a `#` in a link can name. */
  readonly anchors: Set<string>
}

function take(path: string): Document {
  const text = readFileSync(join(top, path), 'utf8')
  const tree: Root = fromMarkdown(text)
  const slugger = new Slugger()
  const blocks: Block[] = []
  const links: string[] = []
  const anchors = new Set<string>()
  let section = ''
  visit(tree, (node) => {
    if (node.type === 'heading') {
      section = plain(node)
      anchors.add(slugger.slug(section))
    }
    if (node.type === 'code') blocks.push(block(path, node, section))
    if (node.type === 'link' || node.type === 'image') links.push(node.url)
    // What man pages have for a comment, `[//]: # (…)`, is a definition, too.
    if (node.type === 'definition' && node.url !== '#') links.push(node.url)
    // By name, and nothing has that name: Markdown takes it for text.
    if (node.type === 'linkReference') links.push(`[${node.label}]`)
  })
  return { path, text, blocks, links, anchors }
}

function block(path: string, node: Code, section: string): Block {
  const { position, lang, value } = node
  const at = `${path}:${position?.start.line}`
  return { at, path, language: lang ?? '', code: `${value}\n`, section }
}

const files = execFileSync(
  'git',
  ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate', '*.md'],
  { cwd: top, encoding: 'utf8' },
)
  .split('\0')
  .filter(Boolean)
  .sort()

/** All of them, the man pages too. */
export const all = files.map(take)
export const pages = all.filter(({ path }) => path.startsWith('libmshare/man/'))
export const documents = all.filter((document) => !pages.includes(document))

export const document = (path: string) => all.find((one) => one.path === path) as Document
/** `mshare_map.3` for the page of that function. */
export const pageName = (page: Document) => basename(page.path, '.md')
export const section = (page: Document, name: string) =>
  page.text.split(/^# /m).find((part) => part.startsWith(`${name}\n`)) ?? ''
