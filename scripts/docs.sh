#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run docs [-- DIRECTORY]: the documentation as web pages.

. "$(dirname "$0")/common.sh"

sh scripts/setup.sh docs
exec node scripts/docs.mjs "$@"
