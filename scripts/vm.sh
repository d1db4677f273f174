#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run vm [-- OPTION... COMMAND...]: a command on the kernel of this tree,
# under QEMU. npm run vm -- --help lists the options.

# The command runs where it was typed; npm runs scripts elsewhere and says where that was.
from=$PWD
[ "${npm_lifecycle_event-}" != vm ] || from=${INIT_CWD:-$PWD}

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh vm
# All of it: what runs in the guest uses what was built here.
build >&2
cli=$PWD/packages/vm/dist/cli.js
cd "$from"
exec node "$cli" "$@"
