// SPDX-License-Identifier: MIT
//
// Every fenced block of every document and man page, by its language: `c` is compiled and, if it is
// a program, run; `ts` is type-checked and run; `sh` is run command by command, `yaml` parsed; `text`
// is a drawing, or a line of some other program's file. What is not run is in one list, with the reason.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { all, type Block, document, pageName, pages, top } from './documents.js'

/** Commands that are not run, and why not: each is of some document, or is to go from this list. */
const notRun: { path?: string; command: RegExp; why: string }[] = [
  { command: /^npm test\b/, why: 'is what runs this' },
  { command: /^(MSHARE_FFI=\S+ )?npx vitest\b/, why: 'likewise' },
  { command: /^make -C libmshare check\b/, why: 'the suites c, asan and tsan' },
  { command: /^npm run vm\b/, why: 'the guest suites do; the kernel may have to be built first' },
  { command: /^kernel\/scripts\//, why: 'unpacks, patches or builds a kernel: minutes' },
  {
    path: 'packages/cli/README.md',
    command: /^npm install @mshare\/cli$/,
    why: 'there is no network; scripts/installed.mjs installs what is packed',
  },
  {
    path: 'docs/real-machine.md',
    command: /./,
    why: 'a kernel on hardware: by hand up to the configuration, as the page says',
  },
  {
    path: 'docs/preload.md',
    command: /^mshare-run .* \/usr\/lib\/postgresql\//,
    why: 'a server that does not end; scripts/servers.sh starts it so',
  },
  {
    path: 'libmshare/man/mshare-run.1.md',
    command: /^mshare-run .* \/usr\/lib\/postgresql\//,
    why: 'likewise',
  },
  {
    path: 'docs/containers.md',
    command: /^systemd-nspawn /,
    why: 'needs a root directory with a system in it; by hand',
  },
  {
    path: 'docs/containers.md',
    command: /\/sys\/fs\/mshare/,
    why: 'needs msharefs; by hand, in a guest',
  },
]

interface Command {
  readonly path: string
  readonly line: string
}

/** One for each line, without comments; lines that go on are joined. */
function commands({ path, code }: Block): Command[] {
  return code
    .replaceAll(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => line.replace(/(^|\s+)#\s.*$/, '').trim())
    .filter(Boolean)
    .map((line) => ({ path, line }))
}

const entry = ({ path, line }: Command) =>
  notRun.find((one) => (one.path === undefined || one.path === path) && one.command.test(line))
const toRun = (block: Block) => commands(block).filter((command) => !entry(command))

const blocks = all.flatMap((one) => one.blocks)
const shell = blocks.filter(({ language }) => language === 'sh')
const program = ({ code }: Block) => /^int main\(/m.test(code)

let work: string
let roots: string

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-snippets-'))
  roots = mkdtempSync('/dev/shm/mshare-snippets-')
  // What `make install` would put down, for the library that has been built here.
  writeFileSync(
    join(work, 'libmshare.pc'),
    readFileSync(join(top, 'libmshare/libmshare.pc.in'), 'utf8')
      .replaceAll('@INCLUDEDIR@', join(top, 'libmshare/include'))
      .replaceAll('@LIBDIR@', join(top, 'libmshare/build'))
      .replaceAll(/@\w+@/g, '0'),
  )
})

afterAll(() => {
  rmSync(work, { recursive: true, force: true })
  rmSync(roots, { recursive: true, force: true })
})

/** An environment with a root of its own, for programs against the library that is built. */
function environment(root: string): NodeJS.ProcessEnv {
  const path = join(roots, root)
  mkdirSync(path, { recursive: true })
  return {
    ...process.env,
    MSHARE_ROOT: path,
    PKG_CONFIG_PATH: work,
    LD_LIBRARY_PATH: join(top, 'libmshare/build'),
  }
}

function succeeded(result: SpawnSyncReturns<string>): string {
  expect(result.error).toBeUndefined()
  expect(`${result.stderr}status ${result.status} signal ${result.signal}`).toMatch(
    /status 0 signal null$/,
  )
  return result.stdout
}

function run(root: string, command: string, ...args: string[]): string {
  const options = { cwd: work, env: environment(root), encoding: 'utf8', timeout: 150_000 } as const
  return succeeded(spawnSync(command, args, options))
}

const compile = (root: string, line: string) => run(root, 'sh', '-c', line)

it('are of languages that something here knows', () => {
  const known = ['c', 'ts', 'sh', 'yaml', 'text']
  expect(blocks.length).toBeGreaterThan(60)
  expect(blocks.filter(({ language }) => !known.includes(language)).map(({ at }) => at)).toEqual([])
})

it('are all run, but for what is in the list, in which nothing is left over', () => {
  const left = shell.flatMap(commands).map(entry)
  expect(notRun.filter((one) => !left.includes(one))).toEqual([])
})

describe('C', () => {
  const synopses = blocks.filter((block) => block.language === 'c' && !program(block))
  const programs = blocks.filter((block) => block.language === 'c' && program(block))

  it.each([...synopses, ...programs])('of $at compiles without a warning', ({ code }) => {
    const includes = '#include <stdint.h>\n'
    writeFileSync(join(work, 'block.c'), code.includes('#include') ? code : includes + code)
    compile(
      'unused',
      'cc -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only block.c $(pkg-config --cflags libmshare)',
    )
  })

  // mshare.7 first: it leaves the region that mshare_attach.3 is shown.
  const examples = pages
    .map((page) => ({ name: pageName(page), blocks: page.blocks }))
    .map(({ name, blocks }) => ({ name, code: blocks.find(program)?.code }))
    .filter(({ code }) => code !== undefined)
    .sort((a, b) => Number(b.name === 'mshare.7') - Number(a.name === 'mshare.7'))

  it.each(examples)('of the example of $name does what it says', ({ name, code }) => {
    writeFileSync(join(work, `${name}.c`), code as string)
    compile('man', `cc -D_GNU_SOURCE ${name}.c $(pkg-config --cflags --libs libmshare) -o ${name}`)
    run('man', join(work, name), ...(name === 'mshare_attach.3' ? ['runs'] : []))
  })

  it('has programs: one in each page that shows an example, and the README', () => {
    const shown = pages.filter((page) => /^# EXAMPLES?$/m.test(page.text))
    expect(examples[0]?.name).toBe('mshare.7')
    expect(examples.length).toBe(shown.filter((page) => /\.[37]$/.test(pageName(page))).length)
    expect(programs.length).toBe(examples.length + 1)
  })

  it('of msharefs.rst compiles', () => {
    const rst = readFileSync(
      join(top, 'kernel/linux/Documentation/filesystems/msharefs.rst'),
      'utf8',
    )
    const lines = rst.match(/^\t(?:fd|ftruncate|ioctl|p)\b.*$/gm) ?? []
    expect(lines).toHaveLength(4)
    writeFileSync(
      join(work, 'rst.c'),
      `#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/msharefs.h>
void *f(struct mshare_create mapping)
{
	int fd;
	void *p;
${lines.join('\n')}
	return p;
}
`,
    )
    const uapi = join(top, 'kernel/linux/include/uapi')
    compile('unused', `cc -Wall -Wextra -Werror -Wno-unused-result -I${uapi} -fsyntax-only rst.c`)
  })
})

describe('TypeScript', () => {
  const snippets = blocks.filter(({ language }) => language === 'ts')

  it('has no type errors', () => {
    const directory = join(work, 'types')
    mkdirSync(directory)
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n')
    snippets.forEach(({ code }, i) => {
      writeFileSync(join(directory, `${i}.ts`), code)
    })
    writeFileSync(
      join(directory, 'tsconfig.json'),
      JSON.stringify({
        extends: join(top, 'tsconfig.json'),
        compilerOptions: { typeRoots: [join(top, 'node_modules/@types')] },
        include: ['*.ts'],
      }),
    )
    expect(snippets.length).toBeGreaterThan(1)
    run('unused', join(top, 'node_modules/.bin/tsc'), '-p', directory)
  }, 180_000)

  it.each(snippets)('of $at runs', ({ code }) => {
    const file = join(work, 'types/snippet.ts')
    writeFileSync(file, code)
    // Twice: it has to get on with what it has left, too.
    for (let i = 0; i < 2; i++) run('ts', process.execPath, '--import', tsx(), file)
  })
})

const tsx = () => join(top, 'node_modules/tsx/dist/loader.mjs')

describe('README', () => {
  const readme = document('README.md')
  const only = (language: string) => {
    const list = readme.blocks.filter((block) => block.language === language)
    expect(list).toHaveLength(1)
    return (list[0] as Block).code
  }

  beforeAll(() => {
    writeFileSync(join(work, 'package.json'), '{ "type": "module" }\n')
    writeFileSync(join(work, 'hello.c'), only('c'))
    writeFileSync(join(work, 'hello.ts'), only('ts'))
    compile('unused', 'cc hello.c $(pkg-config --cflags --libs libmshare) -o hello')
  })

  it.each(['C', 'TypeScript'])('both snippets share one region, %s first', (first) => {
    const runs = {
      C: () => run(first, join(work, 'hello')),
      TypeScript: () => run(first, process.execPath, '--import', tsx(), join(work, 'hello.ts')),
    }
    const second = first === 'C' ? 'TypeScript' : 'C'
    const said = [runs[first as 'C'](), runs[second](), runs[first as 'C']()]
    const address = /counted at (0x[0-9a-f]+)$/m.exec(said[0] as string)?.[1]

    expect(address).toBeDefined()
    expect(said).toEqual([1, 2, 3].map((n) => `run ${n}, counted at ${address}\n`))
  })
})

describe('YAML', () => {
  it.each(blocks.filter(({ language }) => language === 'yaml'))('of $at is YAML', ({ code }) => {
    expect(parse(code)).toHaveProperty('kind')
  })
})

/** Why there can be no sandbox here; with CI=true that is a failure. */
function unable(command: string, ...args: string[]): string | undefined {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  if (status === 0) return undefined
  const why = `${command}: ${error?.message ?? stderr}`
  if (process.env['CI'] === 'true') throw new Error(why)
  return why
}

/** A script that does each line in turn, and at the first that fails says which. */
function script(lines: string[]): string {
  const steps = lines.map(
    (line, i) => `{ ${line}\n} || { echo "failed: $(sed -n ${i + 1}p commands)" >&2; exit 1; }`,
  )
  const rest = 'for job in $(jobs -p); do wait "$job" || exit 1; done'
  return `${steps.join('\n')}\n${rest}\n`
}

// In a sandbox that has a clone to work in, as a reader has, a /usr/local, /etc, /dev/shm and
// /usr/share/doc of its own, and no network; all else is the host's, read-only.
describe('shell commands', () => {
  const inContainers = 'docs/containers.md'
  const pathsRun = [...new Set(shell.flatMap(toRun).map(({ path }) => path))].filter(
    (path) => path !== inContainers,
  )
  const why = unable('bwrap', '--ro-bind', '/', '/', 'true')

  it.for(pathsRun)('of %s', { timeout: 180_000 }, (path, { skip }) => {
    if (why) skip(why)
    const clone = mkdtempSync(join(work, 'clone-'))
    for (const name of readdirSync(top)) {
      if (!/^(\.git|build|coverage)$/.test(name) && name !== 'libmshare') {
        symlinkSync(join(top, name), join(clone, name))
      }
    }
    // What make writes to.
    cpSync(join(top, 'libmshare'), join(clone, 'libmshare'), {
      recursive: true,
      preserveTimestamps: true,
    })
    // Files that snippets are to be saved in: their first line says the name.
    for (const { code } of document(path).blocks) {
      const name = /^\/\/ ([\w-]+\.(?:c|ts))\b/.exec(code)?.[1]
      if (name) writeFileSync(join(clone, name), code)
    }
    // A program of the reader's.
    writeFileSync(join(clone, 'program.js'), readers)
    const lines = document(path)
      .blocks.filter(({ language }) => language === 'sh')
      .flatMap(toRun)
      .map(({ line }) => line)
    writeFileSync(join(clone, 'commands'), `${lines.join('\n')}\n`)
    const { status, stdout, stderr, error } = spawnSync('bwrap', sandbox(clone, script(lines)), {
      encoding: 'utf8',
      timeout: 150_000,
    })
    expect(error).toBeUndefined()
    expect(`${status === 0 ? '' : stdout + stderr}status ${status}`).toBe('status 0')
    if (path === 'README.md') {
      // C, then TypeScript, in one region.
      expect(stdout.match(/^run \d, counted/gm)).toEqual(['run 1, counted', 'run 2, counted'])
    }
  })

  it('are of several documents', () => {
    expect(pathsRun).toContain('README.md')
    expect(pathsRun.length).toBeGreaterThan(4)
  })

  const readers = `import { Region } from '@mshare/core'
const probe = Region.probe()
if (!probe.available) throw probe.error
if (probe.driver !== 'ffi-napi') throw new Error(probe.driver)
`

  function sandbox(clone: string, text: string): string[] {
    const own = join(clone, '..', `${basename(clone)}-own`)
    mkdirSync(own)
    // Who installs as root does it by sudo, which few containers have.
    writeFileSync(join(own, 'sudo'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 })
    writeFileSync(join(own, 'group'), `root:x:0:\nmygroup:x:4242:\n`)
    mkdirSync(join(own, 'doc'))
    cpSync(join(top, 'docs/concepts.md'), join(own, 'doc/concepts.txt'))
    cpSync(join(top, 'docs/faq.md'), join(own, 'doc/faq.txt'))
    const etc = ['alternatives', 'passwd', 'ld.so.conf', 'ld.so.conf.d', 'ld.so.cache', 'localtime']
    // The programs of the host's /usr/local, Node perhaps, beside what gets installed.
    const local = ['bin', 'lib', 'include', 'sbin'].flatMap((directory) => {
      const from = join('/usr/local', directory)
      const names = existsSync(from) ? readdirSync(from) : []
      return names
        .filter((name) => !/^(libmshare|mshare|pkgconfig$|sudo$)/.test(name))
        .flatMap((name) => [
          ...[
            '--symlink',
            join('/tmp/local', directory, name),
            join('/usr/local', directory, name),
          ],
        ])
    })
    return [
      ...['--die-with-parent', '--unshare-pid', '--unshare-net', '--unshare-ipc'],
      ...['--cap-add', 'CAP_CHOWN', '--cap-add', 'CAP_FSETID'],
      ...['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/dev/shm'],
      ...['--tmpfs', '/tmp', '--ro-bind', '/usr/local', '/tmp/local', '--tmpfs', '/usr/local'],
      ...local,
      ...['--ro-bind', join(own, 'sudo'), '/usr/local/bin/sudo'],
      ...['--ro-bind', top, top, '--bind', clone, '/tmp/mshare', '--chdir', '/tmp/mshare'],
      ...['--ro-bind', join(own, 'doc'), '/usr/share/doc'],
      ...['--tmpfs', '/etc', '--ro-bind', join(own, 'group'), '/etc/group'],
      ...etc.flatMap((name) => ['--ro-bind-try', `/etc/${name}`, `/etc/${name}.host`]),
      ...etc.flatMap((name) => ['--symlink', `/etc/${name}.host`, `/etc/${name}`]),
      ...['--setenv', 'HOME', '/tmp', '--unsetenv', 'MSHARE_ROOT', '--unsetenv', 'MSHARE_FFI'],
      // The sources, not what was built of them some time ago.
      ...['--setenv', 'TSX_TSCONFIG_PATH', join(top, 'tsconfig.json')],
      ...['--setenv', 'npm_config_userconfig', '/dev/null'],
      ...['--setenv', 'PATH', `${top}/node_modules/.bin:${process.env['PATH']}`],
      ...['sh', '-c', text],
    ]
  }
})

/** What a COMMAND is that a container is to run: so many MiB in a region, then as long as told. */
const room = `#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <mshare.h>

int main(int argc, char **argv)
{
	size_t bytes = (size_t)atoi(argv[1]) << 20;
	int fd = mshare_open("room", O_RDWR | O_CREAT, 0600);
	struct mshare_info info;

	if (fd != -1 && mshare_info(fd, &info, sizeof(info)) == 0 && info.mapped) {
		printf("found %zu MiB\\n", (size_t)info.mapped >> 20);
		return 0;
	}
	if (fd == -1 || mshare_reserve(fd, NULL, (size_t)1 << 30) == -1 ||
	    mshare_map(fd, 0, bytes, PROT_READ | PROT_WRITE, 0, -1, 0) == -1) {
		fprintf(stderr, "%s\\n", mshare_errmsg());
		return 1;
	}
	char *window = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);

	if (window == MAP_FAILED) {
		fprintf(stderr, "%s\\n", mshare_errmsg());
		return 1;
	}
	memset(window, 1, bytes);
	printf("made %zu MiB\\n", bytes >> 20);
	fflush(stdout);
	signal(SIGTERM, _exit);
	while (argc > 2)
		pause();
	return 0;
}
`

describe('containers', () => {
  const containers = document('docs/containers.md')
  const below = (heading: string) =>
    containers.blocks
      .filter((block) => block.section === heading && block.language === 'sh')
      .flatMap(toRun)
      .map(({ line }) => line)

  beforeAll(() => {
    writeFileSync(join(work, 'room.c'), room)
    const flags = `-I${top}/libmshare/include -L${top}/libmshare/build`
    compile('unused', `cc -static ${flags} room.c -l:libmshare.a -pthread -o room`)
  })

  /** With /dev/shm and what is there for others as it was. */
  function shellIn(env: NodeJS.ProcessEnv, line: string): SpawnSyncReturns<string> {
    const { MSHARE_ROOT: _, ...rest } = { ...process.env, ...env }
    return spawnSync('sh', ['-euc', line], {
      cwd: work,
      env: rest,
      encoding: 'utf8',
      timeout: 150_000,
    })
  }

  const bubblewrap = below('bubblewrap')
  const unboxed = unable('bwrap', '--ro-bind', '/', '/', 'true')
  it.for(bubblewrap)('%s', (line, { skip }) => {
    if (unboxed) skip(unboxed)
    const own = mkdtempSync(join(roots, 'bwrap-'))
    const here = line
      .replace('--bind /dev/shm', `--bind ${own}`)
      .replace('COMMAND', `${work}/room 100`)
    expect(here).not.toBe(line)
    expect(succeeded(shellIn({}, here))).toBe('made 100 MiB\n')
    // The host's has it now, and a /dev/shm of the sandbox's own has gone with it.
    expect(readdirSync(own).length).toBe(line.includes('--bind /dev/shm') ? 1 : 0)
  })

  it('bubblewrap has several', () => expect(bubblewrap.length).toBeGreaterThan(2))

  it('a small tmpfs is ENOSPC', ({ skip }) => {
    if (unboxed) skip(unboxed)
    const bwrap = 'bwrap --ro-bind / / --dev /dev --proc /proc --size 67108864 --tmpfs /dev/shm'
    const result = shellIn({}, `${bwrap} ${work}/room 100`)
    expect(`${result.status} ${result.stderr}`).toMatch(/^1 .*104857600 bytes .*6\d{7} left/)
  })

  describe('Docker and Podman', () => {
    let env: NodeJS.ProcessEnv
    let storage: string
    const why = unable('podman', '--version') ?? unable('runc', '--version')
    const docker = below('Docker and Podman')

    beforeAll(() => {
      if (why) return
      storage = join(work, 'podman')
      mkdirSync(join(storage, 'bin'), { recursive: true })
      const conf = (name: string, text: string) => writeFileSync(join(storage, name), text)
      // Nothing of it outside `storage`; limits that a container may have whose own are lower.
      conf(
        'containers.conf',
        `[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
lock_type = "file"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "${storage}/tmp"
volume_path = "${storage}/volumes"
`,
      )
      conf(
        'storage.conf',
        `[storage]
driver = "vfs"
graphroot = "${storage}/graph"
runroot = "${storage}/run"
`,
      )
      conf('bin/docker', '#!/bin/sh\nexec podman "$@"\n')
      spawnSync('chmod', ['755', join(storage, 'bin/docker')])
      env = {
        CONTAINERS_CONF: join(storage, 'containers.conf'),
        CONTAINERS_STORAGE_CONF: join(storage, 'storage.conf'),
        PATH: `${join(storage, 'bin')}:${process.env['PATH']}`,
      }
      succeeded(shellIn(env, 'tar -c room | docker import - mshare-room'))
    })

    afterAll(() => {
      if (env) shellIn(env, 'podman rm --all --force --time 0; podman rmi --all --force')
    })

    const given = (line: string) =>
      line
        .replace('IMAGE COMMAND', `mshare-room /room 100${line.includes(' -d ') ? ' stay' : ''}`)
        // The one thing that Podman has otherwise.
        .replace('o=size=1g,', 'o=')
        .replaceAll('/dev/shm/regions', join(roots, 'regions'))

    it('/dev/shm has 64 MB', ({ skip }) => {
      if (why) skip(why)
      const result = shellIn(env, 'docker run --rm mshare-room /room 100')
      expect(`${result.status} ${result.stderr}`).toMatch(/^1 .*104857600 bytes .*6\d{7} left/)
    })

    it.for(docker.map((line, i) => ({ line, i })))('$line', ({ line, i }, { skip }) => {
      if (why) skip(why)
      const said = succeeded(shellIn(env, given(line)))
      if (!line.includes('COMMAND') || line.includes(' -d ')) return
      if (!line.includes('--ipc=container')) expect(said).toBe('made 100 MiB\n')
      else {
        // The other one is about to make it.
        expect(docker[i - 1]).toContain('--name=one')
        expect(said).toMatch(/^(found|made) 100 MiB\n$/)
      }
    })

    it('has several', () => expect(docker.length).toBeGreaterThan(8))
  })
})
