"""What qemu-img does with the cases that instar refuses, as qemu_img.toml has it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path


def seen() -> Mapping[str, str]:
    """By the name of a case, what qemu-img was seen to do; cases that it refuses too are left out."""
    tables = tomllib.loads(Path(__file__).with_name("qemu_img.toml").read_text())
    return {begin + end: told for told, named in tables.items() for begin, ends in named.items() for end in ends}
