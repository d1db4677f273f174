// SPDX-License-Identifier: MIT

import { complaint } from '@mshare/vm'
import { expect, test } from 'vitest'

// As kernels print them.
const complaints = [
  'kernel BUG at mm/mmap.c:1234!',
  'BUG: non-zero pgtables_bytes on freeing mm: 28672',
  'BUG: Bad rss-counter state mm:000000001 type:MM_FILEPAGES val:1',
  'BUG: Bad page map in process a  pte:1 pmd:2',
  'BUG: KASAN: slab-use-after-free in mshare_fault+0x12/0x34',
  'BUG: sleeping function called from invalid context at mm/mshare.c:12',
  'BUG kmalloc-64 (Not tainted): Poison overwritten',
  'watchdog: BUG: soft lockup - CPU#0 stuck for 134s! [a:12]',
  'WARNING: CPU: 1 PID: 12 at mm/memory.c:6000 handle_mm_fault+0x1/0x2',
  'WARNING: possible circular locking dependency detected',
  'WARNING: inconsistent lock state',
  'WARNING: suspicious RCU usage',
  'INFO: task a:12 blocked for more than 300 seconds.',
  'INFO: trying to register non-static key.',
  'rcu: INFO: rcu_sched self-detected stall on CPU',
  'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:',
  'Oops: general protection fault, probably for non-canonical address 0x12: 0000 [#1] SMP',
  'Kernel panic - not syncing: Fatal exception',
  'refcount_t: underflow; use-after-free.',
  'list_del corruption. prev->next should be 1, but was 2.',
  'ODEBUG: free active (active state 0) object: 1 object type: timer_list hint: 2',
]

const ordinary = [
  'a[12]: segfault at 7f0000000000 ip 1 sp 2 error 4 in a[1,2] likely on CPU 0 (core 0, socket 0)',
  'traps: a[12] general protection fault ip:1 sp:2 error:0 in a[1,2]',
  'Memory cgroup out of memory: Killed process 12 (a) total-vm:1kB, anon-rss:2kB',
  'FAULT_INJECTION: forcing a failure.',
  ' dump_stack_lvl+0x12/0x34',
  'debug_vm_pgtable: [debug_vm_pgtable         ]: Validating architecture page table helpers',
  "overlayfs: fs on '/lower' does not support file handles, falling back to index=off.",
  'DEBUG: nothing',
]

test.each(complaints)('is a complaint: %s', (text) => {
  expect(complaint(`[   12.345678] ${text}`)).toBe(true)
})

test.each(ordinary)('is none: %s', (text) => {
  expect(complaint(`[   12.345678] ${text}`)).toBe(false)
})
