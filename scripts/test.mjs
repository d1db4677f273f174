// SPDX-License-Identifier: MIT
//
// npm test [-- SUITE... [--rounds N] [--cycles N]]: run suites one after the other, stream what
// they print, and end with one line that adds them all up.
//
// Not in parallel: the C programs already use all processors, and what they test (time limits,
// memory, limits on processes) should not depend on what else is being tested.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    rounds: { type: 'string', default: '100' },
    cycles: { type: 'string', default: '1000' },
  },
})

// A suite gives { passed, failed, skipped }; one that dies first counts as one failure. `built`: it
// needs what `npm run build` makes, and not just libmshare, which make sees to.
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
    about: 'clang, C++, make install, programs against what was installed',
    run: () => counted('libmshare/test/install-check', []),
  },
  ts: {
    about: 'the TypeScript suite and the examples on koffi, and their coverage',
    built: true,
    run: () => vitest('koffi', ['--coverage']),
  },
  'ts-ffi-napi': {
    about: 'the same on ffi-napi',
    built: true,
    run: () => vitest('ffi-napi', []),
  },
  soak: {
    about: 'processes killed at random moments; attach and detach over and over',
    run: () => make('soak', `ROUNDS=${values.rounds}`, `CYCLES=${values.cycles}`),
  },
}

// Far beyond what any suite takes: a suite that hangs is a failure, not a hung machine.
const limitMs = 3_600_000

// They print into a pipe: say for them whether somebody is watching.
const colour = process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }

let group = 0
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  process.on(signal, () => {
    if (group) process.kill(-group, signal)
    process.exit(status)
  })
}

/** Run a command in a process group of its own; its output goes on, and comes back too. */
function run(command, args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...colour, ...env },
    })
    let output = ''
    let expired = false
    group = child.pid ?? 0
    const timer = setTimeout(() => {
      expired = true
      process.kill(-child.pid, 'SIGKILL')
    }, limitMs)
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text) => {
      process.stdout.write(text)
      // The end is enough for whoever reads this.
      output = (output + text).slice(-65_536)
    })
    child.on('error', (error) => {
      console.log(`${command}: ${error.message}`)
    })
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      group = 0
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

function make(target, ...variables) {
  const jobs = `-j${availableParallelism()}`
  return counted('make', [jobs, '--no-print-directory', '-C', 'libmshare', target, ...variables])
}

async function vitest(driver, args) {
  const report = `coverage/vitest-${driver}.json`
  mkdirSync('coverage', { recursive: true })
  rmSync(report, { force: true })
  const { status } = await run(
    'vitest',
    ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...args],
    { MSHARE_FFI: driver },
  )
  let result
  try {
    result = JSON.parse(readFileSync(report, 'utf8'))
  } catch (error) {
    return died(`vitest ended with status ${status} and without a report: ${error.message}`)
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
  if (status !== 0 && counts.failed === 0) return died(`vitest ended with status ${status}`, counts)
  return counts
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
  print('usage: npm test [-- SUITE... [--rounds N] [--cycles N]]')
  for (const name of names) print(`  ${name.padEnd(12)} ${suites[name].about}`)
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
  let counts
  if (suites[name].built && build.status !== 0) {
    counts = died(`not run, for the build ended with status ${build.status}`)
  } else {
    counts = await suites[name].run()
    if (counts.passed + counts.failed === 0) counts = died('not one test ran', counts)
  }
  total = sum(total, counts)
  rows.push([name, counts.passed, counts.failed, counts.skipped, seconds(begin)])
}

const line = (row) =>
  row.map((cell, i) => (i ? String(cell).padStart(9) : cell.padEnd(12))).join('')
console.log(`\n${line(['suite', 'passed', 'failed', 'skipped', 'time'])}`)
for (const row of rows) console.log(line(row))
console.log(`${line(['all', total.passed, total.failed, total.skipped, seconds(begin)])}\n`)
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed === 0 ? 0 : 1
