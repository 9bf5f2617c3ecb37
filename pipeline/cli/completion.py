"""`pipeline completion`: the script by which a shell completes commands, flags, configs, keys and endpoints.

The shells hand over the line up to the cursor, and get lines of kind, word and help, with tabs between them.
"""

from __future__ import annotations

import os
from typing import ClassVar

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from pipeline.cli.streams import say

_BASH = """\
# bash, from 4.4 on: in ~/.bashrc, eval "$(pipeline completion bash)"
%(complete_func)s() {
    local kind word help
    COMPREPLY=()
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$word") ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
# zsh: in ~/.zshrc, below compinit, eval "$(pipeline completion zsh)"
%(complete_func)s() {
    local kind word help
    local -a plain described keys
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            dir) _path_files -/ ;;
            file) _path_files ;;
            plain)
                if [[ $word == *= ]]; then keys+=("$word")
                elif [[ -n $help ]]; then described+=("${word//:/\\\\:}:$help")
                else plain+=("$word"); fi ;;
        esac
    done < <(COMP_WORDS="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete "$words[1]" 2>/dev/null)
    (( $#described )) && _describe -V %(prog_name)s described
    (( $#plain )) && compadd -V %(prog_name)s -a plain
    (( $#keys )) && compadd -S '' -V %(prog_name)s -a keys
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
_FISH = """\
# fish: pipeline completion fish > ~/.config/fish/completions/pipeline.fish
function %(complete_func)s
    set -lx COMP_WORDS (commandline -cp)
    set -lx %(complete_var)s fish_complete
    for line in (%(prog_name)s 2>/dev/null)
        set -l part (string split \\t -- $line)
        switch $part[1]
            case dir
                __fish_complete_directories $part[2]
            case file
                __fish_complete_path $part[2]
            case plain
                printf '%%s\\t%%s\\n' $part[2] $part[3]
        end
    end
end
complete --no-files --keep-order --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


class _Shell(ShellComplete):
    """One way to ask and to answer, for all shells."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        help_ = " ".join((item.help or "").split())
        return f"{item.type}\t{self.shown(item.value)}\t{help_}"

    def shown(self, word: str) -> str:
        return word


class Bash(_Shell):
    """Takes `=` and `:` for the ends of words: what stands before the last one typed is not repeated."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def shown(self, word: str) -> str:
        _, typed = self.get_completion_args()
        typed = typed.partition("=")[2] if typed.startswith("-") and "=" in typed else typed
        return word[max(typed.rfind("="), typed.rfind(":")) + 1 :]


class Zsh(_Shell):
    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class Fish(_Shell):
    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH


_SHELLS: dict[str, type[_Shell]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def register() -> None:
    """Let click answer shells in our way."""
    for shell in _SHELLS.values():
        add_completion_class(shell)


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes commands, flags, configs, the keys of --set, and endpoints.

    \b
    Examples:
        eval "$(pipeline completion bash)"                 in ~/.bashrc
        eval "$(pipeline completion zsh)"                  in ~/.zshrc, below compinit
        pipeline completion fish > ~/.config/fish/completions/pipeline.fish
    """
    from pipeline.cli.app import COMPLETING  # noqa: PLC0415 - it names this module

    root = context.find_root()
    name = root.info_name or "pipeline"
    say(_SHELLS[shell](root.command, {}, name, COMPLETING).source().removesuffix("\n"), err=False)
