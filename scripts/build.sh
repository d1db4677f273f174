#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run build: libmshare, the packages and the examples.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh build
build "$@"
