// SPDX-License-Identifier: MIT
//
// mshare completion SHELL: what a shell is to evaluate. It asks `mshare __complete -- WORD...`, the
// last word being the one that is typed, for what could stand there.

import { Region } from '@mshare/core'
import type { Command } from 'commander'
import { isPrintable } from './text.js'

export const shells = ['bash', 'zsh', 'fish'] as const

export const scripts: Record<(typeof shells)[number], string> = {
  bash: `# eval "$(mshare completion bash)" in ~/.bashrc
_mshare() {
  if (( COMP_CWORD > 1 )) && [[ \${COMP_WORDS[1]} == @(run|vm) ]] && declare -F _command_offset >/dev/null
  then
    _command_offset 2
    return
  fi
  COMPREPLY=()
  local candidate
  while IFS= read -r candidate; do
    COMPREPLY+=("$(printf %q "$candidate")")
  done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  [[ \${COMPREPLY[0]-} == */ ]] && compopt -o nospace
}
complete -o default -F _mshare mshare
`,
  zsh: `#compdef mshare
# eval "$(mshare completion zsh)" in ~/.zshrc, after compinit
_mshare() {
  if (( CURRENT > 2 )) && [[ \${words[2]} == (run|vm) ]]; then
    shift 2 words
    (( CURRENT -= 2 ))
    _normal
    return
  fi
  local -a candidates
  candidates=("\${(@f)$(\${words[1]} __complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  (( \${#candidates[1]} )) && compadd -a candidates
}
compdef _mshare mshare
`,
  fish: `# mshare completion fish | source, in ~/.config/fish/config.fish
function __mshare_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null
end
complete -c mshare -f -a '(__mshare_complete)'
complete -c mshare -n '__fish_seen_subcommand_from run vm' -a '(__fish_complete_subcommand)'
`,
}

/** What could be the last of these words. */
export function candidates(program: Command, words: readonly string[]): string[] {
  const typed = words.at(-1) ?? ''
  return all(program, words.slice(0, -1), typed)
    .filter((word) => word.startsWith(typed) && isPrintable(word))
    .sort()
}

function all(program: Command, before: readonly string[], typed: string): string[] {
  const [name, ...rest] = before
  const visible = program.createHelp().visibleCommands(program)
  const commands = visible.map((command) => command.name())
  if (name === undefined) return typed.startsWith('-') ? options(program) : commands
  if (name === 'help') return commands
  const command = visible.find((one) => one.name() === name)
  if (!command || name === 'run' || name === 'vm') return []

  let positionals = 0
  let awaiting: Command['options'][number] | undefined
  for (const word of rest) {
    if (awaiting) {
      awaiting = undefined
      continue
    }
    const option = command.options.find(({ long, short }) => word === long || word === short)
    if (option?.required) awaiting = option
    else if (!word.startsWith('-')) positionals++
  }
  if (awaiting) return [...(awaiting.argChoices ?? [])]
  if (typed.startsWith('-')) return options(command)
  const { registeredArguments } = command
  const last = registeredArguments.at(-1)
  const argument = registeredArguments[positionals] ?? (last?.variadic ? last : undefined)
  if (argument?.argChoices) return argument.argChoices
  switch (argument?.name()) {
    case 'name':
      return rest.includes('--dir') || rest.includes('-d') ? directories() : Region.list()
    case 'directory':
      return directories()
    default:
      return []
  }
}

function options(command: Command): string[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long }) => long)
    .filter((long) => typeof long === 'string')
}

/** Those that have a region in them. */
function directories(): string[] {
  const found = new Set<string>()
  for (const name of Region.list()) {
    const components = name.split('/')
    for (let i = 1; i < components.length; i++) found.add(components.slice(0, i).join('/'))
  }
  return [...found]
}
