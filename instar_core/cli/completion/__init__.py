"""What a shell offers while a command line is typed, made once from the tables that command lines are parsed by.

The scripts are self-contained: no press of a key starts Python. They know the formats that were installed when they
were made; `python -m instar_core.cli.completion bash|zsh|fish [COMMAND]` prints one for those that are installed now.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.cli.completion.words import Known


def shells() -> dict[str, Callable[[Known, str], str]]:
    """Shell → what makes its script."""
    from instar_core.cli.completion import bash, fish, zsh

    return {"bash": bash.render, "zsh": zsh.render, "fish": fish.render}


def file_name(shell: str, command: str) -> str:
    """The name under which the shell looks for the script of the command."""
    return {"bash": command, "zsh": f"_{command}", "fish": f"{command}.fish"}[shell]
