#!/usr/bin/env node
// SPDX-License-Identifier: MIT
//
// In git, so that npm can link it before anything is built.
import '../dist/cli.js'
