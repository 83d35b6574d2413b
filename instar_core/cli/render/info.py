"""info as text."""

from __future__ import annotations

from instar_core.cli.jsontext import line, pretty
from instar_core.cli.printable import printable
from instar_core.cli.qdict import ordered
from instar_core.cli.render.snapshots import table
from instar_core.cli.sizes import human_size, signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

    from instar_core.results import Child, DiskInfo
    from instar_core.settings import Settings
    from instar_core.types import Snapshot

SECTOR: Final = 512
FILES: Final = "file", "host_device"
"""What stands for the format where a file is described, and no image in it."""


def json(disks: Sequence[DiskInfo], settings: Settings, *, chain: bool) -> str:
    """One object, or with `chain` a list of them."""
    made = [_object(disk, settings) for disk in disks]
    return pretty(made if chain else made[0]) + "\n"


def human(disks: Sequence[DiskInfo], settings: Settings) -> str:
    """Lines for people, an empty line between images."""
    return "\n".join("".join(f"{line}\n" for line in _lines(disk, settings)) for disk in disks)


def specifics(disk: DiskInfo, settings: Settings) -> dict[str, Any]:
    """The format-specific facts that are to be shown."""
    found = dict(disk.image.details)
    if settings.extra_detail:
        found.update(disk.image.extra)
    return found


def file_length(child: Child, settings: Settings) -> int:
    """The size that qemu-img gives for a file: whole sectors."""
    return child.size if settings.ignore_quirks else -(-child.size // SECTOR) * SECTOR


def _name(disk: DiskInfo) -> str:
    """The image's name; one that describes it is put in qemu's own order."""
    if not disk.filename.startswith("json:{"):
        return disk.filename
    import json

    try:
        return "json:" + line(json.loads(disk.filename[5:]))
    except (ValueError, RecursionError):
        return disk.filename


def _object(disk: DiskInfo, settings: Settings) -> dict[str, Any]:
    image = disk.image
    made: dict[str, Any] = {"virtual-size": image.virtual_size, "filename": _name(disk), "format": image.format}
    if image.dirty is not None:
        made["dirty-flag"] = image.dirty
    if disk.allocated is not None:
        made["actual-size"] = disk.allocated
    if image.cluster_size:
        made["cluster-size"] = image.cluster_size
    if image.encrypted:
        made["encrypted"] = True
    if disk.backing_filename is not None:
        made["backing-filename"] = disk.backing_filename
        if disk.full_backing_filename is not None:
            made["full-backing-filename"] = disk.full_backing_filename
    if disk.backing_format is not None:
        made["backing-filename-format"] = disk.backing_format
    if image.snapshots:
        made["snapshots"] = [snapshot_object(snapshot) for snapshot in image.snapshots]
    details = specifics(disk, settings)
    if details or image.format in FILES:
        made["format-specific"] = {"type": "file" if image.format in FILES else image.format, "data": details}
    if disk.limits:
        made["limits"] = dict(disk.limits)
    # The children come last, as in qemu: backing-filename-format shares their bucket, and the newer is printed first.
    made["children"] = [{"name": child.node, "info": _file(child, settings)} for child in disk.children]
    return made


def _file(child: Child, settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {
        "children": [],
        "virtual-size": file_length(child, settings),
        "filename": child.filename,
        "format": child.driver,
    }
    if child.limits:
        made["limits"] = dict(child.limits)
    if child.allocated is None:
        return made
    return {
        **made,
        "actual-size": child.allocated,
        "format-specific": {"type": "file", "data": {}},
        "dirty-flag": False,
    }


def snapshot_object(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as qemu's JSON has it."""
    made: dict[str, Any] = {
        "vm-clock-nsec": snapshot.clock % 10**9,
        "name": snapshot.name,
        "date-sec": snapshot.seconds,
        "date-nsec": snapshot.nanoseconds,
        "vm-clock-sec": snapshot.clock // 10**9,
        "id": snapshot.id,
        "vm-state-size": signed(snapshot.state_size),
    }
    if snapshot.icount is not None:
        made["icount"] = signed(snapshot.icount)
    return made


def _lines(disk: DiskInfo, settings: Settings) -> list[str]:
    image, plain = disk.image, settings.ignore_quirks
    allocated = "unavailable" if disk.allocated is None else human_size(disk.allocated, plain=plain)
    lines = [
        f"image: {printable(_name(disk))}",
        f"file format: {image.format}",
        f"virtual size: {human_size(image.virtual_size, plain=plain)} ({image.virtual_size} bytes)",
        f"disk size: {allocated}",
    ]
    if image.encrypted:
        lines.append("encrypted: yes")
    if image.cluster_size:
        lines.append(f"cluster_size: {image.cluster_size}")
    if image.dirty:
        lines.append("cleanly shut down: no")
    if disk.backing_filename is not None:
        lines.append(f"backing file: {printable(disk.backing_filename)}{_actual(disk)}")
    if disk.backing_format is not None:
        lines.append(f"backing file format: {printable(disk.backing_format)}")
    if disk.limits:
        lines += ["Block limits:", *_indented(dict(disk.limits), 1)]
    if image.snapshots:
        lines += ["Snapshot list:", *table(image.snapshots, plain=plain)]
    details = specifics(disk, settings)
    if details:
        lines += ["Format specific information:", *_indented(details, 1)]
    for child in disk.children:
        length = file_length(child, settings)
        lines += [
            f"Child node '/{child.node}':",
            f"    filename: {printable(child.filename)}",
            f"    protocol type: {printable(child.driver)}",
            f"    file length: {human_size(length, plain=plain)} ({length} bytes)",
            "    disk size: unavailable"
            if child.allocated is None
            else f"    disk size: {human_size(child.allocated, plain=plain)}",
        ]
        if child.limits:
            lines += ["    Block limits:", *_indented(dict(child.limits), 2)]
    return lines


def _actual(disk: DiskInfo) -> str:
    full = disk.full_backing_filename
    if full is None:
        return " (cannot determine actual path)"
    return "" if full == disk.backing_filename else f" (actual path: {printable(full)})"


def _indented(entries: Mapping[str, Any], depth: int) -> list[str]:
    """The entries a line each, deeper ones below their key."""
    lines: list[str] = []
    for key, value in ordered(entries):
        lines += _entry(printable(key).replace("-", " "), value, depth)
    return lines


def _entry(key: str, value: Any, depth: int) -> list[str]:
    head = f"{'    ' * depth}{key}:"
    if isinstance(value, dict):
        return [head, *_indented(value, depth + 1)]
    if isinstance(value, list | tuple):
        lines = [head]
        for index, each in enumerate(value):
            lines += _entry(f"[{index}]", each, depth + 1)
        return lines
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return [f"{head} {printable(str(value))}"]
