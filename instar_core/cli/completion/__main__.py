"""python -m instar_core.cli.completion bash|zsh|fish [COMMAND]: the script for the formats that are installed."""

from __future__ import annotations

import sys

from instar_core import registry
from instar_core.cli.completion import shells
from instar_core.cli.completion.words import gather


def run(words: list[str]) -> int:
    """The script is printed. COMMAND is the name that is completed: instar, or another for qemu-img's commands."""
    if not 1 <= len(words) <= 2 or words[0] not in shells():
        print(__doc__, file=sys.stderr)
        return 2
    known = gather([spec for _, spec, _ in registry.formats() if spec is not None])
    sys.stdout.write(shells()[words[0]](known, words[1] if len(words) > 1 else "instar"))
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
