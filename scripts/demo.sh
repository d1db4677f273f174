#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run demo [-- DIRECTORY]: several processes index the documentation of
# this machine in one region, while others follow the same pointers.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh demo
build --filter=@mshare/examples... --filter=@mshare/examples-c... >&2
exec node examples/ts/dist/shared-index/demo.js "$@"
