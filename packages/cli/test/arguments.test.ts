// SPDX-License-Identifier: MIT
//
// What is seen to be wrong before anything is done: status 2 and one line that says which; help;
// completion.

import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatBytes, parseBytes, printable, toJson } from '../src/text.js'
import { makeBin, missing, mshare, parsed, useRoot } from './util.js'

const root = useRoot()

describe('bad arguments', () => {
  test.each([
    [[], 'say which command'],
    [['frobnicate'], "'frobnicate'"],
    [['frobnicate', '--help'], "there is no command 'frobnicate'"],
    [['help', 'frobnicate'], "there is no command 'frobnicate'"],
    [['--frobnicate'], "'--frobnicate'"],
    [['info'], "'name'"],
    [['info', 'a', 'b'], 'info'],
    [['ls', '--frobnicate'], "'--frobnicate'"],
    [['create', 'a'], '--size'],
    [['create', 'a', '--size'], '--size'],
    [['create', 'a', '--size', 'large'], "'large'"],
    [['create', 'a', '--size', '0'], "'0'"],
    [['create', 'a', '--size', '1PiB'], "'1PiB'"],
    [['create', 'a', '--size', '1GiB', '--mode', '888'], "'888'"],
    [['create', 'a', '--size', '1GiB', '--prot', 'w'], "'w'"],
    [['create', 'a', '--size', '1GiB', '--base', '0xfoo'], "'0xfoo'"],
    [['map', 'a'], "'length'"],
    [['map', 'a', '0.3'], "'0.3'"],
    [['map', 'a', '4K', '--offset', '-1'], "'-1'"],
    [['map', 'a', '4K', '--timeout', 'soon'], "'soon'"],
    [['map', 'a', '4K', '--file-offset', '4K'], '--file-offset'],
    [['unmap', 'a', '0'], "'length'"],
    [['protect', 'a', '0', '4K'], "'prot'"],
    [['protect', 'a', '0', '4K', 'x'], "'x'"],
    [['rm'], "'name'"],
    [['mkdir'], "'directory'"],
    [['top', '--interval', '0'], "'0'"],
    [['top', '--count', '0'], "'0'"],
    [['top', '--sort', 'size'], "'size'"],
    [['run'], "'command'"],
    [['run', '--frobnicate', 'true'], "'--frobnicate'"],
    [['run', '--threshold', 'big', 'true'], "'big'"],
    [['completion'], "'shell'"],
    [['completion', 'tcsh'], "'tcsh'"],
  ])('%j', async (words, which) => {
    const { status, out, err } = await mshare(...words)
    expect(err).toMatch(/^mshare[^\n]*: [^\n]+\n$/)
    expect(err).toContain(which)
    expect(out).toBe('')
    expect(status).toBe(2)
    if (words.length === 0 || ['run', 'completion'].includes(words[0] as string)) return
    const asked = await mshare(...words, '--json')
    const { error } = parsed<{ error: { code: string; message: string } }>('error', asked.err)
    expect(error.code).toBe('ERR_USAGE')
    if (words.includes('frobnicate')) expect(error.message).toContain(which)
    expect(asked.status).toBe(2)
  })
})

describe('help', () => {
  test('of all, and of each command with examples', async () => {
    const { status, out } = await mshare('--help')
    expect(status).toBe(0)
    const commands = [...out.matchAll(/^ {2}([a-z]+)(?= .* {2,}\S)/gm)].map(
      (match) => match[1] ?? '',
    )
    const known = 'doctor ls info maps create map unmap protect rm mkdir gc top run vm completion'
    expect(commands).toEqual([...known.split(' '), 'help'])
    expect((await mshare('help')).out).toBe(out)
    for (const command of known.split(' ')) {
      const { status, out } = await mshare('help', command)
      expect(status).toBe(0)
      expect(out).toMatch(new RegExp(`^Usage: mshare ${command}`))
      expect(out).toMatch(/^Examples?:\n {2}\S.*mshare |^Examples?:\n {2}mshare /m)
      if (command !== 'vm') expect((await mshare(command, '--help')).out).toBe(out)
    }
  })

  test('the examples have arguments that can be right', async () => {
    const { out } = await mshare('--help')
    expect(out).toContain('Exit status')
    for (const command of [
      'create',
      'map',
      'unmap',
      'protect',
      'gc',
      'mkdir',
      'rm',
      'info',
      'maps',
    ]) {
      const help = (await mshare('help', command)).out
      const lines = help.slice(help.indexOf('\nExample')).match(/^ {2}mshare .*$/gm) ?? []
      expect(lines.length).toBeGreaterThan(0)
      for (const line of lines) {
        const words = line
          .replace(/ {2,}\(.*$/, '')
          .trim()
          .split(' ')
          .slice(1)
        expect((await mshare(...words)).status, line).not.toBe(2)
      }
    }
    for (const name of Region.list()) Region.unlink(name)
    rmSync(`${root.path}/demo`, { recursive: true, force: true })
    rmSync(`${root.path}/a`, { recursive: true, force: true })
  })

  test('the version is that of the package', async () => {
    expect((await mshare('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('text', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['0x1000', 4096],
    ['64K', 65536],
    ['64KiB', 65536],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['12B', 12],
    ['8TiB', 2 ** 43],
    ['1e3', undefined],
    ['64KB', undefined],
    ['-1', undefined],
    ['', undefined],
    ['0.3', undefined],
    ['99999999999999999999', undefined],
  ])('%s is %s bytes', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  test.each([
    [0, '0'],
    [1, '1 B'],
    [1023, '1023 B'],
    [4096, '4 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 30 * 123.4, '123 GiB'],
    [2 ** 50, '1 PiB'],
  ])('%s bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })

  test('nothing that a terminal obeys gets through, and all else does', () => {
    const controls = Array.from({ length: 0xa0 }, (_, i) => String.fromCharCode(i))
    const safe = controls.map(printable).join('')
    expect([...safe].every((c) => c >= ' ' && c <= '~')).toBe(true)
    for (const c of ['\u200b', '\u202e', '\u2066', '\u2028', '\ufeff', '\ud800', '\u{e0001}']) {
      expect(printable(c)).toMatch(/^\\u\{[0-9a-f]+\}$/)
      const json = toJson({ name: c })
      expect(json).toMatch(/^[ -~]+$/)
      expect(JSON.parse(json)).toEqual({ name: c })
    }
    expect(printable('größer/數據 😀')).toBe('größer/數據 😀')
  })
})

describe('completion', () => {
  let bin: string

  beforeAll(() => {
    bin = makeBin()
    Region.mkdir('demo')
    for (const name of ['demo/one', 'demo/two words', 'dollar$HOME', 'other', 'hidden\x1b[2J']) {
      Region.create(name, { size: '1GiB' }).close()
    }
  })
  afterAll(() => {
    rmSync(bin, { recursive: true, force: true })
    for (const name of Region.list()) Region.unlink(name)
    Region.rmdir('demo')
  })

  const asked = async (...words: string[]) =>
    (await mshare('__complete', '--', ...words)).out.split('\n').slice(0, -1)

  test('commands, options, choices, names', async () => {
    expect(await asked('ma')).toEqual(['map', 'maps'])
    expect(await asked('--v')).toEqual(['--version'])
    expect(await asked('help', 'do')).toEqual(['doctor'])
    expect(await asked('create', 'x', '--si')).toEqual(['--size'])
    expect(await asked('create', 'x', '--prot', 'rw')).toEqual(['rw', 'rwx'])
    expect(await asked('create', 'x', '--size', '')).toEqual([])
    expect(await asked('completion', '')).toEqual(['bash', 'fish', 'zsh'])
    expect(await asked('protect', 'other', '0', '4K', 'r')).toEqual(['r', 'rw', 'rwx', 'rx'])
    expect(await asked('info', 'd')).toEqual(['demo/one', 'demo/two words', 'dollar$HOME'])
    expect(await asked('info', '--json', 'o')).toEqual(['other'])
    expect(await asked('info', 'other', '')).toEqual([])
    expect(await asked('rm', 'other', 'demo/o')).toEqual(['demo/one'])
    expect(await asked('rm', '--dir', '')).toEqual(['demo'])
    expect(await asked('ls', '')).toEqual(['demo'])
    expect(await asked('info', 'h')).toEqual([])
    expect(await asked('run', '')).toEqual([])
    expect(await asked('nonsense', '')).toEqual([])
  })

  const env = () => ({ ...process.env, PATH: `${bin}:${process.env['PATH']}` })

  test('bash', () => {
    const ask = (...words: string[]) => {
      const script = `
        eval "$(mshare completion bash)"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        compopt() { :; }
        _mshare
        printf '%s\\n' "\${COMPREPLY[@]}"
      `
      const args = ['--norc', '-c', script, 'bash', 'mshare', ...words]
      return execFileSync('bash', args, { encoding: 'utf8', env: env(), timeout: 45_000 })
        .split('\n')
        .slice(0, -1)
    }
    expect(ask('pro')).toEqual(['protect'])
    // As they have to be typed.
    expect(ask('info', 'd')).toEqual(['demo/one', 'demo/two\\ words', 'dollar\\$HOME'])
    expect(ask('info', 'nothing')).toEqual([''])
  })

  test('fish', (context) => {
    if (missing('fish', context)) return
    const ask = (line: string) => {
      const script = `mshare completion fish | source; complete -C ${JSON.stringify(line)}`
      const args = ['--no-config', '-c', script]
      const options = { encoding: 'utf8', env: { ...env(), HOME: bin }, timeout: 45_000 } as const
      return execFileSync('fish', args, options).split('\n').slice(0, -1)
    }
    expect(ask('mshare pro')).toEqual(['protect'])
    expect(ask('mshare info d')).toEqual(['demo/one', 'demo/two words', 'dollar$HOME'])
    expect(ask('mshare info demo/two')).toEqual(['demo/two words'])
  })

  test('zsh', (context) => {
    if (missing('zsh', context)) return
    // A shell in a terminal of zsh's own: there is no other way to ask its completion.
    const script = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell 'PROMPT= RPROMPT=; autoload -Uz compinit && compinit -D -u; eval "$(mshare completion zsh)"'
      zpty -w shell 'show() { print -r -- "<<$BUFFER>>"; BUFFER=; zle .accept-line }; zle -N show; bindkey "^X" show; print -r -- REA""DY'
      zpty -r -m shell _ '*READY*'
      for line in "$@"; do
        zpty -w -n shell "$line"$'\\t\\x18'
        zpty -r -m shell output '*<<*>>*'
        print -r -- "\${\${output#*<<}%>>*}"
      done
      zpty -d shell
    `
    const ask = (...lines: string[]) => {
      const options = {
        encoding: 'utf8',
        env: { ...env(), HOME: bin, TERM: 'xterm' },
        timeout: 45_000,
      } as const
      const { status, stdout, stderr } = spawnSync(
        'zsh',
        ['-f', '-c', script, 'zsh', ...lines],
        options,
      )
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      return stdout.split('\n').slice(0, -1)
    }
    expect(ask('mshare prote', 'mshare info demo/t', 'mshare info doll', 'mshare info o')).toEqual([
      'mshare protect ',
      'mshare info demo/two\\ words ',
      'mshare info dollar\\$HOME ',
      'mshare info other ',
    ])
  })
})
