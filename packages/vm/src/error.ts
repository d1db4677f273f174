// SPDX-License-Identifier: MIT

/** No guest came to run: a prerequisite is missing, an option is wrong, the kernel does not build. */
export class VmError extends Error {
  override name = 'VmError'

  constructor(
    readonly code: 'ERR_OPTION' | 'ERR_PREREQUISITE' | 'ERR_KERNEL' | 'ERR_QEMU',
    message: string,
  ) {
    super(message)
  }
}
