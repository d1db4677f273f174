// SPDX-License-Identifier: MIT
//
// node --import ./scripts/sources.mjs: TypeScript sources are run as they are, in worker threads as
// well, where `--import tsx` does nothing.

import { register as registerCommonJs } from 'tsx/cjs/api'
import { register } from 'tsx/esm/api'

register()
registerCommonJs()
