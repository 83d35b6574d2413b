"""What `info` printed, as an object: the attributes by which OpenStack's services know it."""

from __future__ import annotations

import json
import math
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMATS = ("json", "human")
FIELD = re.compile(r"([\w\s-]+):(.*)")
EXACT = re.compile(r"\(\s*(\d+)\s+bytes\s*\)")
ROUNDED = re.compile(r"(\d+e[-+]\d+|\d*\.?\d+)\s*(\w*)", re.IGNORECASE)
RESOLVED = re.compile(r".*?\s*\(actual\s+path\s*:\s+(.*?)\)\s*", re.IGNORECASE)
UNITS = "KMGTPEZY"
SIZES = ("virtual_size", "cluster_size", "disk_size")
COLUMNS = 6
"""Words in a line of the snapshot table as it was when programs read it."""


class QemuImgInfo:
    """What the output of `instar info` or `qemu-img info` says, as JSON or as text for people.

    Attributes: image, backing_file, backing_file_format, file_format, virtual_size, cluster_size, disk_size (bytes),
    snapshots, encrypted ("yes" or None), format_specific (only from JSON). What was not printed is None. Raises
    ValueError where the output cannot be read.
    """

    def __init__(self, cmd_output: str | bytes | bytearray | None = None, format: str = "json") -> None:
        if format not in FORMATS:
            raise ValueError(f"Unsupported format: {format}. It is 'json' or 'human'")
        text = bytes(cmd_output).decode() if isinstance(cmd_output, bytes | bytearray) else cmd_output or ""
        found = from_json(text) if format == "json" else from_text(text)
        self.image = found.get("image")
        self.backing_file = found.get("backing_file")
        self.backing_file_format = found.get("backing_file_format")
        self.file_format = found.get("file_format")
        self.virtual_size = found.get("virtual_size")
        self.cluster_size = found.get("cluster_size")
        self.disk_size = found.get("disk_size")
        self.snapshots = found.get("snapshot_list", [])
        self.encrypted = found.get("encrypted")
        self.format_specific = found.get("format_specific")

    def __str__(self) -> str:
        always = ("image", "file_format", "virtual_size", "disk_size", "cluster_size", "backing_file")
        lines = [f"{name}: {getattr(self, name)}" for name in (*always, "backing_file_format")]
        more = [(name, getattr(self, name)) for name in ("snapshots", "encrypted", "format_specific")]
        return "\n".join([*lines, *[f"{name}: {value}" for name, value in more if value]])


def from_json(text: str) -> dict[str, Any]:
    """The fields of the JSON output, by the names that they have in text."""
    details = json.loads(text or "{}")
    names = {
        "image": "filename",
        "backing_file": "backing-filename",
        "backing_file_format": "backing-filename-format",
        "file_format": "format",
        "virtual_size": "virtual-size",
        "cluster_size": "cluster-size",
        "disk_size": "actual-size",
        "format_specific": "format-specific",
    }
    found = {mine: details.get(theirs) for mine, theirs in names.items()}
    found["snapshot_list"] = details.get("snapshots", [])
    found["encrypted"] = "yes" if details.get("encrypted") else None
    return found


def from_text(text: str) -> dict[str, Any]:
    """The fields of the output for people. A field that stands there twice, as those of the files below do, is what
    it is the last time: so it was always read."""
    found: dict[str, Any] = {}
    lines = [line for line in text.splitlines() if line.strip()]
    at = 0
    while at < len(lines):
        field = FIELD.fullmatch(lines[at])
        at += 1
        if not field:
            continue
        name = re.sub("[ -]", "_", field[1].strip().lower())
        value = field[2].strip()
        if name in SIZES:
            found[name] = size(value)
        elif name == "backing_file":
            resolved = RESOLVED.fullmatch(value)
            found[name] = resolved[1].strip() if resolved else value
        elif name == "file_format":
            found[name] = value.lower()
        elif name == "snapshot_list":
            found[name], at = table(lines, at)
        elif name != "format_specific":
            found[name] = value
    return found


def size(text: str) -> int:
    """Bytes: the exact number in parentheses if there is one, else the rounded one. Raises ValueError."""
    if text in ("None", "unavailable"):
        return 0
    exact = EXACT.search(text)
    rounded = ROUNDED.search(text)
    if not rounded:
        raise ValueError(f'Invalid input value "{text}".')
    if exact:
        return int(exact[1])
    number, unit = rounded.groups()
    if unit in ("", "B"):
        return int(float(number))
    if unit[0].upper() not in UNITS or unit[1:] not in ("", "B", "iB"):
        raise ValueError(f'Invalid input value "{text}".')
    return math.ceil(float(number) * (1 << 10 * (UNITS.index(unit[0].upper()) + 1)))


def table(lines: list[str], at: int) -> tuple[list[dict[str, str]], int]:
    """The snapshots in the lines from `at` on, and where the next field may stand. Raises ValueError."""
    if at >= len(lines) or not lines[at].startswith("ID"):
        raise ValueError("Snapshot list encountered but no header found!")
    found = []
    at += 1
    while at < len(lines):
        words = lines[at].split()
        if len(words) != COLUMNS or words[-1].count(":") != 2:
            break
        id, tag, vm_size, date, time, clock = words
        found.append({"id": id, "tag": tag, "vm_size": vm_size, "date": date, "vm_clock": f"{time} {clock}"})
        at += 1
    return found, at
