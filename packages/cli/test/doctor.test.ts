// SPDX-License-Identifier: MIT
//
// mshare doctor, in each state of things that it has to tell the truth about. It is run in mount
// namespaces in which things are so; nothing of that is seen outside. In the guest of `npm run vm`
// the kernel is ours, anywhere else it is not.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { inMounts, json, mshare, mshareProcess, NOBODY, noMounts, parsed, useRoot } from './util.js'

interface Check {
  name: string
  status: 'ok' | 'note' | 'fail'
  text: string
  remedy: string | null
}
interface Result {
  status: number | null
  healthy: boolean
  checks: Record<string, Check>
}

const IN_GUEST = Boolean(process.env['MSHARE_VM'])
const HAS_MSHAREFS = existsSync('/sys/fs/mshare')

let work: string
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-doctor-'))
  chmodSync(work, 0o777)
})
afterAll(() => rmSync(work, { recursive: true, force: true }))

function toResult(status: number | null, checks: Check[], healthy: boolean): Result {
  // Every line is ok, or says what to do.
  for (const check of checks) {
    if (check.status === 'ok') expect(check.remedy, check.name).toBeNull()
    else expect(check.remedy, check.name).toMatch(/\S/)
  }
  expect(healthy).toBe(checks.every(({ status }) => status !== 'fail'))
  expect(status).toBe(healthy ? 0 : 1)
  return { status, healthy, checks: Object.fromEntries(checks.map((check) => [check.name, check])) }
}

function doctor(by: readonly string[], env: NodeJS.ProcessEnv = {}): Result {
  // What it compiles as it goes stays here.
  const { status, out, err } = mshareProcess(['doctor', '--json'], {
    by,
    env: { TMPDIR: work, ...env },
  })
  expect(err).toBe('')
  const { healthy, checks } = parsed<{ healthy: boolean; checks: Check[] }>('doctor', out)
  return toResult(status, checks, healthy)
}

/** No msharefs, if there is one at all, and a /dev/shm of its own. */
const SHM = `
  while umount -l /sys/fs/mshare 2>/dev/null; do :; done
  mount -t tmpfs -o mode=1777,size=1g none /dev/shm
`
// /dev as it is, without a shm in it.
const SHM_GONE = `
  mkdir -p "$WORK/dev"
  mount -t tmpfs none "$WORK/dev"
  for device in null zero full random urandom tty; do
    : > "$WORK/dev/$device"
    mount --bind "/dev/$device" "$WORK/dev/$device"
  done
  mount --move "$WORK/dev" /dev
`
const NO_MSHAREFS = HAS_MSHAREFS
  ? { status: 'note', text: /none is mounted/, remedy: /mount -t msharefs none \/sys\/fs\/mshare/ }
  : { status: 'note', text: /no msharefs/, remedy: /npm run vm/ }

function expectCheck(
  check: Check | undefined,
  { status, text, remedy }: { status: string; text?: RegExp; remedy?: RegExp },
): void {
  expect(check).toMatchObject({ status })
  if (text) expect(check?.text).toMatch(text)
  if (remedy) expect(check?.remedy).toMatch(remedy)
}

describe('what is mounted', () => {
  beforeEach((context) => {
    noMounts(context)
  })

  test(`shm alone, on ${HAS_MSHAREFS ? 'our' : 'a stock'} kernel`, () => {
    const { checks, healthy } = doctor(inMounts(SHM))
    expect(healthy).toBe(true)
    expectCheck(checks['msharefs'], NO_MSHAREFS)
    expectCheck(checks['/dev/shm'], { status: 'ok', text: /a tmpfs, .* of 1 GiB free/ })
    expectCheck(checks['root'], {
      status: 'ok',
      text: /^\/dev\/shm\/mshare-\d+, on shm: page tables are not shared$/,
    })
    expectCheck(checks['trial'], { status: 'ok' })
    expectCheck(checks['system'], { status: 'ok', text: /^Linux \d+\.\d+/ })
    expectCheck(checks['library'], { status: 'ok', text: /libmshare/ })
    expectCheck(checks['drivers'], { status: 'ok', text: /koffi.*ffi-napi|ffi-napi.*koffi/ })
    expectCheck(checks['regions'], { status: 'ok', text: /^0 regions$/ })
  })

  test.runIf(HAS_MSHAREFS)('msharefs, where it belongs', () => {
    const mounted = `
      while umount -l /sys/fs/mshare 2>/dev/null; do :; done
      mount -t msharefs -o size=64m none /sys/fs/mshare
    `
    const { checks, healthy } = doctor(inMounts(mounted))
    expect(healthy).toBe(true)
    expectCheck(checks['msharefs'], { status: 'ok', text: /at \/sys\/fs\/mshare, .* of 64 MiB/ })
    expectCheck(checks['root'], {
      status: 'ok',
      text: /^\/sys\/fs\/mshare, on msharefs: page tables are shared$/,
    })
    expectCheck(checks['trial'], { status: 'ok' })

    // Another user, and no /dev/shm, which is not needed.
    const other = doctor([...inMounts(`${mounted}\n${SHM_GONE}`), ...NOBODY], { WORK: work })
    expect(other.healthy).toBe(true)
    expectCheck(other.checks['rights'], { status: 'ok', text: /^uid 65534/ })
    expectCheck(other.checks['trial'], { status: 'ok' })
    expectCheck(other.checks['/dev/shm'], { status: 'note', text: /there is no \/dev\/shm/ })

    const readOnly = doctor(inMounts(`${mounted}\nmount -o remount,bind,ro /sys/fs/mshare`))
    expect(readOnly.healthy).toBe(false)
    expectCheck(readOnly.checks['msharefs'], { status: 'note', remedy: /remount,rw/ })
    expectCheck(readOnly.checks['trial'], { status: 'fail', text: /EROFS/ })
  })

  // What follows does not depend on the kernel, and the guest is slow.
  test.skipIf(IN_GUEST)('no /dev/shm', () => {
    const { checks, healthy } = doctor(inMounts(`${SHM}\n${SHM_GONE}`), { WORK: work })
    expect(healthy).toBe(false)
    expectCheck(checks['/dev/shm'], {
      status: 'fail',
      text: /there is no \/dev\/shm/,
      remedy: /mount -t tmpfs .* \/dev\/shm; or set MSHARE_ROOT/,
    })
    expectCheck(checks['root'], { status: 'fail', text: /ENOENT/ })
    expectCheck(checks['library'], { status: 'ok' })
    expectCheck(checks['trial'], { status: 'fail', text: /those without a name do/ })
  })

  test.skipIf(IN_GUEST)('no /dev/shm, and none needed', () => {
    mkdirSync(join(work, 'root'), { recursive: true })
    const own = `${SHM}\nmount -t tmpfs none "$WORK/root"\n${SHM_GONE}`
    const { checks, healthy } = doctor(inMounts(own), { WORK: work, MSHARE_ROOT: `${work}/root` })
    expect(healthy).toBe(true)
    expectCheck(checks['/dev/shm'], { status: 'note', text: /there is no \/dev\/shm/ })
    expectCheck(checks['root'], { status: 'ok', text: /on shm.*MSHARE_ROOT/ })
  })

  test.skipIf(IN_GUEST)('/dev/shm read-only, with the root in it and without', () => {
    const readOnly = 'mount -o remount,bind,ro /dev/shm'
    for (const before of ['', 'mkdir -m 700 /dev/shm/mshare-$(id -u)']) {
      const { checks, healthy } = doctor(inMounts(`${SHM}\n${before}\n${readOnly}`))
      expect(healthy).toBe(false)
      expectCheck(checks['/dev/shm'], {
        status: 'fail',
        text: /read-only/,
        remedy: /remount,rw \/dev\/shm; or set MSHARE_ROOT/,
      })
      expectCheck(checks['root'], { status: before ? 'ok' : 'fail' })
      expectCheck(checks['trial'], { status: 'fail', text: /those without a name do: EROFS/ })
    }
  })

  test.skipIf(IN_GUEST)('no root: another user', () => {
    const { checks, healthy } = doctor([...inMounts(SHM), ...NOBODY])
    expect(healthy).toBe(true)
    expectCheck(checks['rights'], {
      status: 'ok',
      text: /^uid 65534: .*; (all processes can|\d+ processes cannot) be looked into/,
    })
    expectCheck(checks['root'], { status: 'ok', text: /\/dev\/shm\/mshare-65534/ })
    expectCheck(checks['trial'], { status: 'ok' })
  })

  test.skipIf(IN_GUEST)('another user, whose root is somebody else’s, or who may not write', () => {
    const taken = `${SHM}\nmkdir -m 755 /dev/shm/mshare-65534`
    const { checks, healthy } = doctor([...inMounts(taken), ...NOBODY])
    expect(healthy).toBe(false)
    expectCheck(checks['root'], { status: 'fail', text: /EPERM/, remedy: /MSHARE_ROOT/ })

    const closed = doctor([...inMounts(`${SHM}\nchmod 755 /dev/shm`), ...NOBODY])
    expect(closed.healthy).toBe(false)
    expectCheck(closed.checks['/dev/shm'], { status: 'fail', remedy: /chmod 1777/ })
    expectCheck(closed.checks['root'], { status: 'fail', text: /EACCES/ })
  })

  test.skipIf(IN_GUEST)('/dev/shm that is no tmpfs, small, or full', () => {
    const disk = doctor(inMounts(`${SHM}\numount /dev/shm\nmount --bind /usr /dev/shm`))
    expect(disk.healthy).toBe(false)
    expectCheck(disk.checks['/dev/shm'], { status: 'fail', text: /no tmpfs/ })

    const small = doctor(inMounts(`${SHM}\nmount -o remount,size=64m /dev/shm`))
    expect(small.healthy).toBe(true)
    expectCheck(small.checks['/dev/shm'], { status: 'note', text: /small/, remedy: /--shm-size/ })

    const full = doctor(inMounts(`${SHM}\nhead -c 1020M /dev/zero > /dev/shm/large`))
    expectCheck(full.checks['/dev/shm'], { status: 'note', text: /nearly full/ })
    const none = doctor(inMounts(`${SHM}\nhead -c 2G /dev/zero > /dev/shm/large 2>&- || :`))
    expect(none.healthy).toBe(false)
    expectCheck(none.checks['/dev/shm'], {
      status: 'fail',
      text: /full: 0 of/,
      remedy: /mshare gc/,
    })
    expectCheck(none.checks['trial'], { status: 'fail', text: /ENOSPC/, remedy: /mshare gc/ })
  })

  test.skipIf(IN_GUEST)('what others have left, and mshare gc', () => {
    const left = `
      ${SHM}
      mkdir -m 700 /dev/shm/mshare-$(id -u)
      : > /dev/shm/mshare-$(id -u)/born
      truncate -s 2G /dev/shm/mshare-$(id -u)/died
    `
    const { checks } = doctor(inMounts(left))
    expectCheck(checks['regions'], { status: 'note', text: /^2 regions, of which 2/, remedy: /gc/ })
    const ls = 'ls -A /dev/shm/mshare-$(id -u)'
    // The root is this user's own, and so are the files in it.
    const gone = mshareProcess(['gc', '--json'], {
      by: inMounts(`${left}\nset -- sh -c '"$@"; ${ls}' sh "$@"`),
    })
    const result = parsed<{ items: object[] }>('gc', gone.out)
    expect(result.items).toEqual([
      { name: 'born', reason: 'unfinished', outcome: 'removed' },
      { name: 'died', reason: 'unfinished', outcome: 'removed' },
    ])
    const dry = mshareProcess(['gc', '--dry-run'], {
      by: inMounts(`${left}\nset -- sh -c '"$@"; ${ls}' sh "$@"`),
    })
    expect(dry.out.replace(/^What .*\n/m, '')).toBe(
      'would remove  unfinished  born\nwould remove  unfinished  died\nborn\ndied\n',
    )
    // Whoever is at it has it open.
    const busy = `${left}\nexec 9< /dev/shm/mshare-$(id -u)/born\nset -- sh -c '"$@" 9<&-' sh "$@"`
    const kept = mshareProcess(['gc'], { by: inMounts(busy) })
    expect(kept.out).toMatch(
      /^kept +unfinished {2}born {2}\(process \d+ has it open\)\nremoved .* died\n/,
    )
  })
})

describe.skipIf(IN_GUEST)('what does not depend on mounts', () => {
  const root = useRoot()

  test('no QEMU', () => {
    const none = doctor([], { MSHARE_ROOT: root.path, PATH: work })
    expect(none.healthy).toBe(true)
    expectCheck(none.checks['vm'], {
      status: 'note',
      text: /no qemu-system-x86_64/,
      remedy: /apt-get install .*qemu-system-x86/,
    })
  })

  test('a root that cannot be', () => {
    const missing = doctor([], { MSHARE_ROOT: `${root.path}/nothing` })
    expectCheck(missing.checks['root'], { status: 'fail', text: /ENOENT/, remedy: /MSHARE_ROOT/ })
    const disk = doctor([], { MSHARE_ROOT: '/usr' })
    expectCheck(disk.checks['root'], { status: 'fail', text: /EOPNOTSUPP/, remedy: /tmpfs/ })
    const relative = doctor([], { MSHARE_ROOT: 'here' })
    expectCheck(relative.checks['root'], { status: 'fail', text: /EINVAL/, remedy: /absolute/ })
  })

  test('no libmshare, no driver', () => {
    const library = doctor([], { MSHARE_ROOT: root.path, MSHARE_LIBRARY: '/nothing.so' })
    expect(library.healthy).toBe(false)
    expectCheck(library.checks['library'], { status: 'fail', text: /\/nothing\.so/, remedy: /npm/ })
    expect(library.checks['trial']).toBeUndefined()
    expectCheck(library.checks['drivers'], { status: 'note', remedy: /library above/ })
    const driver = doctor([], { MSHARE_ROOT: root.path, MSHARE_FFI: 'dlopen' })
    expect(driver.healthy).toBe(false)
    expectCheck(driver.checks['drivers'], { status: 'fail', text: /dlopen/, remedy: /koffi/ })
  })

  test('the second driver is not installed, and nobody asked for it', () => {
    const hide = `${work}/hide.cjs`
    writeFileSync(
      hide,
      `const Module = require('node:module')
      const resolve = Module._resolveFilename
      Module._resolveFilename = function (name, ...rest) {
        if (!/driver-ffi-napi/.test(name)) return resolve.call(this, name, ...rest)
        throw Object.assign(new Error('hidden'), { code: 'MODULE_NOT_FOUND' })
      }\n`,
    )
    const env = { MSHARE_ROOT: root.path, NODE_OPTIONS: `--require=${hide}`, MSHARE_FFI: '' }
    const { text } = doctor([], env).checks['drivers'] as Check
    expect(text).toBe('koffi is used; ffi-napi is not installed')
    const asked = doctor([], { ...env, MSHARE_FFI: 'ffi-napi' })
    expectCheck(asked.checks['drivers'], { status: 'fail', remedy: /--ignore-scripts @mshare/ })
  })

  test('limits that are low', () => {
    const by = ['sh', '-c', 'ulimit -n 100; ulimit -f 3000000; exec "$@"', 'sh']
    const { checks } = doctor(by, { MSHARE_ROOT: root.path })
    expectCheck(checks['limits'], { status: 'note', text: /open files: 100/, remedy: /-f .*-n/ })
  })

  test('lines for people, colours for terminals alone', async () => {
    const { out, status } = await mshare('doctor')
    expect(status).toBe(0)
    expect(out).toMatch(/^ok {4}root +\S+, on (shm|msharefs): /m)
    expect(out).toMatch(/^(ok {2}|note) {2}vm /m)
    expect(out).not.toContain('\x1b')
    for (const line of out.trimEnd().split('\n')) expect(line).toMatch(/^(ok|note|fail) |^ +-> /)
    const { checks, healthy } = await json<{ checks: Check[]; healthy: boolean }>('doctor')
    toResult(0, checks, healthy)
  })
})
