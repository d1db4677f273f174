#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run bench [-- ARGUMENTS]: the measurements of docs/benchmarks, on this machine.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh bench
build >&2
exec node packages/bench/dist/index.js "$@"
