"""python -m docs.manual [--check]: writes the generated documents anew, or says which are not as they would be."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.manual import files


def run(words: list[str]) -> int:
    """The exit code: 1 where --check found something."""
    if words not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    made = files.everything()
    stale = files.stale(made)
    for path in stale:
        print(path)
        if not words:
            files.write(path, made.get(path))
    return 1 if words and stale else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(run(sys.argv[1:]))
