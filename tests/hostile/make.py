"""Writes the corpus of hostile images into a folder: python tests/hostile/make.py FOLDER [TEXT]

Each case gets a folder of its own with the image `x` and what belongs to it in `vm`, and the bait in `outside`. The
file `cases.json` says what each is, what is asked of it and what must come of that. With TEXT only cases are written
whose names have it in them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "hostile"

from . import cases_bombs, cases_cves, cases_fields, cases_loops, cases_names, cases_text, observed, play, polyglots
from .case import Case

GROUPS = {
    "fields": cases_fields.cases,
    "names": cases_names.cases,
    "loops": cases_loops.cases,
    "bombs": cases_bombs.cases,
    "polyglots": polyglots.cases,
    "text": cases_text.cases,
    "cves": cases_cves.cases,
}
"""The corpus by kinds of trick."""


def corpus() -> Iterator[Case]:
    """Every case there is, with what qemu-img was seen to do where it does not refuse too. Their names differ."""
    seen = observed.seen()
    for cases in GROUPS.values():
        for case in cases():
            yield case._replace(qemu=case.qemu or seen.get(case.name, ""))


def described(case: Case) -> Mapping[str, object]:
    """What is known of a case, for JSON."""
    asks = [
        {
            "words": list(ask.words),
            "code": ask.code,
            "line": ask.line,
            "shows": list(ask.shows),
            "names": list(ask.names),
        }
        for ask in case.asks
    ]
    return {
        "name": case.name,
        "trick": case.trick,
        "source": case.source,
        "qemu": case.qemu,
        "opened": list(case.opened),
        "asks": asks,
    }


def write(folder: Path, text: str = "") -> int:
    """The cases whose names have the text in them are in the folder. Returns how many they are."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, case in enumerate(each for each in corpus() if text in each.name):
        name = f"{number:04d} {re.sub('[^A-Za-z0-9]+', '-', case.name)[:60]}"
        (folder / name).mkdir()
        play.stage(case, folder / name)
        listed.append({"folder": name, **described(case)})
    (folder / "cases.json").write_text(json.dumps(listed, indent=1))
    return len(listed)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(f"{write(Path(sys.argv[1]), *sys.argv[2:])} cases")
