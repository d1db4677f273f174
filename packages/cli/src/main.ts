// SPDX-License-Identifier: MIT
//
// The command line: which commands there are, what they take, what they say of themselves, and how
// they end.

import { readFileSync } from 'node:fs'
import { type Prot, Region } from '@mshare/core'
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { create, map, mkdir, protect, rm, unmap } from './changes.js'
import { candidates, scripts, shells } from './completion.js'
import { doctor, tryDriver } from './doctor.js'
import { DONE, FAILED, Failure, report, sentence, USAGE, Usage } from './errors.js'
import { gc } from './gc.js'
import { Output, type Streams } from './output.js'
import { info, ls, maps } from './queries.js'
import { run, vm } from './run.js'
import { parseBytes, printable, toJson } from './text.js'
import { sortKeys, top } from './top.js'

const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string }

function bytes(text: string): number {
  const n = parseBytes(text)
  if (n === undefined) throw new InvalidArgumentError('Say it like 4096, 0x1000, 64KiB or 1.5GiB.')
  return n
}

function length(text: string): number {
  const n = bytes(text)
  if (n === 0) throw new InvalidArgumentError('It has to be more than 0.')
  return n
}

function modeOption(about: string, usual: number): Option {
  return new Option('-m, --mode <mode>', about).default(usual, usual.toString(8)).argParser(mode)
}

function mode(text: string): number {
  if (!/^0?[0-7]{1,3}$/.test(text)) throw new InvalidArgumentError('Say it like 600 or 0640.')
  return Number.parseInt(text, 8)
}

function seconds(text: string): number {
  const n = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || n > 1_000_000) {
    throw new InvalidArgumentError('Say it like 1 or 0.5.')
  }
  return n
}

function interval(text: string): number {
  const n = seconds(text)
  if (n < 0.1) throw new InvalidArgumentError('0.1 is the least.')
  return n
}

function count(text: string): number {
  const n = Number(text)
  if (!Number.isSafeInteger(n) || n < 1) throw new InvalidArgumentError('Say it like 1 or 10.')
  return n
}

function threshold(text: string): string {
  if (!/^\d+[KMGT]?$/.test(text)) throw new InvalidArgumentError('Say it like 16777216 or 64M.')
  return text
}

const PROTS: readonly Prot[] = ['none', 'r', 'rw', 'rx', 'rwx']

/** A command takes --json; run and vm have nothing to say themselves. */
const jsonOption = () => new Option('--json', 'the result, or the error, as one line of JSON')
const timeoutOption = () =>
  new Option('--timeout <seconds>', 'how long to wait for attachers; 0: for ever')
    .argParser(seconds)
    .default(10)

const examples = (...lines: string[]) =>
  `\nExample${lines.length > 1 ? 's' : ''}:\n${lines.map((line) => `  ${line}`).join('\n')}`

/** What is not a command's own: exit statuses, the root. */
const epilogue = `
Exit status: 0, or 1 if an operation failed, or 2 if an argument is wrong; that of
run and vm is their command's. Regions are below MSHARE_ROOT, or /sys/fs/mshare if
msharefs is mounted, or /dev/shm/mshare-UID. mshare help COMMAND has examples.`

const unknown = (word: string) => new Usage(`there is no command '${word}': mshare help lists them`)

interface State {
  output: Output
  status: number
  complain(error: unknown): void
}

function build(state: State): Command {
  const { output } = state
  const program = new Command('mshare')
    .description('Regions: memory that processes share with its addresses and page tables.')
    .version(version, '-V, --version')
    .helpOption('-h, --help', 'what there is')
    .helpCommand('help [command]', 'what a command does')
    .enablePositionalOptions()
    .addHelpText('after', epilogue)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.streams.stdout.write(text),
      // Told below, as all errors are.
      writeErr: () => {},
    })
    .allowExcessArguments()
    .action((_options, { args: [word] }: Command) => {
      if (word !== undefined) throw unknown(word)
      throw new Usage('say which command: mshare help lists them')
    })

  /** Commands inherit what is set above when they are added. */
  const command = (name: string, about: string, ...lines: string[]) =>
    program
      .command(name)
      .description(about)
      .allowExcessArguments(false)
      .addHelpText('after', examples(...lines))
  const name = () => new Argument('<name>', 'of a region, relative to the root')

  command('doctor', 'say what works here, and what to do about what does not', 'mshare doctor')
    .addOption(jsonOption())
    .action(async () => {
      state.status = await doctor(output)
    })

  command(
    'ls',
    'list regions',
    'mshare ls',
    'mshare ls demo',
    "mshare ls --json | jq -r '.regions[].name'",
  )
    .argument('[directory]', 'only what is in it', '')
    .option('-a, --all', 'files that are no regions as well', false)
    .addOption(jsonOption())
    .action((directory: string, options: { all: boolean }) => ls(output, directory, options))

  command('info', 'describe a region, and the processes that use it', 'mshare info demo/counters')
    .addArgument(name())
    .addOption(jsonOption())
    .action((name: string) => info(output, name))

  command(
    'maps',
    'list what is mapped in a region, as /proc/PID/maps does',
    'mshare maps demo/counters',
  )
    .addArgument(name())
    .addOption(jsonOption())
    .action((name: string) => maps(output, name))

  command(
    'create',
    'make a region',
    'mshare create demo/counters --size 4GiB',
    'mshare create log --size 1GiB --map 64MiB --mode 640',
  )
    .argument('<name>', 'such as demo/counters')
    .requiredOption('-s, --size <size>', 'of the window, whole GiB; it takes no memory', length)
    .option(
      '--base <address>',
      'of the window; by default one that is free in most processes',
      length,
    )
    .addOption(modeOption('who may open it, less the umask', 0o600))
    .option('--map <length>', 'map that much at its beginning', length)
    .addOption(new Option('-p, --prot <prot>', 'of that').choices(PROTS).default('rw'))
    .option('--require-shared-page-tables', 'or fail')
    .addOption(jsonOption())
    .action((name, options) => create(output, name, options))

  command(
    'map',
    'map memory, or a file, in a region',
    'mshare map demo/counters 64MiB',
    'mshare map demo/counters 1GiB --offset 1GiB --no-reserve',
    'mshare map words 1MiB --prot r --file words.idx    (where the back end can)',
  )
    .addArgument(name())
    .addArgument(new Argument('<length>', 'whole pages').argParser(length))
    .option('-o, --offset <offset>', 'where; by default the lowest gap that fits', bytes)
    .addOption(
      new Option('-p, --prot <prot>', 'what attachers may do there').choices(PROTS).default('rw'),
    )
    .option('--no-reserve', 'allocate on first touch, which can then be SIGBUS')
    .option('--populate', 'fill page tables, too')
    .option('--hugetlb', 'huge pages, where the back end can')
    .option('--file <path>', 'a file, in place of memory')
    .option('--file-offset <offset>', 'where in it to begin', bytes)
    .addOption(timeoutOption())
    .addOption(jsonOption())
    .action((name, length, options) => {
      if (options.fileOffset !== undefined && options.file === undefined) {
        throw new Usage("option '--file-offset <offset>' needs --file")
      }
      wait(options.timeout)
      map(output, name, length, options)
    })

  command(
    'unmap',
    'unmap a range; who touches it then is killed',
    'mshare unmap demo/counters 0 64MiB',
  )
    .addArgument(name())
    .addArgument(new Argument('<offset>', 'where it begins').argParser(bytes))
    .addArgument(new Argument('<length>', 'whole pages').argParser(length))
    .addOption(timeoutOption())
    .addOption(jsonOption())
    .action((name, offset, length, options) => {
      wait(options.timeout)
      unmap(output, name, offset, length)
    })

  command(
    'protect',
    'change what attachers may do in a range',
    'mshare protect demo/counters 0 64MiB r',
  )
    .addArgument(name())
    .addArgument(new Argument('<offset>', 'where it begins').argParser(bytes))
    .addArgument(new Argument('<length>', 'whole pages').argParser(length))
    .addArgument(new Argument('<prot>', 'protection').choices(PROTS))
    .addOption(timeoutOption())
    .addOption(jsonOption())
    .action((name, offset, length, prot, options) => {
      wait(options.timeout)
      protect(output, name, offset, length, prot)
    })

  command(
    'rm',
    "remove names; a region's memory goes with its last user",
    'mshare rm demo/counters',
    'mshare rm --dir demo',
  )
    .argument('<name...>', 'of regions, or with --dir of directories')
    .option('-d, --dir', 'empty directories, not regions')
    .option('-f, --force', 'do not mind what is not there')
    .addOption(jsonOption())
    .action((names, options) => {
      state.status = rm(output, names, options, state.complain)
    })

  command('mkdir', 'make directories for names', 'mshare mkdir demo', 'mshare mkdir -p a/b/c')
    .argument('<directory...>', 'such as demo')
    .addOption(modeOption('who may use it, less the umask', 0o700))
    .option('-p, --parents', 'those above as well; do not mind what is there')
    .addOption(jsonOption())
    .action((names, options) => {
      state.status = mkdir(output, names, options, state.complain)
    })

  command(
    'gc',
    'remove regions that were never finished, or are damaged',
    'mshare gc --dry-run',
    'mshare gc --orphans --dry-run',
  )
    .option('-n, --dry-run', 'say what would be removed, and remove nothing')
    .option('--orphans', 'and sound regions that no process has open or attached')
    .addOption(jsonOption())
    .action((options) => {
      state.status = gc(output, options, state.complain)
    })

  command(
    'top',
    'show regions as they change; one picture, if this is no terminal',
    'mshare top',
    'mshare top --sort attachments --interval 5',
    'mshare top --json --count 3',
  )
    .option('-i, --interval <seconds>', 'between pictures', interval, 1)
    .option('-c, --count <n>', 'how many pictures', count)
    .addOption(
      new Option('-s, --sort <key>', 'what comes first').choices(sortKeys).default('resident'),
    )
    .addOption(jsonOption())
    .action((options) => top(output, options))

  command(
    'run',
    'run a program with shared page tables for what its processes inherit: mshare-run(1)',
    'mshare run -- postgres -D /srv/db',
    'mshare run --threshold 64M --log /tmp/mshare.log -- nginx',
  )
    .usage('[options] [--] <command> [argument...]')
    .argument('<command...>')
    .option('-t, --threshold <size>', 'what is large, such as 64M', threshold)
    .option('-l, --log <file>', 'what is done, a line each; - is standard error')
    .option('-q, --quiet', 'say nothing about what keeps it from working')
    .passThroughOptions()
    .action(async (words, options) => {
      state.status = await run(words, options)
    })

  command('vm', 'run a program on a kernel with msharefs, under QEMU', 'mshare vm -- mshare doctor')
    .usage('[option...] [--] [command [argument...]]')
    .argument('[word...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async () => {
      throw new Error('not reached: main() sees to it')
    })

  command(
    'completion',
    'print what makes a shell complete commands, options and names of regions',
    'eval "$(mshare completion bash)"',
    'eval "$(mshare completion zsh)"',
    'mshare completion fish | source',
  )
    .addArgument(new Argument('<shell>').choices(shells))
    .action((shell: (typeof shells)[number]) => {
      output.streams.stdout.write(scripts[shell])
    })

  return program
}

function wait(seconds: number): void {
  Region.setTimeout(Math.min(Math.ceil(seconds * 1000), 2 ** 31 - 1))
}

/** Which command the words are for, and how it says what has failed. */
export function teller(words: readonly string[], streams: Streams) {
  const output = new Output(streams)
  // Before they are looked at: what is wrong with them is told the same way.
  const own = words.includes('--') ? words.slice(0, words.indexOf('--')) : words
  const command = own.find((word) => !word.startsWith('-')) ?? ''
  output.json = own.includes('--json') && command !== 'run' && command !== 'vm'
  const label = printable(['mshare', ...(command ? [command] : [])].join(' '))
  const tell = (told: { code: string; message: string; remedy: string }) => {
    const { code, message, remedy } = told
    output.error(
      output.json
        ? toJson({ error: { command, code, message, remedy } })
        : `${label}: ${sentence(told)}`,
    )
  }
  return { output, own, command, label, tell }
}

/** Do what the words ask for; the exit status. */
export async function main(words: readonly string[], streams: Streams): Promise<number> {
  const { output, own, command, label, tell } = teller(words, streams)
  const complain = (error: unknown) => {
    const told = report(error, command)
    if (!told) throw error
    tell(told)
  }
  const state: State = { output, status: DONE, complain }
  const program = build(state)
  const known = ['', 'help', ...program.commands.map((one) => one.name())]
  try {
    // Its words are none of commander's: `--help` is about the guest, and there may be a `--`.
    if (words[0] === 'vm') return await vm(words.slice(1), complain)
    if (words[0] === '__driver') return tryDriver(output)
    if (words[0] === '__complete') {
      const found = candidates(program, words.slice(words[1] === '--' ? 2 : 1))
      if (found.length > 0) streams.stdout.write(`${found.join('\n')}\n`)
      return DONE
    }
    // Commander would look at the options first.
    const [, topic = ''] = own.filter((word) => !word.startsWith('-'))
    const asked = command === 'help' ? topic : command
    if (!known.includes(asked)) throw unknown(asked)
    await program.parseAsync(words, { from: 'user' })
    return state.status
  } catch (error) {
    if (error instanceof CommanderError || error instanceof Usage) {
      if (error instanceof CommanderError && error.exitCode === 0) return DONE
      const message = error.message.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')
      const remedy =
        command === 'help' || !known.includes(command)
          ? 'mshare help lists the commands'
          : `${label} --help says what it takes`
      const told = { code: 'ERR_USAGE', message, remedy }
      if (output.json) tell(told)
      else output.error(`${label}: ${printable(message)}`)
      return USAGE
    }
    complain(error)
    // Of run, 1 to 124 are its command's.
    return command === 'run' && error instanceof Failure ? 125 : FAILED
  }
}
