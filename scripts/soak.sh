#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run test:soak [-- --rounds N --cycles N]: the whole of what npm test runs a tenth of.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh test
exec node scripts/test.mjs soak --rounds 1000 --cycles 10000 "$@"
