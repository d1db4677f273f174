#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run deb [-- DIRECTORY]: Debian packages of libmshare and its tools, for this machine, into
# DIRECTORY (build/debs). In a clone, so that nothing of it lands beside the checkout, as it does
# with a dpkg-buildpackage here. DEB_BUILD_OPTIONS=nocheck leaves out the tests.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh deb >&2
mkdir -p "${1:-build/debs}"
to=$(cd "${1:-build/debs}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/mshare"
git ls-files -z --cached --others --exclude-standard --deduplicate |
	tar --null --ignore-failed-read --files-from=- -c 2>/dev/null | tar -x -C "$work/mshare"
if ! (cd "$work/mshare" && dpkg-buildpackage -b -us -uc) >"$work/log" 2>&1; then
	cat "$work/log" >&2
	exit 1
fi
# Without the packages of debugging symbols.
cd "$work"
for package in ./*.deb; do
	case $package in
	*-dbgsym_*) ;;
	*)
		cp "$package" "$to"
		echo "$to/${package#./}"
		;;
	esac
done
