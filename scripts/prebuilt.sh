#!/bin/sh
# SPDX-License-Identifier: MIT
#
# prebuilt.sh ARCH: put the library that was built here into the package that
# ships it, packages/libmshare-linux-ARCH, after checking that it can be
# shipped: it must load on every glibc since 2.28 (Debian 10, RHEL 8).

. "$(dirname "$0")/common.sh"

arch=${1:?usage: prebuilt.sh ARCH}
from=libmshare/build/libmshare.so.1
to=packages/libmshare-linux-$arch/libmshare.so.1
newest=2.28

if [ "$(node -p process.arch)" != "$arch" ]; then
	# Elsewhere the package stays empty; @mshare/core says what that means.
	echo "this machine is not $arch: nothing to put into packages/libmshare-linux-$arch"
	exit 0
fi

too_new=$(objdump -T "$from" | awk -v newest="$newest" '
	match($0, /GLIBC_[0-9.]+/) {
		split(substr($0, RSTART + 6, RLENGTH - 6), have, ".")
		split(newest, limit, ".")
		if (have[1] > limit[1] || have[1] == limit[1] && have[2] + 0 > limit[2] + 0)
			print "  " $NF " wants " substr($0, RSTART, RLENGTH)
	}')
if [ -n "$too_new" ]; then
	printf '%s needs a glibc newer than %s:\n%s\n' "$from" "$newest" "$too_new" >&2
	exit 1
fi

# A new file rather than new contents: a process may have the old one mapped.
cp "$from" "$to.new"
chmod 755 "$to.new"
mv "$to.new" "$to"
