"""`faktoryctl completion SHELL`: what has a shell complete commands and options, made from what the commands take."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final

from .catalog import COMMANDS, module_of
from .output import OK, Output
from .parsing import COMMON, Parser, Usage

SETTINGS: Final = ()
WORDS: Final = "bash | zsh | fish"
EPILOG: Final = """\
bash: eval "$(faktoryctl completion bash)" in ~/.bashrc
zsh:  eval "$(faktoryctl completion zsh)" in ~/.zshrc, after compinit
fish: faktoryctl completion fish > ~/.config/fish/completions/faktoryctl.fish"""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, what it does, whether a value follows, and which there are."""

    names: tuple[str, ...]
    purpose: str
    takes_value: bool
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what it takes."""

    name: str
    purpose: str
    actions: tuple[str, ...]
    options: tuple[Option, ...]


def describe(parser: Parser) -> None:
    """Say what the command takes: one word."""


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the script for a shell."""
    shells = {"bash": bash, "zsh": zsh, "fish": fish}
    if len(arguments.words) != 1 or arguments.words[0] not in shells:
        raise Usage(f"expected one of {', '.join(shells)}")
    output.result(shells[arguments.words[0]](commands()))
    return OK


def commands() -> list[Command]:
    """Return all commands, from their own parsers."""
    found = []
    for name, purpose in COMMANDS.items():
        module = module_of(name)
        parser = Parser(f"faktoryctl {name}", purpose, words=module.WORDS, epilog=module.EPILOG)
        module.describe(parser)
        options = [
            Option(
                tuple(action.option_strings),
                (action.help or "").replace("%%", "%").partition("\n")[0],
                action.nargs != 0,
                tuple(map(str, action.choices or ())),
            )
            for action in parser._actions
            if action.option_strings
        ]
        found.append(Command(name, purpose, _actions(module.WORDS), tuple(options)))
    return found


def _actions(words: str | None) -> tuple[str, ...]:
    """Return what may stand first after the command: the words in small letters."""
    first = [each.split()[0] for each in (words or "").strip("[]").split(" | ") if each]
    return tuple(word for word in first if word.islower())


def bash(known: list[Command]) -> str:
    """Return the script for bash 3.2 and later."""
    values = "|".join(name for name, takes_value in COMMON.items() if takes_value)
    lines = [
        "_faktoryctl() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= words= i",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "        case ${COMP_WORDS[i]} in",
        f"            {values}) i=$((i + 1)) ;;",
        "            -*) ;;",
        "            *) command=${COMP_WORDS[i]}; break ;;",
        "        esac",
        "    done",
        '    case "$command $previous" in',
        '        " --color") words="auto always never" ;;',
        '        " --url"|" --ca") COMPREPLY=(); return ;;',
    ]
    for command in known:
        for option in command.options:
            if option.takes_value:
                pattern = "|".join(f'"{command.name} {name}"' for name in option.names)
                what = f'words="{" ".join(option.choices)}"' if option.choices else "COMPREPLY=(); return"
                lines.append(f"        {pattern}) {what} ;;")
    lines += ["        *) case $command in"]
    lines.append(f'            "") words="{" ".join([*(each.name for each in known), *COMMON])}" ;;')
    for command in known:
        names = [*command.actions, *(name for option in command.options for name in option.names)]
        lines.append(f'            {command.name}) words="{" ".join(names)}" ;;')
    lines += ["        esac ;;", "    esac", '    COMPREPLY=($(compgen -W "$words" -- "$current"))', "}"]
    return "\n".join([*lines, "complete -o default -F _faktoryctl faktoryctl"])


def zsh(known: list[Command]) -> str:
    """Return the script for zsh: to be evaluated, or a file of `fpath`."""
    values = "|".join(name for name, takes_value in COMMON.items() if takes_value)
    lines = [
        "#compdef faktoryctl",
        "_faktoryctl() {",
        "    local command previous=${words[CURRENT-1]} i",
        "    local -a names options",
        "    for ((i = 2; i < CURRENT; i++)); do",
        "        case ${words[i]} in",
        f"            {values}) i=$((i + 1)) ;;",
        "            -*) ;;",
        "            *) command=${words[i]}; break ;;",
        "        esac",
        "    done",
        '    case "$command $previous" in',
        '        " --color") compadd auto always never; return ;;',
        '        " --url"|" --ca") _files; return ;;',
    ]
    for command in known:
        for option in command.options:
            if option.takes_value:
                pattern = "|".join(f'"{command.name} {name}"' for name in option.names)
                what = f"compadd -- {' '.join(option.choices)}" if option.choices else "_files"
                lines.append(f"        {pattern}) {what}; return ;;")
    lines += ["    esac", "    case $command in", '        "") names=(']
    lines += [f"            {_quoted(each.name, each.purpose)}" for each in known]
    lines += [f"        ); options=({' '.join(COMMON)}) ;;"]
    for command in known:
        lines.append(f"        {command.name}) names=({' '.join(command.actions)}); options=(")
        lines += [f"            {_quoted(name, each.purpose)}" for each in command.options for name in each.names]
        lines.append("        ) ;;")
    lines += [
        "    esac",
        "    if [[ ${words[CURRENT]} == -* ]]; then _describe option options",
        "    elif (( ${#names} )); then _describe command names",
        "    else _files; fi",
        "}",
        'if [[ ${funcstack[1]} == _faktoryctl ]]; then _faktoryctl "$@"; else compdef _faktoryctl faktoryctl; fi',
    ]
    return "\n".join(lines)


def _quoted(name: str, purpose: str) -> str:
    text = f"{name}:{purpose}" if purpose else name
    return "'" + text.replace("'", "'\\''") + "'"


def fish(known: list[Command]) -> str:
    """Return the script for fish."""
    names = " ".join(command.name for command in known)
    lines = [f"set -l commands {names}"]
    bare = 'complete -c faktoryctl -n "not __fish_seen_subcommand_from $commands"'
    lines += [f"{bare} -f -a {each.name} -d {_fish(each.purpose)}" for each in known]
    for command in known:
        start = f"complete -c faktoryctl -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{start} -f -a {action}" for action in command.actions]
        for option in command.options:
            flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = " -r" if option.takes_value else ""
            choices = f" -f -a {_fish(' '.join(option.choices))}" if option.choices else ""
            lines.append(f"{start} {flags}{value}{choices} -d {_fish(option.purpose)}")
    return "\n".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
