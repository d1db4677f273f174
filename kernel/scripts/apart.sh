# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For what builds kernels of its own making, after common.sh: a tree, O= directories and a lock apart
# from those of `build`, so that nobody waits for anybody. The pristine source and ccache are the same.

export CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=2G CCACHE_NOHASHDIR=1
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 2026' KBUILD_BUILD_USER=mshare KBUILD_BUILD_HOST=mshare
cache=$cache/apart
tree=$cache/linux/tree

# make_in NAME ARGUMENT...: make in the O= directory of that name; a warning is as bad as an error.
make_in() {
	local o=$cache/linux/build-$1
	shift
	if ! make -C "$tree" O="$o" CC='ccache gcc' "-j$(nproc)" "$@" >"$o/build.log" 2>&1 </dev/null ||
		grep -q 'warning:' "$o/build.log"; then
		grep -E 'error|warning|undefined|\*\*\*' -A 6 "$o/build.log" >&2 || tail -30 "$o/build.log" >&2
		return 1
	fi
}

# configure_in NAME on|off: that of the test kernel, with mshare or without; quick if it is there.
configure_in() {
	local o=$cache/linux/build-$1
	mkdir -p "$o"
	cp "$here/configs/test.config" "$o/fragment"
	[ "$2" = on ] || sed -i '/^CONFIG_MSHARE/d' "$o/fragment"
	{ make -s -C "$tree" O="$o" olddefconfig && configured "$o" "$o/fragment"; } >/dev/null 2>&1 ||
		configure "$o" "$o/fragment"
}
