"""Starting the worker that parses an image, with as little imported as that takes.

What the host needs to understand the answers can be imported while the worker gets ready: on the path of `info` on a
small file that is where the host would only wait.
"""

from __future__ import annotations

import instar_sandbox

from instar_core import device as devices
from instar_core import guests, limits, registry, wire
from instar_core.errors import InstarError, SandboxError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NamedTuple

    from instar_core.device import Device
    from instar_core.settings import Settings
else:
    from instar_core.record import NamedTuple

CHECKING = {"check": True}
"""Option of the image that is checked: faults that a check reports are no reason not to open it."""
PROGRAM = "instar_core.worker.format"
LARGEST_IMAGE = 1024
"""GiB beyond which an image gets no more CPU time."""


class Begun(NamedTuple):
    """An image that was opened and the running session that will parse it; open_member takes both over."""

    device: Device
    session: instar_sandbox.Session


def begin(
    path: str,
    operation: str,
    settings: Settings,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Begun:
    """The file at `path`, or the source of that name, is open, and a worker gets ready to parse it.

    Raises InstarError with `path` set.
    """
    opened = None
    try:
        if format is not None:
            registry.require(format)
        opened = devices.open_named(path)
        return Begun(opened, start([opened], operation, settings, format, options))
    except BaseException as error:
        if opened is not None:
            opened.close()
        if isinstance(error, InstarError):
            error.path = path
        raise


def start(
    devices: Sequence[Device],
    operation: str,
    settings: Settings,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> instar_sandbox.Session:
    """A running session that will parse the devices, which stay the caller's. Raises SandboxError."""
    argument = wire.encode(
        {
            "plugins": registry.values(),
            "operation": operation,
            "format": format,
            "devices": [(device.size, device.allocated) for device in devices],
            "options": dict(options or {}),
        }
    )
    descriptors = [device.descriptor for device in devices]
    bounds = budget(operation, devices, settings)
    try:
        if settings.pool is not None and devices and settings.pool.serves(settings):
            return settings.pool.session(argument, descriptors, bounds)
        return instar_sandbox.start(
            settings.sandbox,
            instar_sandbox.Program(PROGRAM, argument),
            descriptors,
            bounds,
            snapshot=guests.snapshot(guests.LEAN, settings.sandbox),
            server=True if settings.keyring else None,  # a worker forked from here would begin with the passphrases
        )
    except instar_sandbox.JailError as error:
        raise SandboxError(str(error)) from error


def budget(operation: str, devices: Sequence[Device], settings: Settings) -> instar_sandbox.Limits:
    """Limits by the kind of work: those of the image policy for info, growing with the file for map and check.

    What the settings say themselves holds for all work.
    """
    cpu, memory = limits.WORKER_CPU, limits.WORKER_MEMORY
    if settings.policy != DEFAULTS.policy:
        from instar_core import policy

        rules = policy.policy(settings)
        cpu, memory = rules.cpu, rules.memory
    if settings.memory is not None:
        memory = settings.memory
    if settings.cpu is not None:
        return instar_sandbox.Limits(settings.cpu, memory, settings.timeout)
    if operation.partition("/")[0] in ("map", "check", "convert", "write"):
        size = sum(device.size for device in devices)
        cpu = limits.MAP_CPU + limits.MAP_CPU_PER_GIB * min(size // limits.GIB, LARGEST_IMAGE)
    return instar_sandbox.Limits(cpu, memory, settings.timeout)
