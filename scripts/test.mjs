// SPDX-License-Identifier: MIT
//
// npm test [-- SUITE... [--rounds N] [--cycles N] [--scale N]]: run suites one after the other,
// stream what they print, and end with one line that adds them all up.
//
// Not in parallel: the C programs already use all processors, and what they test (time limits,
// memory, limits on processes) should not depend on what else is being tested.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    rounds: { type: 'string', default: '100' },
    cycles: { type: 'string', default: '1000' },
    scale: { type: 'string', default: '1' },
  },
})

// A suite gives { passed, failed, skipped }; one that dies first counts as one failure. `built`: it
// needs what `npm run build` makes, and not just libmshare, which make sees to. `guest`: it runs on
// a kernel with msharefs, under QEMU, and is skipped where that cannot be.
const suites = {
  lint: {
    about: 'formatting, types, licences (part of npm test in CI; otherwise npm run lint)',
    unlessNamed: process.env.CI !== 'true',
    run: () => one('lint', 'sh', ['scripts/lint.sh']),
  },
  c: {
    about: 'the C suite on the plain build',
    run: () => make('check'),
  },
  asan: {
    about: 'the C suite under AddressSanitizer and UBSan, with the kill points, and its coverage',
    run: async () => {
      // Counters add up over runs; this is about this one.
      removeCounters('libmshare/build/asan')
      return sum(await make('check', 'VARIANT=asan'), await cCoverage())
    },
  },
  tsan: {
    about: 'the C suite under ThreadSanitizer',
    run: () => make('check', 'VARIANT=tsan'),
  },
  install: {
    about: 'clang, C++, programs against what make install and Debian packages put down',
    run: () => counted('libmshare/test/install-check', []),
  },
  ts: {
    about: 'the TypeScript suite and the examples on koffi, and their coverage',
    built: true,
    run: () => vitest('koffi', ['--coverage', '--exclude=scripts/test/**']),
  },
  'ts-ffi-napi': {
    about: 'what of it goes through the library, on ffi-napi',
    built: true,
    run: () => vitest('ffi-napi', ['packages/core/', 'packages/driver-ffi-napi/', 'examples/']),
  },
  packages: {
    about: 'the npm packages, installed on each Node.js without anything to build with',
    built: true,
    run: () => {
      const report = 'coverage/vitest-packages.json'
      return reported(report, 'vitest', [...vitestRun(report), 'scripts/test/'])
    },
  },
  soak: {
    about: 'processes killed at random moments; attach and detach over and over',
    run: () => make('soak', `ROUNDS=${values.rounds}`, `CYCLES=${values.cycles}`),
  },
  servers: {
    about: 'PostgreSQL and nginx with the preload shim, which changes nothing here',
    built: true,
    run: () => counted('bash', ['scripts/servers.sh', 'test']),
  },
  kernel: {
    about: 'the selftests of msharefs, in a guest',
    built: true,
    guest: true,
    run: (suite) => selftests(suite, 'test', 1200 * Number(values.scale), values.scale),
  },
  'kernel-debug': {
    about: 'the same on a kernel with KASAN, lockdep and fault injection, in little',
    built: true,
    guest: true,
    // Half the memory: setting it up is what takes it long to boot.
    run: (suite) => selftests(suite, 'debug', 2400, '1', ['--memory', '2G']),
  },
  'guest-c': {
    about: 'the C suite on msharefs, in a guest',
    built: true,
    guest: true,
    run: async (suite) => {
      // On this machine: compilers are slow in the guest.
      const { status } = await run('make', ['-s', jobs, '-C', 'libmshare', 'tests'])
      if (status !== 0) return died(`the tests do not compile: make ended with status ${status}`)
      const command = ['make', '-s', '-C', 'libmshare', 'check-msharefs']
      return boot(suite, 'test', 1800, {}, command, counted)
    },
  },
  'guest-servers': {
    about: 'PostgreSQL and nginx with the preload shim, sharing page tables, in a guest',
    built: true,
    guest: true,
    run: (suite) => {
      const command = ['bash', 'scripts/servers.sh', 'test']
      return boot(suite, 'test', 1800, {}, command, counted)
    },
  },
  'guest-ts': {
    about: 'the TypeScript suite and the examples on msharefs, in a guest, on koffi',
    built: true,
    guest: true,
    run: (suite) => guestVitest(suite, 'koffi'),
  },
  'guest-ts-ffi-napi': {
    about: 'the suite on msharefs, in a guest, on ffi-napi',
    built: true,
    guest: true,
    run: (suite) => guestVitest(suite, 'ffi-napi'),
  },
}

// Far beyond what any suite takes: a suite that hangs is a failure, not a hung machine.
const limitMs = 3_600_000

// They print into a pipe: say for them whether somebody is watching.
const colour = process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }

const groups = new Set()
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.on(signal, () => {
    for (const group of groups) process.kill(-group, signal)
    process.exit(status)
  })
}

/**
 * Run a command in a process group of its own; its output goes on, by lines to `each`, and back.
 * `aside`: it goes on in one piece in the end, for something else runs at the same time.
 */
function run(command, args, env = {}, each = () => {}, aside = false) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...colour, ...env },
    })
    let output = ''
    let held = ''
    let line = ''
    let expired = false
    if (child.pid) groups.add(child.pid)
    const timer = setTimeout(() => {
      expired = true
      process.kill(-child.pid, 'SIGKILL')
    }, limitMs)
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text) => {
      if (aside) held += text
      else process.stdout.write(text)
      // The end is enough for whoever reads this.
      output = (output + text).slice(-65_536)
      const lines = (line + text).split('\n')
      line = lines.pop()
      lines.forEach(each)
    })
    child.on('error', (error) => {
      console.log(`${command}: ${error.message}`)
    })
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      groups.delete(child.pid)
      process.stdout.write(held)
      if (expired) console.log(`${command}: not done after ${limitMs / 60_000} minutes: killed`)
      resolve({ status, signal, output })
    })
  })
}

/** A command that is one check. */
async function one(name, command, args, env) {
  const { status } = await run(command, args, env)
  console.log(`${status === 0 ? 'ok' : 'not ok'} - ${name}`)
  return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0 }
}

/** A command whose last line is "N passed, M failed, K skipped". */
async function counted(command, args) {
  const { status, output } = await run(command, args)
  const tally = output
    .split('\n')
    .map((line) => /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(line))
    .filter(Boolean)
    .at(-1)
  if (!tally) return died(`ended with status ${status} and without a tally`)
  const counts = { passed: Number(tally[1]), failed: Number(tally[2]), skipped: Number(tally[3]) }
  if (status !== 0 && counts.failed === 0) return died(`status ${status}`, counts)
  return counts
}

const jobs = `-j${availableParallelism()}`

function make(target, ...variables) {
  return counted('make', [jobs, '--no-print-directory', '-C', 'libmshare', target, ...variables])
}

async function vitest(driver, args) {
  const report = `coverage/vitest-${driver}.json`
  return reported(report, 'vitest', [...vitestRun(report), ...args], { MSHARE_FFI: driver })
}

/**
 * What of the suite goes through the library, on msharefs in a guest. There every process takes
 * seconds to start, and so do those that vitest gives a minute for that: not many at once. What is
 * loaded from where (loading.test.ts) hangs on no back end, and the examples on no driver: on
 * ffi-napi they are run here alone. Of the command, what it says of msharefs is.
 */
async function guestVitest(suite, driver) {
  const { status } = await run('tsc', ['-p', 'packages/core/test'])
  if (status !== 0) return died(`the tests' programs do not compile: tsc ended with ${status}`)
  const report = `coverage/guest-${driver}.json`
  const slow = ['--maxWorkers=2', '--testTimeout=600000', '--hookTimeout=600000']
  const cli = ['commands', 'doctor'].map((name) => `packages/cli/test/${name}.test.ts`)
  const which = driver === 'koffi' ? ['examples/', ...cli] : ['packages/driver-ffi-napi/']
  const command = [
    'node_modules/.bin/vitest',
    ...vitestRun(report),
    ...slow,
    'packages/core/',
    ...which,
  ]
  command.push('--exclude=**/loading.test.ts')
  const env = { CI: 'true', MSHARE_FFI: driver, MSHARE_TEST_BASE: '/sys/fs/mshare' }
  const how = (program, args) => reported(report, program, args)
  return boot(suite, 'test', 2400, env, command, how, ['--share', 'coverage'])
}

const vitestRun = (report) => [
  ...['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
]

/** A command that is vitest, here or in a guest, and writes this report. */
async function reported(report, command, args, env) {
  mkdirSync('coverage', { recursive: true })
  rmSync(report, { force: true })
  const { status } = await run(command, args, env)
  let result
  try {
    result = JSON.parse(readFileSync(report, 'utf8'))
  } catch (error) {
    const why = ends[status] ?? `vitest ended with status ${status}`
    return died(`${why}, without a report: ${error.message}`)
  }
  const counts = {
    passed: result.numPassedTests,
    failed: result.numFailedTests,
    skipped: result.numPendingTests + result.numTodoTests,
  }
  for (const file of result.testResults) {
    // A file that does not load, or whose hooks fail, has failed without any test saying so.
    if (file.status === 'failed' && !file.assertionResults.some((t) => t.status === 'failed')) {
      counts.failed++
    }
  }
  if (status !== 0 && counts.failed === 0) {
    return died(ends[status] ?? `vitest ended with status ${status}`, counts)
  }
  return counts
}

/** What the guest's end says, if it did not end as the command in it did. */
const ends = {
  122: 'no guest came to run',
  123: 'the kernel complained',
  124: 'the guest was not done in time',
  125: 'the kernel panicked, or the guest died',
}

/** A command in a guest: `how` gets the one that starts it here, and makes a tally of it. */
async function boot(suite, kernel, seconds, env, command, how, options = []) {
  const { status, output } = await run('kernel/scripts/build', [kernel])
  if (status !== 0) return died(`there is no ${kernel} kernel: building it ended with ${status}`)
  mkdirSync('kernel/build', { recursive: true })
  return how('node', [
    'packages/vm/dist/cli.js',
    ...['--kernel', output.trim(), '--timeout', `${seconds}`, '--cpus', '4'],
    ...['--log', `kernel/build/${suite}.log`, ...options],
    ...Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...command,
  ])
}

/**
 * The programs of kernel/linux/tools/testing/selftests/mshare, half of them in each of two guests at
 * a time: most keep one processor busy, no matter how many there are. Each of their tests counts.
 */
async function selftests(suite, kernel, seconds, scale, options = []) {
  const sources = 'kernel/linux/tools/testing/selftests/mshare'
  const programs = resolve('kernel/build/selftests')
  const fetched = await run('kernel/scripts/fetch', [])
  if (fetched.status !== 0) return died('there is no kernel source')
  const { status } = await run('make', [
    ...['-s', jobs, '-C', sources, `KSFT_DIR=${fetched.output.trim()}/tools/testing/selftests`],
    ...[`OUTPUT=${programs}`, 'all'],
  ])
  if (status !== 0) return died(`the selftests do not compile: make ended with status ${status}`)
  const command = ['sh', `${sources}/run.sh`]
  const parts = [1, 2].map((part) => {
    const env = {
      MSHARE_TEST_DIR: programs,
      MSHARE_TEST_PART: `${part}/2`,
      MSHARE_TEST_SCALE: scale,
    }
    const how = (program, args) => tap(program, args, part > 1)
    return boot(`${suite}-${part}`, kernel, seconds, env, command, how, options)
  })
  return sum(...(await Promise.all(parts)))
}

/** A command that is selftests/mshare/run.sh, here or in a guest. */
async function tap(command, args, aside) {
  const counts = sum()
  let totals
  const each = (line) => {
    // What a program says comes with a # before it; the verdicts on programs, without.
    const test = /^# (not )?ok \d+ /.exec(line)
    if (test) counts[test[1] ? 'failed' : line.includes(' # SKIP') ? 'skipped' : 'passed']++
    totals = /^# Totals: pass:(\d+) fail:(\d+) skip:(\d+)/.exec(line) ?? totals
  }
  const { status } = await run(command, args, {}, each, aside)
  if (!totals) return died(ends[status] ?? `status ${status}, and no totals`, counts)
  const [passed, failed, skipped] = totals.slice(1).map(Number)
  if (passed !== counts.passed || skipped !== counts.skipped || failed < counts.failed) {
    return died(`the totals are not what was counted: ${JSON.stringify(counts)}`, counts)
  }
  // A program that came to no end has failed, though none of its tests has.
  counts.failed = failed
  if (ends[status]) return died(ends[status], counts)
  if (status !== 0 && failed === 0 && passed > 0) return died(`status ${status}`, counts)
  return counts
}

/** Why there can be no guest here. */
function noGuest() {
  const { MSHARE_VM } = process.env
  if (MSHARE_VM) return 'this is a guest'
  if (process.arch !== 'x64') return `the kernel is x86-64, this machine is ${process.arch}`
  return undefined
}

function removeCounters(directory) {
  if (!existsSync(directory)) return
  for (const name of readdirSync(directory, { recursive: true })) {
    if (name.endsWith('.gcda')) rmSync(`${directory}/${name}`)
  }
}

/** Lines of libmshare/src that the suite on the asan build has run. */
async function cCoverage() {
  const summary = 'coverage/c.json'
  mkdirSync('coverage', { recursive: true })
  rmSync(summary, { force: true })
  const { status } = await run('gcovr', [
    ...['--root', 'libmshare', '--filter', 'libmshare/src/'],
    ...['--json-summary', summary, 'libmshare/build/asan'],
  ])
  if (status !== 0) return died(`gcovr ended with status ${status}: no coverage`)
  const { files, line_covered, line_total, line_percent } = JSON.parse(
    readFileSync(summary, 'utf8'),
  )
  const row = (name, covered, of, percent) =>
    console.log(`${name.padEnd(24)}${`${covered}/${of}`.padStart(12)}${`${percent} %`.padStart(9)}`)
  console.log('\nLine coverage of libmshare:')
  for (const f of files) row(f.filename, f.line_covered, f.line_total, f.line_percent)
  row('all', line_covered, line_total, line_percent)
  return sum()
}

function sum(...all) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  for (const one of all) for (const key of Object.keys(counts)) counts[key] += one[key]
  return counts
}

function died(reason, counts = sum()) {
  console.log(`not ok - ${reason}`)
  return { ...counts, failed: counts.failed + 1 }
}

const names = Object.keys(suites)
const wrong = positionals.filter((name) => !names.includes(name))
if (values.help || wrong.length > 0) {
  const print = values.help ? console.log : console.error
  for (const name of wrong) print(`there is no suite ${name}`)
  print('usage: npm test [-- SUITE... [--rounds N] [--cycles N] [--scale N]]')
  for (const name of names) print(`  ${name.padEnd(17)} ${suites[name].about}`)
  process.exit(values.help ? 0 : 2)
}
const chosen =
  positionals.length > 0
    ? names.filter((name) => positionals.includes(name))
    : names.filter((name) => !suites[name].unlessNamed)

let total = sum()
const rows = []

const seconds = (begin) => `${((performance.now() - begin) / 1000).toFixed(1)} s`
const begin = performance.now()

let build
for (const name of chosen) {
  console.log(`\n== ${name}: ${suites[name].about}`)
  const begin = performance.now()
  if (suites[name].built) build ??= await run('sh', ['scripts/build.sh'])
  const without = suites[name].guest && noGuest()
  let counts
  if (without) {
    counts = process.env.CI === 'true' ? died(without) : { ...sum(), skipped: 1 }
    if (!counts.failed) console.log(`ok - ${name} # SKIP ${without}`)
  } else if (suites[name].built && build.status !== 0) {
    counts = died(`not run, for the build ended with status ${build.status}`)
  } else {
    counts = await suites[name].run(name)
    if (counts.passed + counts.failed === 0) counts = died('not one test ran', counts)
  }
  total = sum(total, counts)
  rows.push([name, counts.passed, counts.failed, counts.skipped, seconds(begin)])
}

const line = (row) =>
  row.map((cell, i) => (i ? String(cell).padStart(9) : cell.padEnd(18))).join('')
console.log(`\n${line(['suite', 'passed', 'failed', 'skipped', 'time'])}`)
for (const row of rows) console.log(line(row))
console.log(`${line(['all', total.passed, total.failed, total.skipped, seconds(begin)])}\n`)
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed === 0 ? 0 : 1
