#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run lint: formatting, types, licences, variables. Says everything
# that is wrong, not just the first thing, and changes nothing.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh lint

status=0
check() {
	echo "lint: $1"
	shift
	"$@" || status=1
}

# Files that are tracked or about to be, with a NUL after each.
files() {
	git ls-files -z --cached --others --exclude-standard --deduplicate -- "$@"
}

c_format() {
	wrong=$(files '*.c' '*.h' ':!kernel' | xargs -0 -r clang-format --dry-run 2>&1 |
		sed -n 's/:[0-9]*:[0-9]*: .*clang-formatted.*//p' | sort -u)
	[ -z "$wrong" ] || { printf 'not formatted: %s\n' $wrong; return 1; }
}

types() {
	good=0
	for project in tsconfig.json packages/*/tsconfig.json examples/*/tsconfig.json; do
		tsc -p "$project" || good=1
	done
	return $good
}

# Every file that can carry a comment says its licence in its first lines, and
# the right one: GPL-2.0 below kernel/, MIT everywhere else.
licences() {
	files | node scripts/licences.mjs
}

# Every variable that something here reads is in the tables of CONTRIBUTING.md.
variables() {
	good=0
	for variable in $(files ':!CONTRIBUTING.md' | xargs -0 grep -hosIE \
		"\\bMSHARE_(TEST|SOAK)_[A-Z_]+|(getenv\(\"|process\.env(\.|\['))MSHARE_[A-Z_]+" |
		grep -oE 'MSHARE_[A-Z_]+' | grep -v '_H$' | sort -u); do
		if ! grep -qw "$variable" CONTRIBUTING.md; then
			echo "$variable is not in CONTRIBUTING.md"
			good=1
		fi
	done
	return $good
}

# The lock must install from whatever registry its reader has.
lock() {
	if grep -n '"resolved": "http' package-lock.json; then
		echo "package-lock.json names a registry: npm install with the .npmrc of this tree"
		return 1
	fi
}

# One version for the library and all packages.
versions() {
	node scripts/version.mjs
}

[ -t 1 ] && colors=force || colors=off
check "TypeScript, JavaScript and JSON (biome)" biome ci --colors=$colors --error-on-warnings
check "types (tsc)" types
check "C format (clang-format)" c_format
check "licences" licences
check "variables" variables
check "package-lock.json" lock
check "versions" versions

[ "$status" -eq 0 ] || echo "lint: npm run format puts the formatting right" >&2
exit "$status"
