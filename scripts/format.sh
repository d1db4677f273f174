#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run format: rewrite what npm run lint would complain about.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh lint
biome check --write
git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' ':!kernel' |
	xargs -0 -r clang-format -i
