# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts here begin with. They say what they do on stderr; stdout is for the result.
#
# Everything they make is in the cache, and can be deleted at any time:
#   linux/pristine    the kernel source as its package has it
#   linux/tree        the same, hard links, with patches/ and linux/ on top: one tree at one path for
#                     all variants, so that ccache recognises what it has compiled
#   linux/build-*     an O= directory for each variant
#   ccache/           of these builds alone
#   kernels/*-KEY/    vmlinux, config and System.map, for what went into them

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MSHARE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mshare}
pristine=$cache/linux/pristine
tree=$cache/linux/tree
# shellcheck source=/dev/null
. "$here/BASE"

say() {
	echo "kernel: $*" >&2
}

die() {
	say "$@"
	exit 1
}

# need PROGRAM:PACKAGE...: all that is missing at once, with the line that installs it.
need() {
	local entry missing=""
	for entry in "$@"; do
		case $entry in
		/*) [ -e "${entry%%:*}" ] ;;
		*) command -v "${entry%%:*}" >/dev/null ;;
		esac || missing="$missing ${entry#*:}"
	done
	[ -z "$missing" ] || die "missing:$missing; install them with
  apt-get install -y --no-install-recommends$missing"
}

# One at a time: the tree and the O= directories are shared by all that build.
lock() {
	mkdir -p "$cache/linux"
	exec 9>"$cache/linux/lock"
	flock -n 9 && return
	say "waiting for another build to finish"
	flock 9
}

patches() {
	find "$1/patches" -maxdepth 1 -name '*.patch' 2>/dev/null | LC_ALL=C sort
}

# The new files; of this tree, not what was compiled or edited beside them.
overlay() {
	(
		cd "$1/linux" 2>/dev/null || exit 0
		if [ "$1" != "$here" ] || ! git ls-files -co --exclude-standard 2>/dev/null; then
			find . -type f -printf '%P\n'
		fi | while read -r file; do [ ! -e "$file" ] || echo "$file"; done | LC_ALL=C sort -u
	)
}

# Paths that patches name, whether they change, create or delete them.
patched() {
	[ $# -eq 0 ] || sed -n -E '/^--- (a\/|\/dev\/null)/{N;s,^--- (a/)?([^\t\n]*)[^\n]*\n\+\+\+ (b/)?([^\t]*).*,\2\n\4,p}' "$@" |
		grep -vx /dev/null | LC_ALL=C sort -u
}

has_diff() {
	grep -q '^--- \(a/\|/dev/null\)' "$1"
}

# stage FROM TO: in the empty directory TO, the files that FROM/patches and FROM/linux change, changed.
# What `patch` says of offsets and fuzz goes to stderr.
stage() {
	local from=$1 to=$2 file patch list status=0
	mapfile -t list < <(patches "$from")
	while read -r file; do
		[ ! -e "$pristine/$file" ] || (cd "$pristine" && cp --parents "$file" "$to")
	done < <(patched "${list[@]}")
	for patch in "${list[@]}"; do
		has_diff "$patch" || continue
		if ! file=$(patch -d "$to" -p1 -F3 -f --no-backup-if-mismatch -r - <"$patch" 2>&1); then
			say "${patch#"$from/"} does not apply:"
			echo "$file" >&2
			return 1
		fi
		file=$(grep -E 'fuzz|offset|already exists' <<<"$file" || true)
		[ -z "$file" ] || printf 'kernel: %s applies, moved:\n%s\n' "${patch#"$from/"}" "$file" >&2
	done
	while read -r file; do
		if [ -e "$pristine/$file" ]; then
			say "linux/$file would replace a file of the kernel: that takes a patch"
			status=1
		fi
		install -D -m 644 "$from/linux/$file" "$to/$file"
	done < <(overlay "$from")
	return $status
}

# sync_tree STAGED: make the tree the pristine one with the files in STAGED on top. Files that are as
# they should be are not touched, for make goes by their times.
sync_tree() {
	local staged=$1 touched=$cache/linux/tree.touched file want
	if [ ! -e "$tree/Makefile" ] || ! cmp -s "$pristine.stamp" "$tree.stamp"; then
		rm -rf "$tree" "$cache"/linux/build-*
		cp -al "$pristine" "$tree"
		cp "$pristine.stamp" "$tree.stamp"
		: >"$touched"
	fi
	# Before anything changes, so that an interruption leaves no change unrecorded.
	(cd "$staged" && find . -type f -printf '%P\n') | LC_ALL=C sort -u - "$touched" >"$touched.new"
	mv "$touched.new" "$touched"
	while read -r file; do
		want=$staged/$file
		[ -e "$want" ] || want=$pristine/$file
		if [ ! -e "$want" ]; then
			rm -f "$tree/$file"
		elif ! cmp -s "$want" "$tree/$file"; then
			# Never into the file that is there: it may be the pristine one.
			mkdir -p "$(dirname "$tree/$file")"
			cp "$want" "$tree/$file.new"
			mv "$tree/$file.new" "$tree/$file"
		fi
	done <"$touched"
	# With -e, find would be right to say that an untouched file is gone from the stage.
	(cd "$staged" && find . -type f -printf '%P\n') | LC_ALL=C sort >"$touched.new"
	mv "$touched.new" "$touched"
}

# configure O FRAGMENT...: tinyconfig, the fragments, and a look at what became of every line of them.
configure() {
	local o=$1
	shift
	make -s -C "$tree" O="$o" tinyconfig >/dev/null
	# Absolute paths throughout: merge_config.sh loses relative ones without a word.
	(cd "$tree" && scripts/kconfig/merge_config.sh -O "$o" -m "$o/.config" "$@") >"$o/merge.log"
	make -s -C "$tree" O="$o" olddefconfig
	configured "$o" "$@"
}

# configured O FRAGMENT...: is the .config there what the fragments ask for?
configured() {
	local o=$1 line name wrong=0
	shift
	# Of a symbol that several fragments set, the last counts.
	while read -r line; do
		name=${line%%=*}
		if [ "${line#*=}" = n ]; then
			grep -q "^$name=" "$o/.config" || continue
		else
			! grep -qxF -- "$line" "$o/.config" || continue
		fi
		say "wanted $line, got $(grep -E "^$name=|^# $name is not set" "$o/.config" || echo "no such symbol")"
		wrong=1
	done < <(cat "$@" | grep '^CONFIG_' | tac | awk -F= '!seen[$1]++' | tac)
	return $wrong
}
