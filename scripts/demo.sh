#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run demo [-- DIRECTORY]: several processes index the documentation of
# this machine in one region, while others follow the same pointers.

. "$(dirname "$0")/common.sh"

demo=examples/ts/dist/shared-index/demo.js
if [ -z "${MSHARE_VM-}" ]; then
	sh scripts/setup.sh demo
	build --filter=@mshare/examples... --filter=@mshare/examples-c... >&2
elif [ ! -e "$demo" ]; then
	# Nothing is installed or built in the guest: npm run vm has done that on the host.
	echo "The demo is not built: npm run build on the host, then try again." >&2
	exit 1
fi
exec node "$demo" "$@"
