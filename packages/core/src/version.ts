// SPDX-License-Identifier: MIT

/** Of this package, and so of the libmshare that it needs; scripts/version.mjs sets it. */
export const version = '0.1.0'
