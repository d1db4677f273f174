#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run lint: formatting, rules, types, man pages, licences. Says everything
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
	files '*.c' '*.h' ':!kernel' | xargs -0 -r clang-format --dry-run -Werror
}

types() {
	for project in tsconfig.json packages/*/tsconfig.json examples/*/tsconfig.json; do
		tsc -p "$project" || return 1
	done
}

# Every file that can carry a comment says its licence in its first lines, and
# the right one: GPL-2.0 below kernel/, MIT everywhere else.
licences() {
	files | node scripts/licences.mjs
}

man_pages() {
	for page in libmshare/man/*.md; do
		if [ ! -e "$page" ]; then
			echo "libmshare/man has no pages"
			return 1
		fi
		go-md2man <"$page" | mandoc -T lint -W warning || return 1
	done
}

# The lock must install from whatever registry its reader has.
lock() {
	if grep -n '"resolved": "http' package-lock.json; then
		echo "package-lock.json names a registry: npm install with the .npmrc of this tree"
		return 1
	fi
}

check "TypeScript, JavaScript and JSON (biome)" biome ci --error-on-warnings
check "types (tsc)" types
check "C format (clang-format)" c_format
check "man pages (mandoc)" man_pages
check "licences" licences
check "package-lock.json" lock

[ "$status" -eq 0 ] || echo "lint: npm run format puts the formatting right" >&2
exit "$status"
