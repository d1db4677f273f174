# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What every driver here begins with: . "$(dirname "$0")/common.sh"
#
# The drivers are plain sh, because they run before anything is installed.

set -eu
cd "$(dirname "$0")/.."

# npm puts this first when it runs a script; somebody who calls it by hand has it too.
PATH=$PWD/node_modules/.bin:$PATH
# Nothing here talks to anybody but the package registries.
TURBO_TELEMETRY_DISABLED=1
DO_NOT_TRACK=1
export PATH TURBO_TELEMETRY_DISABLED DO_NOT_TRACK

# build [TURBO ARGUMENTS]: what is stale, in the order of dependencies. Quiet unless it fails.
build() {
	# scripts/vm.sh has built everything before the guest started, and much quicker.
	[ -z "${MSHARE_VM-}" ] || return 0
	turbo run build --output-logs=errors-only --log-order=grouped "$@"
}
