// SPDX-License-Identifier: MIT
//
// What a kernel that is well never says. What it says of a program (`segfault at`, `traps: … general
// protection fault`, the OOM killer's reports) is not here, and a test that makes allocations fail is
// free to see the traces of that.

const words = [
  // "BUG: …", "kernel BUG at …", and SLUB's "BUG kmalloc-64 (Not tainted): …".
  'BUG[: ]',
  'WARNING:',
  'Oops',
  'Kernel panic',
  'KASAN:',
  'KCSAN:',
  'UBSAN:',
  'ODEBUG:',
  'DEBUG_LOCKS_WARN_ON',
  'possible (circular locking|recursive locking|irq lock inversion)',
  'inconsistent lock state',
  'bad unlock balance',
  'suspicious RCU usage',
  'Illegal context switch in RCU',
  'trying to register non-static key',
  'INFO: task .* blocked for more than',
  'rcu.* (detected stalls|self-detected stall|detected expedited stalls)',
  'soft lockup',
  'hard LOCKUP',
  'scheduling while atomic',
  'sleeping function called from invalid context',
  '[Bb]ad page (state|map|cache)',
  'non-zero pgtables_bytes',
  'Bad rss-counter',
  'refcount_t:',
  'list_(add|del) corruption',
  'page_table_check',
  'kmemleak: \\d+ new suspected',
]

const pattern = new RegExp(`(^|[^A-Za-z])(${words.join('|')})`)

/** Whether a line of the kernel log is a complaint. */
export function complaint(line: string): boolean {
  return pattern.test(line)
}
