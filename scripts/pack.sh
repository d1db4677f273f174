#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run pack [-- DIRECTORY]: build, then make tarballs of the packages.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh build
build >&2
exec node scripts/pack.mjs "$@"
