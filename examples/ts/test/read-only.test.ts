// SPDX-License-Identifier: MIT

import { describe, expect, it } from 'vitest'
import { command, output, ownRoot } from './util.js'

/** What was tried, and what came of it. */
function attempts(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.startsWith('  '))
  return Object.fromEntries(lines.map((line) => [line.slice(2, 48).trim(), line.slice(49)]))
}

// The owner of a file may do these; as root, the reader is somebody else.
const root = process.geteuid?.() === 0
const unlessOwner = (code: string) =>
  root ? code : 'not tried: the owner may; run as root, the reader is another user'

describe('read-only', () => {
  ownRoot()

  it('in C: nothing that a reader tries goes through, nor what is tried on it', async () => {
    const text = await output(command('C', 'read-only'))
    expect(attempts(text)).toEqual({
      'a store': 'SIGSEGV',
      'an atomic addition': 'SIGSEGV',
      'read(2) into it': 'EFAULT',
      'readv(2) from a pipe': 'EFAULT',
      'vmsplice(2) from a pipe': 'EFAULT',
      'recv(2) from a socket': 'EFAULT',
      'getrandom(2)': 'EFAULT',
      'ioctl(2) that stores a number': 'EFAULT',
      '/proc/self/mem': 'EIO',
      'process_vm_writev(2) to itself': 'EFAULT',
      'mprotect(2): read and write': expect.stringMatching(/^(EACCES|EINVAL)$/),
      'madvise(2): MADV_REMOVE': expect.stringMatching(/^(EACCES|EINVAL)$/),
      'mmap(2) of the descriptor, to write': expect.stringMatching(/^(EACCES|EINVAL)$/),
      'pwrite(2) to the descriptor': 'EBADF',
      'ftruncate(2) of it': 'EINVAL',
      'fallocate(2) of it, to punch a hole': 'EBADF',
      'mshare_attach(): read and write': 'EACCES',
      'mshare_map()': 'EACCES',
      'mshare_unmap()': 'EACCES',
      'mshare_protect(): read and write': 'EACCES',
      'mshare_advise(): MADV_REMOVE': 'EACCES',
      'mshare_reopen(): O_RDWR': unlessOwner('EACCES'),
      'open(2) of /proc/self/fd/N: O_RDWR': unlessOwner('EACCES'),
      'fchmod(2) of it': unlessOwner('EPERM'),
      'process_vm_writev(2)': 'EFAULT',
      '/proc/PID/mem': 'EIO',
    })
    expect(text).toMatch(/the owner reads: "what the owner wrote", unchanged/)
    expect(text).toMatch(/the reader reads: "what the owner wrote later"\nnothing went through\n$/)
  })

  it('in TypeScript: nothing that a reader tries goes through, nor what is tried on it', async () => {
    const text = await output(command('TypeScript', 'read-only'))
    expect(attempts(text)).toEqual({
      'readSync() of /dev/zero into it': 'EFAULT',
      '/proc/self/mem': 'EIO',
      'writeSync() to the descriptor': 'EBADF',
      'ftruncateSync() of it': 'EINVAL',
      'region.attach(): read and write': 'EACCES',
      'region.map()': 'EACCES',
      'region.unmap()': 'EACCES',
      'region.protect(): read and write': 'EACCES',
      'region.advise(): remove': 'EACCES',
      'region.reopen(): read and write': unlessOwner('EACCES'),
      'openSync() of /proc/self/fd/N, to write': unlessOwner('EACCES'),
      'fchmodSync() of it': unlessOwner('EPERM'),
      'a store': 'SIGSEGV',
      'Atomics.add()': 'SIGSEGV',
      'view.set()': 'SIGSEGV',
      'randomFillSync() of it': 'SIGSEGV',
      '/proc/PID/mem': 'EIO',
    })
    expect(text).toMatch(/the owner reads: "what the owner wrote", unchanged/)
    expect(text).toMatch(/the reader reads: "what the owner wrote later"\nnothing went through\n$/)
  })
})
