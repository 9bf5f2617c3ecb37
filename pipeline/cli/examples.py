"""Help begins with examples: most who ask for it want a line to copy."""

from __future__ import annotations

import inspect
import re

import click

_AS_IT_IS = "\b\n"
"""click's mark of a paragraph whose lines stay as they are."""
_EXAMPLES = re.compile(rf"\n\n(?:{_AS_IT_IS})?Examples?:\s*(.+)\Z", re.DOTALL)


def show_examples_first(command: click.Command) -> None:
    """Move the examples from the end of the help, where a docstring has them, to its top; those of subcommands too."""
    text = inspect.cleandoc(command.help or "")
    examples = _EXAMPLES.search(text)
    if examples is not None:
        command.short_help = command.short_help or text.partition("\n")[0]
        lines = "\n".join(line.strip() for line in examples[1].splitlines())
        command.help = f"{_AS_IT_IS}{lines}\n\n{text[: examples.start()]}"
    for subcommand in command.commands.values() if isinstance(command, click.Group) else ():
        show_examples_first(subcommand)
