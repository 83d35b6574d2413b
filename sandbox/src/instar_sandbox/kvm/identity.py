"""What a snapshot was made of: it is used only where all of this is still the same.

What a program chooses when it starts depends on the processor, so a snapshot of one must not run on another.
"""

from __future__ import annotations

import os
import sys

from instar_sandbox.kvm.snapshot import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_sandbox.kvm.snapshot import Description

PROCESSOR = (b"vendor_id", b"cpu family", b"model", b"stepping", b"microcode", b"flags")
BACKENDS = ("kvm_amd", "kvm_intel", "kvm_pvm")


def identity(name: str, mark: object) -> tuple[Any, ...]:
    """Everything that a snapshot depends on, but for the content of files. Plain data.

    `mark` is the caller's own: names and versions of what it takes the modules from.
    """
    system = os.uname()
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (
        VERSION,
        sys.version,
        (sys.prefix, sys.base_prefix, home),
        (system.sysname, system.release, system.version, system.machine),
        processor(),
        backend(),
        name,
        mark,
    )


def processor() -> bytes:
    """What the kernel says of the first processor: its model and features."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            block = file.read(16384).partition(b"\n\n")[0]
    except OSError:
        return b""
    return b"\n".join(line for line in block.split(b"\n") if line.startswith(PROCESSOR))


def backend() -> str:
    """The kernel module that runs machines here."""
    return next((name for name in BACKENDS if os.path.isdir(f"/sys/module/{name}")), "unknown")


def unchanged(description: Description) -> bool:
    """Every file that went into the snapshot is as it was."""
    for path, (size, changed, inode) in description.files.items():
        try:
            found = os.stat(path)
        except OSError:
            return False
        if (found.st_size, found.st_mtime_ns, found.st_ino) != (size, changed, inode):
            return False
    return True
