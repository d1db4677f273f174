#!/bin/sh
# SPDX-License-Identifier: MIT
#
# prebuilt.sh ARCH: put the library, the shim and mshare-run that were built here into the package
# that ships them, packages/libmshare-linux-ARCH, after checking that they can be shipped: they must
# load on every glibc since 2.28 (Debian 10, RHEL 8).

. "$(dirname "$0")/common.sh"

arch=${1:?usage: prebuilt.sh ARCH}
from=libmshare/build
to=packages/libmshare-linux-$arch
newest=2.28

if [ "$(node -p process.arch)" != "$arch" ]; then
	# Elsewhere the package stays empty; @mshare/core says what that means.
	echo "this machine is not $arch: nothing to put into $to"
	exit 0
fi

# prebuild FILE DIRECTORY
prebuild() {
	# What the loader goes by; the list of symbols (objdump -T) does not show all of it.
	wants=$(objdump -p "$from/$1" | grep -o '\bGLIBC_[A-Z0-9_.]*' | sed 's/^GLIBC_//' | sort -V |
		tail -n 1)
	if [ -z "$wants" ] ||
		[ "$(printf '%s\n%s\n' "$wants" "$newest" | sort -V | tail -n 1)" != "$newest" ]; then
		echo "$from/$1 needs glibc ${wants:-(which?)}, and is to load on $newest:" >&2
		objdump -T "$from/$1" | grep -F "GLIBC_$wants" >&2 || :
		return 1
	fi
	# A new file rather than new contents: a process may have the old one mapped.
	mkdir -p "$to/$2"
	# Nor is it to tell where it was built, as debugging information does.
	strip --strip-unneeded -o "$to/$2/$1.new" "$from/$1"
	chmod 755 "$to/$2/$1.new"
	mv "$to/$2/$1.new" "$to/$2/$1"
}

prebuild libmshare.so.1 lib
prebuild libmshare-preload.so lib
prebuild mshare-run bin
