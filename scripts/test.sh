#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm test [-- SUITE...]: set up what is missing, then run the suites.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh test
exec node scripts/test.mjs "$@"
