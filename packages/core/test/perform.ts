// SPDX-License-Identifier: MIT
import type { Answer, Context, Message } from './util.js'

export async function perform(context: Context, { id, source, args }: Message): Promise<Answer> {
  try {
    const task = new Function(`return (${source})`)()
    return { id, value: await task(context, ...args) }
  } catch (e) {
    const { name, message, code } = e as Error & { code?: string }
    return { id, error: { name, message, ...(code !== undefined && { code }) } }
  }
}
